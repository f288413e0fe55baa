"""What every command line of ours shares: JSON out, one form of error, the exit codes."""

import json
import sys
import traceback
from collections.abc import Callable

import typer

from dockwarden.service.errors import ServiceError, explained

BAD_FINDING = 1
CANNOT_RUN = 2


def print_json(value: object) -> None:
    """Print an answer for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def run_command(app: Callable[..., object]) -> None:
    """Run a command line: exit 0 good, 1 bad finding, 2 cannot run, and then why, on standard error.

    With `--json` that is the object {code, what, where, do} in one line, also for a wrong command line (`usage`) and
    for a defect of ours (`internal`); without it the same as text, typer's usage, or the trace of the defect.
    """
    as_json = "--json" in sys.argv[1:]
    try:
        # Not standalone, typer lets errors through and returns the exit code.
        code = app(standalone_mode=False) if as_json else app()
    except Exception as error:
        _tell(error, as_json)
        raise SystemExit(CANNOT_RUN) from None
    if isinstance(code, int) and code:
        raise SystemExit(code)


def _tell(error: Exception, as_json: bool) -> None:
    told = _told(error)
    if as_json:
        print(json.dumps((told or _defect(error)).to_object(), ensure_ascii=False), file=sys.stderr)
    elif told is not None:
        print(f"{told.code}: {told.what}\n  where: {told.where}\n  do:    {told.do}", file=sys.stderr)
    else:
        traceback.print_exception(error, file=sys.stderr)


def _told(error: Exception) -> ServiceError | None:
    if isinstance(error, OSError) and error.filename is not None:
        return ServiceError("file", str(error.strerror), str(error.filename), "Check the path and its rights.")
    if isinstance(error, typer.Abort):
        return ServiceError("aborted", "the command was broken off", "the keyboard", "Run it again.")
    usage = getattr(error, "format_message", None)  # typer keeps the class of its usage errors to itself
    if callable(usage):
        return ServiceError("usage", str(usage()), "the command line", "See --help.")
    return explained(error)


def _defect(error: Exception) -> ServiceError:
    """A defect's kind and place; not its text, which may hold anything."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what, where = f"the program failed: {type(error).__name__}", f"{last.filename}:{last.lineno}"
    return ServiceError("internal", what, where, "Report it; without --json the whole trace is shown.")
