"""What the centre hears from one station and says to it, but for footage: presence, logs, questions."""

from collections.abc import Callable
from contextlib import suppress

from dockwarden.centre.catalogue import Catalogue, KnownPresence
from dockwarden.durable.files import Files
from dockwarden.durable.ledger import GapError, Ledger
from dockwarden.durable.queries import keep_head, kept_head, log_root, log_size
from dockwarden.durable.tables import reading, writing
from dockwarden.evidence import checkpoints, notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.facts import Instant
from dockwarden.evidence.notes import SigningKey, VerifierKey
from dockwarden.rules.deadlines import parse_utc
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.ledgers import FactBatch, HeadMessage, LogSize
from dockwarden.wire.messages import Answer, Ask, Presence
from dockwarden.wire.topics import Lane


class StationLine:
    """The line to one station; used by the office's thread alone. `publish` takes a lane and a payload."""

    def __init__(
        self,
        station_key: VerifierKey,
        catalogue: Catalogue,
        ledger: Ledger,
        key: SigningKey,
        *,
        files: Files,
        clock: Callable[[], Instant],
        publish: Callable[[Lane, bytes], None],
    ) -> None:
        self._station = station_key
        self._catalogue = catalogue
        self._ledger = ledger
        self._key = key
        self._files = files
        self._clock = clock
        self._publish = publish
        self._seen: LogSize | None = None

    def on_presence(self, payload: bytes) -> Presence:
        """Keep a station's presence; raises MalformedError. Open questions go out again when it comes online."""
        presence = Presence.decode(payload)
        name = self._station.name
        before = self._catalogue.presence(name)
        heard = KnownPresence(presence.state, presence.session, presence.since, self._clock().utc)
        came = before is None or before.state != "online" or before.session != presence.session
        self._catalogue.hear(name, heard)
        if presence.state == "online" and came:
            self.ask_again()
        return presence

    def ask_again(self) -> None:
        """Put every open question to the station (again): the broker's queue is never relied on."""
        for question in self._catalogue.open_questions(self._station.name):
            self._publish("ask", Ask(question.id, question.what).encode())

    def on_answer(self, payload: bytes) -> str | None:
        """Keep an answer; returns its question, None where it was answered before. Raises MalformedError,
        RemoteError for an answer to what nobody asked this station."""
        answer = Answer.decode(payload)
        asked = self._catalogue.question(answer.id)
        if asked is None or asked.station != self._station.name:
            raise RemoteError(
                "not-asked", "an answer to a question that nobody asked", f"station {self._station.name}"
            )
        kept = self._catalogue.answered(self._station.name, answer.id, answer.at, answer.answer)
        return answer.id if kept else None

    def on_facts(self, payload: bytes) -> None:
        """Take entries of the station's log; raises MalformedError, RemoteError, ForkError."""
        batch = FactBatch.decode(payload)
        self._own(batch.log)
        with suppress(GapError):  # some were lost on the way: the reply says how far we are
            self._catalogue.mirror(batch.entries)
        self._reply(batch.log, None)

    def on_head(self, payload: bytes) -> None:
        """Take the station's head and what it says of ours; raises MalformedError, SignatureError, RemoteError."""
        message = HeadMessage.decode(payload)
        head = checkpoints.open_head(message.head, [self._station])
        self._own(head.log)
        if message.cosigned is not None:
            self._keep_own(message.cosigned)
        self._seen = message.seen
        self._reply(head.log, self._cosign(head, message.head))

    def _own(self, log: str) -> None:
        if log.partition(".")[0] != self._station.name:
            raise RemoteError("not-its-log", "a station speaks of another's log", f"station {self._station.name}")

    def _cosign(self, head: Head, note: bytes) -> bytes | None:
        """Cosign a head that our mirror bears out; None where the mirror is not that far yet.

        Raises RemoteError where the mirror says otherwise: the log was forked.
        """
        engine = self._catalogue.engine
        with reading(engine) as connection:
            if log_size(connection, head.log) < head.size:
                return None
            if log_root(connection, head.log, head.size) != head.root:
                raise RemoteError("fork", "the station's head is not that of the entries it sent", head.log)
            kept = kept_head(connection, head.log, self._key.name)
        if kept is not None and Head.parse(notes.parse(kept).text).size >= head.size:
            return kept
        cosigned = self._key.cosign(note, int(parse_utc(self._clock().utc).timestamp()))
        with writing(engine, self._files) as connection:
            keep_head(connection, head, self._key.name, cosigned)
        return cosigned

    def _keep_own(self, note: bytes) -> None:
        """Keep our own head under the station's cosignature, checked against our own tree."""
        head = checkpoints.open_head(note, [self._key.verifier])
        if not notes.verify_cosignatures(note, [self._station]):
            raise MalformedError("cosigned", "bears no cosignature of the station")
        if head.log != self._ledger.log or head.size > self._ledger.size():
            raise MalformedError("cosigned", "is not a head of this log")
        if self._ledger.root(size=head.size) != head.root:
            raise MalformedError("cosigned", "is not a head of this log")
        with writing(self._catalogue.engine, self._files) as connection:
            keep_head(connection, head, self._station.name, note)

    def _reply(self, log: str, cosigned: bytes | None) -> None:
        mine = self._ledger.head(self._key)
        size = Head.parse(notes.parse(mine).text).size
        proof: list[bytes] = []
        if self._seen is not None and self._seen.log == self._ledger.log:
            if self._seen.size > size:
                raise RemoteError("we-are-behind", "the station has seen more of our log than we have", log)
            proof = self._ledger.consistency_proof(self._seen.size, size)
        seen = LogSize(log, self._ledger.size(log))
        self._publish("head", HeadMessage(mine, seen, cosigned, tuple(proof)).encode())
