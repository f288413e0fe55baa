"""The station's registry: which officer has which device, which task runs when, and what is marked with secrecy.

Kept in tinydb, whose file is written by the one durable write. It is a few hundred documents at most: the
devices and the current tasks of one station.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import Any, cast

from tinydb import Query, TinyDB, where
from tinydb.storages import Storage

from dockwarden.agent.metadata.rosters import Binding, Mark, Roster, Task, parse_roster
from dockwarden.durable.files import DurableError, Files, write_durably
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.seals import Seal
from dockwarden.rules.labels import Label

__all__ = ["Binding", "Mark", "Marks", "Registry", "Task"]

_Tables = dict[str, dict[str, Any]]


class DurableStorage(Storage):
    """tinydb's storage on `write_durably`: a crash leaves the old registry or the new one, never half of one."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._held: _Tables | None = None

    def read(self) -> _Tables | None:
        """Return the whole registry; None where there is none yet. Raises DurableError `damaged`."""
        if self._held is not None:
            return self._held
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise damaged(self._path, "is not JSON") from error
        if not isinstance(found, dict) or not all(_is_table(table) for table in found.values()):
            raise damaged(self._path, "is not a registry")
        return dict(found)

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the whole registry durably; raises DurableError."""
        if self._held is not None:
            self._held = {name: dict(table) for name, table in data.items()}
            return
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1)
        write_durably(self._files, self._path, text.encode() + b"\n")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """All that is written inside becomes durable together at the end, or none of it. Raises DurableError."""
        self._held = self.read() or {}
        try:
            yield
            held, self._held = self._held, None
            self.write(held)
        finally:
            self._held = None


@dataclass(frozen=True)
class Marks:
    """What is marked with secrecy now: devices by key, bays by name, cases by key."""

    devices: frozenset[str] = frozenset()
    bays: frozenset[str] = frozenset()
    cases: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.devices or self.bays or self.cases)

    def concern(self, seal: Seal, label: Label) -> bool:
        """Whether a record is of anything that is marked."""
        of_case = label.case is not None and label.case.key in self.cases
        return of_case or seal.bay in self.bays or seal.device.get("key") in self.devices


@dataclass(frozen=True)
class _Known:
    """The registry as it was last read or written."""

    bindings: dict[str, Binding]
    tasks: tuple[Task, ...]
    marks: Marks


class Registry:
    """The registry's file; safe to use from several threads. Every question raises DurableError `damaged` where the
    file cannot be understood."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._lock = RLock()
        self._db = TinyDB(path, files, storage=DurableStorage)
        self._storage = cast(DurableStorage, self._db.storage)
        self._kept: _Known | None = None

    def take(self, roster: Roster) -> None:
        """Enter all of a roster, or nothing: a device's new binding replaces its old one, a task that is here already
        stays one (of two at one time a person would have to choose). Raises MalformedError, DurableError."""
        parse_roster(roster.to_object())
        with self._lock:
            self._known()  # what cannot be understood is not written over
            try:
                with self._storage.at_once():
                    for binding in roster.bindings:
                        self._db.table("bindings").upsert(asdict(binding), where("device") == binding.device)
                    for task in roster.tasks:
                        self._db.table("tasks").upsert(asdict(task), Query().fragment(asdict(task)))
                    for mark in roster.marks:
                        self._enter(mark)
            finally:
                self._kept = None
                for table in ("bindings", "tasks", "marks"):
                    self._db.table(table).clear_cache()

    def bind(self, binding: Binding) -> None:
        """Issue a device to an officer, replacing an earlier binding; raises as `take`."""
        self.take(Roster(bindings=(binding,)))

    def add_task(self, task: Task) -> None:
        """Enter a task; raises as `take`."""
        self.take(Roster(tasks=(task,)))

    def mark(self, mark: Mark) -> None:
        """Set a mark, or lift it; raises as `take`."""
        self.take(Roster(marks=(mark,)))

    def marks(self) -> Marks:
        """What is marked with secrecy now."""
        return self._known().marks

    def binding(self, device: str) -> Binding | None:
        """The binding of a device, by its key."""
        return self._known().bindings.get(device)

    def officer_name(self, officer_id: str) -> str | None:
        """The name of an officer who has any device."""
        bindings = self._known().bindings.values()
        return next((found.officer_name for found in bindings if found.officer_id == officer_id), None)

    def tasks(self, officer_id: str, at: str) -> list[Task]:
        """The tasks that an officer had at `at` (UTC)."""
        return [
            task for task in self._known().tasks if task.officer_id == officer_id and task.start <= at <= task.end
        ]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _enter(self, mark: Mark) -> None:
        """A mark that is lifted is gone."""
        table = self._db.table("marks")
        same = [row.doc_id for row in table if Mark(row["of"], row["name"]).key == mark.key and row["of"] == mark.of]
        table.remove(doc_ids=same)
        if mark.secret:
            table.insert(asdict(mark))

    def _known(self) -> _Known:
        with self._lock:
            if self._kept is None:
                self._kept = self._read()
            return self._kept

    def _read(self) -> _Known:
        rows = {name: [dict(row) for row in self._db.table(name).all()] for name in ("bindings", "tasks", "marks")}
        try:
            roster = parse_roster(rows)
        except MalformedError as error:
            raise damaged(self._path, str(error)) from error
        return _Known(
            {binding.device: binding for binding in roster.bindings},
            roster.tasks,
            _marks(roster.bindings, roster.marks),
        )


def _is_table(table: object) -> bool:
    return isinstance(table, dict) and all(key.isdecimal() and isinstance(row, dict) for key, row in table.items())


def damaged(path: Path, why: str) -> DurableError:
    """The error for a registry that cannot be understood."""
    do = "Restore the file, or take it away and send the roster again."
    return DurableError("damaged", f"the station's registry cannot be read: {why}", str(path), do)


def _marks(bindings: tuple[Binding, ...], marks: tuple[Mark, ...]) -> Marks:
    set_now = [mark for mark in marks if mark.secret]
    return Marks(
        frozenset(binding.device for binding in bindings if binding.secret)
        | frozenset(mark.name for mark in set_now if mark.of == "device"),
        frozenset(mark.name for mark in set_now if mark.of == "bay"),
        frozenset(mark.key for mark in set_now if mark.of == "case"),
    )
