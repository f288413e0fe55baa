"""Identifiers: drawn at random, never from content, name or clock."""

import base64
import re

from dockwarden.evidence.canonical import MalformedError

RECORD_ID = re.compile(r"[a-z2-7]{25}[aeimquy4]")
"""A record id: 128 bits in 26 characters of lower-case base32 without padding."""
PLACE_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""A station's or centre's name; also its MQTT client id and its certificate's common name."""
LOG_ID = re.compile(r"[a-z][a-z0-9-]{0,30}\.[a-z2-7]{8}")
"""A log: the name of the place and the generation of its ledger."""


def new_record_id(random16: bytes) -> str:
    """Return the id of 16 random bytes (the caller draws them from the operating system)."""
    if len(random16) != 16:
        raise ValueError("a record id takes 16 random bytes")
    return base64.b32encode(random16).decode("ascii").rstrip("=").lower()


def record_bytes(record: str) -> bytes:
    """Return the 16 bytes of a record id; raises MalformedError for anything that is not one."""
    if not RECORD_ID.fullmatch(record):
        raise MalformedError("record", "is not a record id")
    return base64.b32decode(record.upper() + "======")


def new_generation(random5: bytes) -> str:
    """Return a generation, 8 characters of base32 of 5 random bytes: it changes when a place is rebuilt."""
    if len(random5) != 5:
        raise ValueError("a generation takes 5 random bytes")
    return base64.b32encode(random5).decode("ascii").lower()


def log_id(place: str, generation: str) -> str:
    """Return the id of the log that `place` keeps in `generation`."""
    log = f"{place}.{generation}"
    if not LOG_ID.fullmatch(log):
        raise MalformedError("log", "is not a log id")
    return log
