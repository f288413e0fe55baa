"""Making a mounted volume writable for a while, and only for who holds the view of it. Needs root.

The mount that everybody sees stays read-only. The file system below it becomes writable (fspick(2), fsconfig(2)), and
a copy of the mount that is in no mount table (open_tree(2)) is made writable (mount_setattr(2)): who has not got its
file descriptor cannot reach it by any path. Afterwards the file system, and the block device below, are read-only
again.
"""

import ctypes
import errno
import os
import time
from pathlib import Path

from dockwarden.agent.drivers.mounting import set_read_only

CLEARABLE = frozenset({"vfat", "exfat"})
"""File systems of which a volume may become writable. Others have a journal, and it was not replayed."""

BUSY_S = 5.0
"""How long a file that is still open may keep a file system from becoming read-only."""

_OPEN_TREE, _FSCONFIG, _FSPICK, _MOUNT_SETATTR = 428, 431, 433, 442  # the same on all of Linux's architectures
_AT_FDCWD, _AT_EMPTY_PATH, _OPEN_TREE_CLONE = -100, 0x1000, 1  # linux/fcntl.h, linux/mount.h
_FSPICK_CLOEXEC, _SET_FLAG, _RECONFIGURE = 1, 0, 7
_RDONLY = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_ns", ctypes.c_uint64),
    )


def open_writable(node: Path, point: Path) -> int:
    """A file descriptor (O_PATH) of the root of a writable view of what is mounted at `point` from the block device
    `node`. Raises OSError; then it is read-only as before."""
    try:
        set_read_only(node, False)
        _reconfigure(point, b"rw")
        return _writable_view(point)
    except BaseException:
        end_writable(node, point)
        raise


def end_writable(node: Path, point: Path) -> None:
    """Make it read-only again, with all that was written; every view of it must be closed. Raises OSError; the block
    device refuses writes all the same."""
    until = time.monotonic() + BUSY_S
    try:
        while True:
            try:
                _reconfigure(point, b"ro")
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
                time.sleep(BUSY_S / 50)
    finally:
        set_read_only(node, True)


def _reconfigure(point: Path, flag: bytes) -> None:
    """Change the file system that is mounted at `point`, and no mount of it."""
    context = _call(
        _FSPICK, ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(os.fsencode(point)), ctypes.c_uint(_FSPICK_CLOEXEC)
    )
    try:
        fd, zero = ctypes.c_int(context), ctypes.c_int(0)
        _call(_FSCONFIG, fd, ctypes.c_uint(_SET_FLAG), ctypes.c_char_p(flag), None, zero)
        _call(_FSCONFIG, fd, ctypes.c_uint(_RECONFIGURE), None, None, zero)
    finally:
        os.close(context)


def _writable_view(point: Path) -> int:
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    view = _call(_OPEN_TREE, ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(os.fsencode(point)), flags)
    try:
        wanted = _Attributes(clear=_RDONLY)
        size = ctypes.c_size_t(ctypes.sizeof(wanted))
        empty = ctypes.c_char_p(b"")
        _call(_MOUNT_SETATTR, ctypes.c_int(view), empty, ctypes.c_uint(_AT_EMPTY_PATH), ctypes.byref(wanted), size)
    except BaseException:
        os.close(view)
        raise
    return view


def _call(number: int, *arguments: object) -> int:
    found = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(found)
