"""Logs: one JSON object a line on stderr, for the journal; personal data is taken out on the way.

Services log events and ids, never people: a record id leads to everything else for whoever may see it.
The processor here is the net below that rule, not the rule.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog

# Fields that carry people, cases or what someone named a file; compared in lower case, at any depth.
PERSONAL = frozenset(
    {
        "party",
        "parties",
        "case",
        "cases",
        "case_number",
        "case_text",
        "officer",
        "officer_name",
        "officer_id",
        "source",
        "source_name",
        "name",
        "names",
        "file_name",
        "filename",
        "person",
        "person_name",
        "id_number",
        "phone",
        "address",
        "label",
        "labels",
        "body",
        "payload",
        "password",
        "token",
    }
)
WITHHELD = "[withheld]"
_DEEPEST = 8


def redact(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: replaces the value of every field in `PERSONAL`, however deep, by `WITHHELD`."""
    del logger, method
    return {key: _clean(key, value, 0) for key, value in event.items()}


def _clean(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and key.lower() in PERSONAL:
        return WITHHELD
    if depth >= _DEEPEST:
        return WITHHELD
    if isinstance(value, Mapping):
        return {str(inner): _clean(inner, item, depth + 1) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, item, depth + 1) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    # An object's repr may hold anything; its type is enough to find it.
    return f"<{type(value).__name__}>"


def describe_exceptions(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: ``exc_info`` becomes types and code places.

    The message of a foreign exception is left out (an OSError quotes file names, a decoder its input);
    errors of the house's shape {code, what, where, do} are kept: no personal data is in them, by contract.
    """
    del logger, method
    given = event.pop("exc_info", None)
    error = _exception(given)
    if error is not None:
        event["exception"] = describe(error)
    return event


def describe(error: BaseException) -> dict[str, Any]:
    """An exception for the log: ``{type, errno?, code?, what?, frames: ["file:line function"…], cause?}``."""
    told: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, OSError) and error.errno is not None:
        told["errno"] = error.errno
    told |= {
        part: text for part in ("code", "what", "where", "do") if isinstance(text := getattr(error, part, None), str)
    }
    frames = traceback.extract_tb(error.__traceback__)
    told["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    if error.__cause__ is not None:
        told["cause"] = describe(error.__cause__)
    return told


def _exception(given: Any) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        describe_exceptions,
        redact,
    ]


def configure(component: str, level: int = logging.INFO) -> None:
    """Send structlog and the standard library's logging to stderr as JSON; call once, at the start of a process.

    Each line has ``time`` (UTC), ``level``, ``component``, ``event`` and the event's own fields. Other
    people's libraries speak from WARNING up.
    """

    def finish(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        del logger, method
        first = {key: event.pop(key) for key in ("time", "level") if key in event}
        return {**first, "component": component, **event}

    structlog.configure(
        processors=[*_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                finish,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("dockwarden").setLevel(level)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """A logger below ``dockwarden``; events are ids and figures: ``log("intake").info("sealed", record=…)``.

    Works before `configure` too (then warnings reach stderr as plain text, and stdout is never touched).
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(f"dockwarden.{name}"),
        processors=[*_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def watch_uncaught() -> None:
    """Log exceptions that nobody caught, in any thread, in the same form instead of Python's free text."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        del trace
        if issubclass(kind, KeyboardInterrupt):
            return
        log("process").critical("uncaught exception", exc_info=error)

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            thread = args.thread.name if args.thread is not None else "unknown"
            log("process").critical("uncaught exception in a thread", thread=thread, exc_info=args.exc_value)

    sys.excepthook = hook
    threading.excepthook = thread_hook
