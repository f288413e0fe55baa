"""Layered settings: defaults < files of the system < the file given < environment.

A service describes its settings as a pydantic model with defaults; nothing here knows any key.
Environment names are ``DOCKWARDEN_`` + the side + ``_`` + the key in capitals, two underscores for each level:
``DOCKWARDEN_CENTRE_BROKER__PORT=8883`` sets ``port`` in the centre's ``[broker]``; lists and tables are written as
JSON. A side leaves alone what bears another side's name, so that one machine can run both; a name of no side is a
fault, since it would have no effect.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings.exceptions import SettingsError

from dockwarden.service.errors import ServiceError

Model = TypeVar("Model", bound=BaseModel)
Side: TypeAlias = Literal["agent", "centre", "sim"]
_LEVEL = "__"
_OURS = "DOCKWARDEN_"


@dataclass(frozen=True)
class _Layer:
    """One source of settings; ``name`` is what an error shows (a file's path, or the environment)."""

    name: str
    values: dict[str, Any]


def load(model: type[Model], files: Sequence[Path], *, side: Side, given: Path | None = None) -> Model:
    """Read settings, later layers over earlier ones, and check them all at once.

    ``files`` are the usual places (such as ``/etc/dockwarden/agent.toml``): one that does not exist is
    skipped. ``given`` is the file that a person named: it must exist. Tables are merged key by key,
    anything else is replaced. Raises `ServiceError` (code ``settings``) naming the file, the key and the
    reason for every fault found; an unknown key, in files or in the environment, is a fault. Values are
    never repeated in the error, since a setting may be a secret.
    """
    prefix = f"{_OURS}{side.upper()}_"
    layers = [_read_file(path) for path in files if path.exists()]
    if given is not None:
        layers.append(_read_file(given))
    found_a_file = bool(layers)
    layers.append(_read_environment(model, prefix))
    try:
        return _check(model, layers)
    except ValidationError as error:
        if not found_a_file and not layers[-1].values:
            places = ", ".join(str(path) for path in files)
            do = "Make it with setup, or name the right one with --settings."
            raise ServiceError("settings", "there is no settings file", places, do) from None
        do = f"Correct the keys that are named; {prefix}… in the environment wins over every file."
        raise _explain(error, layers, do) from None


def read_file(model: type[Model], path: Path) -> Model:
    """Read one settings file alone, without the environment; raises as `load`."""
    layer = _read_file(path)
    return check(model, layer.values, layer.name)


def check(model: type[Model], values: Mapping[str, Any], name: str) -> Model:
    """Check values that came from `name` (such as the arguments of a command); raises as `load`."""
    layer = _Layer(name, dict(values))
    try:
        return _check(model, [layer])
    except ValidationError as error:
        raise _explain(error, [layer], "Correct what is named.") from None


def _check(model: type[Model], layers: Sequence[_Layer]) -> Model:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    return model.model_validate(merged, extra="forbid")


def _read_file(path: Path) -> _Layer:
    try:
        return _Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        reason, do = f"not valid TOML: {error}", "Correct the line that is named."
    except UnicodeDecodeError:
        reason, do = "not UTF-8 text", "Save the file as UTF-8."
    except FileNotFoundError:
        reason, do = "there is no settings file", "Make it with setup, or name the right one with --settings."
    except OSError as error:
        reason, do = f"cannot be read: {error.strerror}", "Check the path and the rights of the file."
    raise ServiceError("settings", reason, str(path), do)


def _read_environment(model: type[BaseModel], prefix: str) -> _Layer:
    environment = "the environment"
    sides = tuple(f"{_OURS}{side.upper()}_" for side in get_args(Side))
    for name in os.environ:
        key = name[len(prefix) :].split(_LEVEL)[0].lower()
        wrong = key not in model.model_fields if name.startswith(prefix) else not name.startswith(sides)
        if name.startswith(_OURS) and wrong:
            do = f"Unset {name} or correct its name: {prefix} and a key in capitals."
            raise ServiceError("settings", f"{name}: unknown key", environment, do)
    # The source wants a settings class; a plain model with this base is one, and is used for nothing else.
    settings = cast("type[BaseSettings]", type("Layered", (BaseSettings, model), {}))
    try:
        return _Layer(environment, EnvSettingsSource(settings, env_prefix=prefix, env_nested_delimiter=_LEVEL)())
    except SettingsError as error:
        what = str(error).splitlines()[0]
        raise ServiceError("settings", what, environment, "Write lists and tables as JSON.") from None


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: ValidationError, layers: Sequence[_Layer], do: str) -> ServiceError:
    lines: list[str] = []
    origins: list[str] = []
    for fault in error.errors(include_url=False, include_input=False):
        place = fault["loc"]
        reason = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        origins.append(_origin(place, layers))
        lines.append(f"{origins[-1]}: {'.'.join(str(part) for part in place) or 'settings'}: {reason}")
    return ServiceError("settings", "; ".join(lines), ", ".join(dict.fromkeys(origins)), do)


def _origin(place: Sequence[int | str], layers: Sequence[_Layer]) -> str:
    """The last layer that has the longest part of ``place``: who set the value, or the table it is missing in."""
    best, depth = layers[-1].name if len(layers) == 1 else "defaults", 0
    for layer in layers:
        reached = _depth(layer.values, place)
        if reached and reached >= depth:
            best, depth = layer.name, reached
    return best


def _depth(values: Any, place: Sequence[int | str]) -> int:
    for reached, part in enumerate(place):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return reached
    return len(place)
