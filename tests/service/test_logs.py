"""Logs: one JSON object a line on stderr, nothing of a person in it."""

import json
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dockwarden.service.logs import PERSONAL, WITHHELD, redact

PROGRAM = """
import logging, threading, structlog
from dockwarden.service.errors import ServiceError
from dockwarden.service.logs import configure, log, watch_uncaught
configure("agent")
watch_uncaught()
log("intake").info("sealed", record="abc", size=3, party="张三", nested=[{"Case_Number": "1", "ok": 1}], path=print)
structlog.get_logger("dockwarden.x").info("plain", officer_name="李四")
logging.getLogger("paho").info("too quiet")
logging.getLogger("paho").warning("lost %s", "it")
try:
    open("/no/such/张三.mp4")
except OSError as error:
    log("intake").error("unreadable", exc_info=True)
try:
    raise ServiceError("full", "the disk is full", "/vault", "Make room.") from ValueError("张三")
except ServiceError:
    logging.getLogger("uvicorn.error").exception("in the application")
thread = threading.Thread(target=lambda: [][1], name="bay 1")
thread.start(); thread.join()
raise RuntimeError("张三")
"""


def lines_of(program: str) -> list[dict[str, Any]]:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert ran.stdout == ""
    assert "张三" not in ran.stderr and "李四" not in ran.stderr
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_each_line_is_json_with_time_level_and_component_and_without_people() -> None:
    lines = lines_of(PROGRAM)
    assert [line["event"] for line in lines] == [
        "sealed", "plain", "lost it", "unreadable", "in the application", "uncaught exception in a thread",
        "uncaught exception",
    ]  # fmt: skip
    assert all({"time", "level", "component", "event"} <= set(line) for line in lines)
    assert {line["component"] for line in lines} == {"agent"}
    sealed, plain, _, unreadable, application, in_thread, uncaught = lines
    assert (sealed["record"], sealed["size"], sealed["party"]) == ("abc", 3, WITHHELD)
    assert sealed["nested"] == [{"Case_Number": WITHHELD, "ok": 1}]
    assert sealed["path"] == "<builtin_function_or_method>"
    assert plain["officer_name"] == WITHHELD
    assert unreadable["exception"]["type"] == "FileNotFoundError"
    assert unreadable["exception"]["errno"] == 2
    assert unreadable["exception"]["frames"]
    assert application["exception"]["code"] == "full"
    assert application["exception"]["cause"]["type"] == "ValueError"
    assert (in_thread["thread"], in_thread["exception"]["type"]) == ("bay 1", "IndexError")
    assert uncaught["exception"]["type"] == "RuntimeError"


def test_without_configure_nothing_reaches_stdout() -> None:
    program = (
        "from dockwarden.service.logs import log\nlog('x').info('quiet')\nlog('x').warning('seen', party='张三')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert ran.stdout == ""
    assert "seen" in ran.stderr and "张三" not in ran.stderr


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "Party", "case"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["record", "OFFICER", "source_name", "x"]), values))
def test_no_depth_hides_a_personal_field(event: dict[str, Any]) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert inner == WITHHELD if key.lower() in PERSONAL else True
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(redact(None, "info", dict(event)))
