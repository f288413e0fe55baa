"""The registry: what is entered twice is there once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dockwarden.agent.metadata.binding import registry_label
from dockwarden.agent.metadata.registry import Binding, Registry, Task
from dockwarden.durable.files import OsFiles

AT = "2026-11-24T09:00:00.000Z"
TASK = Task(
    "650113",
    "2026-11-24T08:00:00.000Z",
    "2026-11-24T12:00:00.000Z",
    "某市监处罚〔2026〕12号",
    "某某经营部",
    "行政检查",
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry(tmp_path / "registry.json", OsFiles())
    opened.bind(Binding("CAM1", "650113", "张伟"))
    yield opened
    opened.close()


def test_the_same_task_sent_twice_is_one_task_and_still_labels(registry: Registry) -> None:
    registry.add_task(TASK)
    registry.add_task(TASK)
    assert registry.tasks("650113", AT) == [TASK]
    assert registry_label(registry, "CAM1", None, AT, important=False).missing == ()


def test_two_different_tasks_at_one_time_are_left_to_a_person(registry: Registry) -> None:
    registry.add_task(TASK)
    registry.add_task(replace(TASK, party="另一经营部"))
    assert registry_label(registry, "CAM1", None, AT, important=False).missing == ("case", "party")
