"""Layered settings: defaults < files of the system < the file given < environment.

A service describes its settings as a pydantic model with defaults; nothing here knows any key.
Environment names are ``DOCKWARDEN_`` + the key in capitals, two underscores for each level:
``DOCKWARDEN_BROKER__PORT=8883`` sets ``port`` in ``[broker]``; lists and tables are written as JSON.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings.exceptions import SettingsError

from dockwarden.service.errors import ServiceError

Model = TypeVar("Model", bound=BaseModel)
_LEVEL = "__"


@dataclass(frozen=True)
class _Layer:
    """One source of settings; ``name`` is what an error shows (a file's path, or the environment)."""

    name: str
    values: dict[str, Any]


def load(
    model: type[Model], files: Sequence[Path], *, given: Path | None = None, prefix: str = "DOCKWARDEN_"
) -> Model:
    """Read settings, later layers over earlier ones, and check them all at once.

    ``files`` are the usual places (such as ``/etc/dockwarden/agent.toml``): one that does not exist is
    skipped. ``given`` is the file that a person named: it must exist. Tables are merged key by key,
    anything else is replaced. Raises `ServiceError` (code ``settings``) naming the file, the key and the
    reason for every fault found; an unknown key, in files or in the environment, is a fault. Values are
    never repeated in the error, since a setting may be a secret.
    """
    layers = [_read_file(path) for path in files if path.exists()]
    if given is not None:
        layers.append(_read_file(given))
    layers.append(_read_environment(model, prefix))
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    try:
        return model.model_validate(merged, extra="forbid")
    except ValidationError as error:
        raise _explain(error.errors(include_url=False, include_input=False), layers, prefix) from None


def _read_file(path: Path) -> _Layer:
    try:
        return _Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        reason, do = f"not valid TOML: {error}", "Correct the line that is named."
    except UnicodeDecodeError:
        reason, do = "not UTF-8 text", "Save the file as UTF-8."
    except OSError as error:
        reason, do = f"cannot be read: {error.strerror}", "Check the path and the rights of the file."
    raise ServiceError("settings", reason, str(path), do)


def _read_environment(model: type[BaseModel], prefix: str) -> _Layer:
    environment = "the environment"
    for name in os.environ:
        key = name[len(prefix) :].split(_LEVEL)[0].lower()
        if name.startswith(prefix) and key not in model.model_fields:
            raise ServiceError("settings", f"{name}: unknown key", environment, f"Unset {name} or correct its name.")
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


def _explain(faults: Sequence[ErrorDetails], layers: Sequence[_Layer], prefix: str) -> ServiceError:
    lines: list[str] = []
    origins: list[str] = []
    for fault in faults:
        place = fault["loc"]
        reason = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        origins.append(_origin(place, layers))
        lines.append(f"{origins[-1]}: {'.'.join(str(part) for part in place) or 'settings'}: {reason}")
    return ServiceError(
        "settings",
        "; ".join(lines),
        ", ".join(dict.fromkeys(origins)),
        f"Correct the keys that are named; {prefix}… in the environment wins over every file.",
    )


def _origin(place: Sequence[int | str], layers: Sequence[_Layer]) -> str:
    """The last layer that has the longest part of ``place``: who set the value, or the table it is missing in."""
    best, depth = "defaults", 0
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
