"""The moment that a fact is said, as this machine knows it."""

import ctypes
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from dockwarden.evidence.facts import Instant

_TIME_ERROR = 5
_STA_UNSYNC = 0x0040
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)); the rest is room that the kernel may fill."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    )


def now() -> Instant:
    """UTC, this boot's id, milliseconds of CLOCK_MONOTONIC, and whether the kernel holds its clock synchronised."""
    wall, mono = time.time_ns(), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return Instant(utc_text(wall // 1_000_000), _boot(), mono // 1_000_000, _synchronised())


def utc_text(milliseconds: int) -> str:
    """`YYYY-MM-DDThh:mm:ss.mmmZ` of milliseconds since 1970."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")


def _synchronised() -> bool:
    state = _Timex()
    result = _LIBC.adjtimex(ctypes.byref(state))
    return result not in (-1, _TIME_ERROR) and not state.status & _STA_UNSYNC
