"""What every command line of ours shares: JSON out, one form of error, the exit codes."""

import json
import sys
from collections.abc import Callable

from dockwarden.service.errors import ServiceError, explained

BAD_FINDING = 1
CANNOT_RUN = 2


def print_json(value: object) -> None:
    """Print an answer for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def run_command(app: Callable[[], object]) -> None:
    """Run a command line: exit 0 good, 1 bad finding, 2 cannot run with {code, what, where, do} on standard error."""
    try:
        app()
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        print(f"{told.code}: {told.what}\n  where: {told.where}\n  do:    {told.do}", file=sys.stderr)
        raise SystemExit(CANNOT_RUN) from None


def _told(error: Exception) -> ServiceError | None:
    if isinstance(error, OSError) and error.filename is not None:
        return ServiceError("file", str(error.strerror), str(error.filename), "Check the path and its rights.")
    return explained(error)
