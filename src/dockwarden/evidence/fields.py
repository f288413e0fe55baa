"""Read typed fields from parsed objects; every error names the field."""

import base64
import binascii
import datetime
import re
from collections.abc import Mapping

from dockwarden.evidence.canonical import MalformedError, Object

_HEX = re.compile(r"[0-9a-f]*")
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def text(source: Mapping[str, object], key: str, limit: int = 4096) -> str:
    """Field `key` as text of at most `limit` characters."""
    value = source.get(key)
    if not isinstance(value, str):
        raise MalformedError(key, "is not text")
    if len(value) > limit:
        raise MalformedError(key, f"is longer than {limit} characters")
    return value


def optional_text(source: Mapping[str, object], key: str, limit: int = 4096) -> str | None:
    """Field `key` as text, or None where it is absent or null."""
    return None if source.get(key) is None else text(source, key, limit)


def matching(source: Mapping[str, object], key: str, pattern: re.Pattern[str], limit: int = 4096) -> str:
    """Field `key` as text of at most `limit` characters that `pattern` matches as a whole."""
    value = text(source, key, limit)
    if not pattern.fullmatch(value):
        raise MalformedError(key, "has not the form that it must have")
    return value


def integer(source: Mapping[str, object], key: str, least: int = 0) -> int:
    """Field `key` as an integer that is not below `least`."""
    value = source.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(key, "is not an integer")
    if value < least:
        raise MalformedError(key, f"is below {least}")
    return value


def optional_integer(source: Mapping[str, object], key: str, least: int = 0) -> int | None:
    """Field `key` as an integer, or None where it is absent or null."""
    return None if source.get(key) is None else integer(source, key, least)


def boolean(source: Mapping[str, object], key: str) -> bool:
    """Field `key` as true or false."""
    value = source.get(key)
    if not isinstance(value, bool):
        raise MalformedError(key, "is not true or false")
    return value


def digest(source: Mapping[str, object], key: str) -> str:
    """Field `key` as 64 lower-case hexadecimal digits (SHA-256 and SM3 alike)."""
    value = text(source, key, 64)
    if len(value) != 64 or not _HEX.fullmatch(value):
        raise MalformedError(key, "is not 64 lower-case hexadecimal digits")
    return value


def utc(source: Mapping[str, object], key: str) -> str:
    """Field `key` as UTC with milliseconds, `YYYY-MM-DDThh:mm:ss.mmmZ` (RFC 3339), of a day that there is."""
    value = matching(source, key, _UTC)
    try:
        datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise MalformedError(key, "is a moment that does not exist") from error
    return value


def data(source: Mapping[str, object], key: str) -> bytes:
    """Field `key` as bytes from strict base64 (RFC 4648 section 4, padded, canonical)."""
    return base64_bytes(text(source, key, 1 << 26), key)


def obj(source: Mapping[str, object], key: str) -> Object:
    """Field `key` as an object."""
    value = source.get(key)
    if not isinstance(value, dict):
        raise MalformedError(key, "is not an object")
    return value


def array(source: Mapping[str, object], key: str, limit: int = 100_000) -> list[object]:
    """Field `key` as a list of at most `limit` items."""
    value = source.get(key)
    if not isinstance(value, list):
        raise MalformedError(key, "is not a list")
    if len(value) > limit:
        raise MalformedError(key, f"has more than {limit} items")
    return list(value)


def version(source: Mapping[str, object], newest: int = 1) -> None:
    """Refuse a form whose `v` is not between 1 and `newest`."""
    if not 1 <= integer(source, "v") <= newest:
        raise MalformedError("v", "is a version that this program does not know")


def printed_back(source: Mapping[str, object], printed: Mapping[str, object]) -> None:
    """Refuse a form unless each field of `printed`, what we print of it, is there just so; others may follow."""
    for key, value in printed.items():
        if key not in source or source[key] != value:
            raise MalformedError(key, "does not print back identically")


def base64_text(value: bytes) -> str:
    """Strict base64 text of `value`."""
    return base64.b64encode(value).decode("ascii")


def base64_bytes(value: str, where: str) -> bytes:
    """Bytes of strict base64; only text that prints back identically is accepted."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(where, "is not base64") from error
    if base64_text(decoded) != value:
        raise MalformedError(where, "is not canonical base64")
    return decoded
