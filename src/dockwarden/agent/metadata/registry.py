"""The station's registry: which officer has which device, and which task runs when.

Kept in tinydb, whose file is written by the one durable write. It is a few hundred documents at most: the
devices and the current tasks of one station.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from tinydb import Query, TinyDB, where
from tinydb.storages import Storage

from dockwarden.durable.files import DurableError, Files, write_durably
from dockwarden.rules.deadlines import parse_utc
from dockwarden.rules.labels import parse_activity, parse_case_number, parse_text


class DurableStorage(Storage):
    """tinydb's storage on `write_durably`: a crash leaves the old registry or the new one, never half of one."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return the whole registry; None where there is none yet. Raises DurableError `damaged`."""
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError as error:
            do = "Restore the file, or take it away and send the roster again."
            raise DurableError("damaged", "the station's registry cannot be read", str(self._path), do) from error

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the whole registry durably; raises DurableError."""
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1)
        write_durably(self._files, self._path, text.encode() + b"\n")


@dataclass(frozen=True)
class Binding:
    """A device issued to an officer (article 4: devices are issued and returned). `secret` marks all that it
    records with secrecy (article 14)."""

    device: str
    officer_id: str
    officer_name: str
    secret: bool = False


@dataclass(frozen=True)
class Task:
    """What an officer is doing from `start` to `end` (UTC): the case or pre-case reference, party, activity."""

    officer_id: str
    start: str
    end: str
    case: str
    party: str
    activity: str


class Registry:
    """The registry's file; safe to use from several threads."""

    def __init__(self, path: Path, files: Files) -> None:
        self._lock = Lock()
        self._db = TinyDB(path, files, storage=DurableStorage)

    def bind(self, binding: Binding) -> None:
        """Issue a device to an officer, replacing an earlier binding; raises MalformedError, DurableError."""
        parse_text("officer", binding.officer_name)
        with self._lock:
            self._db.table("bindings").upsert(asdict(binding), where("device") == binding.device)

    def add_task(self, task: Task) -> None:
        """Enter a task, once however often it is sent: of two tasks at one time a person would have to choose.

        Raises MalformedError where a field has not its form, DurableError.
        """
        parse_case_number(task.case)
        parse_text("party", task.party)
        parse_activity(task.activity)
        parse_utc(task.start)
        parse_utc(task.end)
        with self._lock:
            self._db.table("tasks").upsert(asdict(task), Query().fragment(asdict(task)))

    def binding(self, device: str) -> Binding | None:
        """The binding of a device, by its key."""
        with self._lock:
            found = self._db.table("bindings").search(where("device") == device)
        return Binding(**found[0]) if found else None

    def officer_name(self, officer_id: str) -> str | None:
        """The name of an officer who has any device."""
        with self._lock:
            found = self._db.table("bindings").search(where("officer_id") == officer_id)
        return str(found[0]["officer_name"]) if found else None

    def tasks(self, officer_id: str, at: str) -> list[Task]:
        """The tasks that an officer had at `at` (UTC)."""
        with self._lock:
            found = self._db.table("tasks").search(where("officer_id") == officer_id)
        return [Task(**row) for row in found if row["start"] <= at <= row["end"]]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
