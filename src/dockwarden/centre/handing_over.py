"""How a package gets from the service's own folder to where a person wants it, by that person's rights."""

import os
import shutil
from pathlib import Path

from dockwarden.durable.files import Files, explained, publish
from dockwarden.service.errors import ServiceError


def check_target(target: Path) -> None:
    """Raise ServiceError where no package can be put at `target`, before anything is made."""
    if os.path.lexists(target):
        raise ServiceError("exists", "there is something at the target", str(target), "Name a new folder.")
    if not target.parent.is_dir():
        do = "Make it first, or correct the name."
        raise ServiceError("no-folder", "the folder that is to hold the package is not there", str(target.parent), do)


def copy_package(files: Files, spooled: Path, target: Path) -> None:
    """Copy the package `spooled` to the new folder `target`, durably; it then belongs to who runs this.

    Raises DurableError, and leaves nothing at the target then.
    """
    part = target.with_name(f".{target.name}.part")
    with explained(target):
        if part.exists():  # a command that was killed left it
            files.rmtree(part)
        files.mkdir(part)
    try:
        with explained(target):
            _copy(files, spooled, part)
        publish(files, part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _copy(files: Files, source: Path, target: Path) -> None:
    """Unlike shutil.copytree this ends at the first error, and with that error: a full disk is called so."""
    for path in sorted(source.iterdir()):
        if path.is_dir():
            files.mkdir(target / path.name)
            _copy(files, path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)
