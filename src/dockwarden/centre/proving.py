"""Fresh receipts: a station that is about to clear a device asks whether its records are still here, byte for byte.

Every answer rests on a reading of its own, past the page cache. Where there is none the station keeps its device.
"""

from collections.abc import Callable

from dockwarden.centre.archive import Archive
from dockwarden.durable.files import DurableError
from dockwarden.evidence import seals
from dockwarden.evidence.canonical import MalformedError
from dockwarden.rules.records import is_held
from dockwarden.service.logs import log
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import Prove, Unproven
from dockwarden.wire.topics import Lane

MOST_WAITING = 64
"""Questions of one station that are being answered; it asks for more again."""

Use = Callable[[object], None]


class Proving:
    """The questions of one station; used by the office's thread alone. `publish` and `check` as in `Receiving`."""

    def __init__(
        self,
        station: str,
        archive: Archive,
        publish: Callable[[Lane, bytes], None],
        check: Callable[[Callable[[], object], Use], None],
    ) -> None:
        self._station = station
        self._archive = archive
        self._publish = publish
        self._check = check
        self._waiting: set[str] = set()

    def on_prove(self, payload: bytes) -> None:
        """Take a question; raises MalformedError, and RemoteError where no receipt may be given; the station
        hears of that too."""
        asked = Prove.decode(payload)
        if asked.nonce in self._waiting:
            return
        if len(self._waiting) >= MOST_WAITING:
            raise RemoteError("too-many", "too many records are being read again already", self._station)
        try:
            self._require(asked)
        except RemoteError as error:
            self._publish("prove", Unproven(asked.nonce, error.code).encode())
            raise
        self._waiting.add(asked.nonce)
        self._check(
            lambda: self._archive.prove(asked.record, asked.nonce), lambda result: self._answer(asked, result)
        )

    def _require(self, asked: Prove) -> None:
        """Raise RemoteError for another's record, one that is not here under this seal, one that is held, and for a
        station whose log is forked."""
        archive, where = self._archive, f"record {asked.record}"
        if archive.catalogue.owner(asked.record) != self._station:
            raise RemoteError("another-station", "the record belongs to another station", where)
        if any(alarm.code == "fork" for alarm in archive.catalogue.alarms(self._station)):
            raise RemoteError("fork", "the log of this station is forked: nothing is cleared", self._station)
        content = archive.store.find(asked.record)
        if content is None:
            raise RemoteError("not-stored", "the record is not at the centre", where)
        if seals.seal_sha256((content / "seal.note").read_bytes()) != asked.seal_sha256:
            raise RemoteError("another-seal", "the record is stored here under another seal", where)
        if is_held(archive.catalogue.facts_of(asked.record)):
            raise RemoteError("held", "the record is held: its device is not cleared", where)

    def _answer(self, asked: Prove, result: object) -> None:
        self._waiting.discard(asked.nonce)
        if isinstance(result, bytes):
            self._publish("receipt", result)
            return
        code = getattr(result, "code", "damaged" if isinstance(result, MalformedError) else "internal")
        self._publish("prove", Unproven(asked.nonce, str(code)).encode())
        told = str(result) if isinstance(result, MalformedError | RemoteError | DurableError) else None
        log("proving").error("no receipt", record=asked.record, error=told or type(result).__name__)
        if isinstance(result, MalformedError):
            what, at = "the centre's copy of a record is not what was sealed", self._archive.clock().utc
            self._archive.catalogue.alarm(self._station, "damaged", what, f"record {asked.record}", at)
