"""Canonical JSON: RFC 8785 without floats. One value has one byte form, and only that form is accepted."""

import json
from collections.abc import Mapping
from typing import TypeAlias, cast

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"
Object: TypeAlias = dict[str, Value]

INTEGER_LIMIT = 2**53
"""Integers stay strictly between -2^53 and 2^53, so that every JSON reader holds them exactly (RFC 7493)."""

MAX_DEPTH = 32


class MalformedError(ValueError):
    """Bytes or values that break a format of ours. `where` names the field or the format."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


def encode(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of `value`.

    Raises MalformedError for floats, integers of 2^53 and more, lone surrogates, keys that are not text, and
    nesting deeper than MAX_DEPTH. Source: RFC 8785 (keys sort by UTF-16 code units).
    """
    ordered = _ordered(value, 0)
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError("canonical", "text holds a lone surrogate") from error


def decode(data: bytes) -> Value:
    """Parse canonical bytes; raises MalformedError unless they are exactly what `encode` prints."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_float=_no_float, parse_constant=_no_float, parse_int=_integer)
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError("canonical", f"not JSON: {error}") from error
    if encode(value) != data:
        raise MalformedError("canonical", "not in canonical form")
    return cast(Value, value)


def decode_object(data: bytes, where: str) -> Object:
    """Parse canonical bytes that must be one object; `where` names it in errors."""
    value = decode(data)
    if not isinstance(value, dict):
        raise MalformedError(where, "is not an object")
    return value


def _ordered(value: object, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise MalformedError("canonical", "nested too deeply")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not -INTEGER_LIMIT < value < INTEGER_LIMIT:
            raise MalformedError("canonical", "integer of 2^53 or more")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise MalformedError("canonical", "key is not text")
        keys = sorted(value, key=_utf16)
        return {key: _ordered(value[key], depth + 1) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    raise MalformedError("canonical", f"{type(value).__name__} has no canonical form")


def _utf16(key: str) -> bytes:
    try:
        return key.encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise MalformedError("canonical", "key holds a lone surrogate") from error


def _no_float(text: str) -> None:
    raise MalformedError("canonical", f"number {text[:40]} is not an integer")


def _integer(text: str) -> int:
    if len(text) > len(str(-INTEGER_LIMIT)):
        raise MalformedError("canonical", "integer of 2^53 or more")
    return int(text)
