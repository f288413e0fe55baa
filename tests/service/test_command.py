"""The end of a command: its exit code, and why it cannot run, in the form that was asked for."""

import json
from typing import Any

import pytest
import typer

from dockwarden.service.command import run_command
from dockwarden.service.errors import ServiceError

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def end(how: str, as_json: bool = typer.Option(False, "--json")) -> None:
    """Ends as it is told to."""
    match how:
        case "bad-finding":
            raise typer.Exit(1)
        case "refused":
            raise ServiceError("no-record", "there is no such record", "abc", "Look it up.")
        case "no-file":
            open("/nowhere/at/all").close()  # noqa: PTH123
        case "broken-off":
            raise typer.Abort
        case "defect":
            raise KeyError("张三")


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["end", *arguments])
    try:
        run_command(app)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    return 0


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_command_that_ran_says_so_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    assert ended(monkeypatch, "well", *more) == 0
    assert ended(monkeypatch, "bad-finding", *more) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["refused"], "no-record"),
        (["no-file"], "file"),
        (["broken-off"], "aborted"),
        (["defect"], "internal"),
        (["--what"], "usage"),
        ([], "usage"),
    ],
)
def test_why_it_cannot_run_is_an_object_with_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    assert ended(monkeypatch, *arguments, "--json") == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    told: dict[str, Any] = json.loads(line)
    assert (shown.out, told["code"], set(told)) == ("", code, {"code", "what", "where", "do"})
    assert all(told.values())
    assert "张三" not in line, "a defect's text may hold anything"


def test_without_json_it_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "refused") == 2
    assert capsys.readouterr().err == "no-record: there is no such record\n  where: abc\n  do:    Look it up.\n"
    assert ended(monkeypatch, "defect") == 2
    assert "KeyError" in capsys.readouterr().err
    assert ended(monkeypatch, "--what") == 2
    assert "--what" in capsys.readouterr().err
