"""The demo's folder: made anew each time, and never below a demo that still runs."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockwarden.service.errors import ServiceError

MARK = ".dockwarden-demo"
"""Says that a folder is a demo's and may be emptied; who holds its lock is at work there. It is never removed."""


@contextmanager
def fresh_folder(root: Path) -> Iterator[None]:
    """Make `root` anew and keep other demos out of it, for the length of a block.

    Raises ServiceError `not-a-demo` where it holds something else, `demo-running` where a demo is at work there;
    nothing in it has been touched then.
    """
    if root.exists() and any(root.iterdir()) and not (root / MARK).exists():
        raise ServiceError("not-a-demo", "the folder holds something else", str(root), "Choose another folder.")
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            do = "End it first (Ctrl-C in its terminal), or name another folder with --into."
            raise ServiceError("demo-running", "a demo runs in this folder", str(root), do) from None
        for path in root.iterdir():
            if path.name != MARK:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        yield
    finally:
        os.close(lock)
