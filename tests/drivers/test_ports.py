"""Which port is which bay."""

import json
from pathlib import Path

import pytest

from dockwarden.agent.drivers.ports import assign, read_ports
from dockwarden.durable.files import OsFiles
from dockwarden.service.errors import ServiceError

LEFT = "pci-0000:00:03.0-usbv2-0:1.3"
LEFT_FAST = "pci-0000:00:03.0-usbv3-0:1.3"
RIGHT = "pci-0000:00:03.0-usbv2-0:1.4"


def test_nothing_is_known_before_something_was_learned(tmp_path: Path) -> None:
    assert read_ports(tmp_path / "ports.json") == {}


def test_a_connector_with_two_ports_is_one_bay_and_learning_again_moves_it(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    assign(OsFiles(), path, "1", (LEFT, LEFT_FAST))
    assign(OsFiles(), path, "2", (RIGHT,))
    assert read_ports(path) == {LEFT: "1", LEFT_FAST: "1", RIGHT: "2"}
    assign(OsFiles(), path, "1", (RIGHT,))
    assert read_ports(path) == {RIGHT: "1"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"ports":[]}', b'{"ports":{"a":1}}', b"\xff", b"{" * 3000])
def test_a_torn_file_is_said_to_be_torn_and_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ports.json"
    path.write_bytes(content)
    with pytest.raises(ServiceError) as raised:
        assign(OsFiles(), path, "1", (LEFT,))
    assert raised.value.code == "bad-ports"
    assert path.read_bytes() == content


def test_what_is_written_is_json_for_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    assign(OsFiles(), path, "1", (LEFT,))
    assert json.loads(path.read_text()) == {"ports": {LEFT: "1"}}
