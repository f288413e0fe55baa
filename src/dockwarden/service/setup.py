"""What setting up has in common on both sides: choices are checked before anything is written, and a second setup
never leaves in silence what the first one chose."""

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from dockwarden.service.errors import ServiceError
from dockwarden.service.settings import check, read_file

Model = TypeVar("Model", bound=BaseModel)
Choices = Mapping[str, Any]
"""What a person has chosen, by key, tables as mappings; what was left open is None."""


def choose(model: type[Model], file: Path, given: Choices, do: str) -> Model:
    """The settings of `file`, or, where there is none yet, those that `given` makes; nothing is written.

    Raises ServiceError `settings` where they are wrong, `differs` where the file says something else than what was
    given; `do` then says how what the file says is changed.
    """
    if not file.exists():
        return check(model, _without_none(given), "the arguments")
    found = read_file(model, file)
    there = found.model_dump(mode="json")
    differing = [
        f"{key} is {_shown(_at(there, key))} in the file, and {_shown(value)} was given"
        for key, value in _leaves(_without_none(given))
        if _at(there, key) != value
    ]
    if differing:
        raise ServiceError("differs", "; ".join(differing), str(file), do)
    return found


def check_owner(root: Path) -> None:
    """Refuse to set up in another user's folder, whose service could not read what is made there.

    Raises ServiceError `other-user`.
    """
    if not root.exists():
        return
    owner, me = root.stat().st_uid, os.geteuid()
    if owner != me:
        what = f"the folder belongs to {_name(owner)}, and this runs as {_name(me)}"
        raise ServiceError("other-user", what, str(root), f"Run setup as {_name(owner)}: sudo -u {_name(owner)} …")


def user() -> str:
    """The name of the user who runs this."""
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _without_none(given: Choices) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in given.items()
        if value is not None
    }


def _leaves(values: Choices, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
