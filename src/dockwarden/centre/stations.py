"""What the centre hears from one station and says to it, but for footage: presence, logs, questions."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from dockwarden.centre.archive import Archive
from dockwarden.centre.catalogue import KnownPresence
from dockwarden.centre.forks import Forks
from dockwarden.centre.hearing import Hearing
from dockwarden.centre.questions import Questions
from dockwarden.durable.ledger import ForkError, GapError
from dockwarden.durable.queries import keep_head, kept_head, log_root, log_size
from dockwarden.durable.tables import reading, writing
from dockwarden.evidence import checkpoints, notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.deadlines import parse_utc
from dockwarden.service.logs import log
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.ledgers import FactBatch, HeadMessage, LogSize
from dockwarden.wire.messages import Answer, Ask, Presence
from dockwarden.wire.topics import Lane

ASK_AGAIN_S = 10.0
"""An open question is put again after so long, when the station says that it is there."""
KEEP_S = 30.0
"""How often an unchanged presence is written down."""
MOST_PAST = 64
"""Sessions of a station that are known to be over."""

_FORKED = "the station's head is not that of the entries it sent"


class StationLine:
    """The line to one station; used by the office's thread alone. `publish` takes a lane and a payload."""

    def __init__(
        self,
        station_key: VerifierKey,
        archive: Archive,
        questions: Questions,
        hearing: Hearing,
        publish: Callable[[Lane, bytes], None],
    ) -> None:
        self._station = station_key
        self._archive = archive
        self._questions = questions
        self._hearing = hearing
        self._publish = publish
        self._seen: LogSize | None = None
        self._forks = Forks(archive, station_key.name)
        self._presence = archive.catalogue.presence(station_key.name)
        self._past: deque[str] = deque(maxlen=MOST_PAST)
        self._kept_at = self._asked_at = float("-inf")

    def on_presence(self, payload: bytes) -> Presence:
        """Take a station's presence; open questions go out again when it is there.

        What a session that is over says counts for nothing: its will may come late. Nor does a presence that is known
        already: the broker gives the retained one again. Raises MalformedError, RemoteError.
        """
        presence = Presence.decode(payload)
        before = self._presence
        if before is not None:
            said = (before.state, before.session, before.since, before.said_at)
            if (presence.state, presence.session, presence.since, presence.at) == said:
                return presence
        if self._is_over(presence):
            raise RemoteError("old-session", "a session that is over speaks", f"station {self._station.name}")
        came = before is None or (before.state, before.session) != ("online", presence.session)
        if before is not None and before.session != presence.session:
            self._past.append(before.session)
        self._hear(presence)
        if presence.state == "online" and (came or self._archive.monotonic() - self._asked_at >= ASK_AGAIN_S):
            self.ask_again()
        return presence

    def ask_again(self) -> None:
        """Put every open question to the station (again): the broker's queue is never relied on."""
        self._asked_at = self._archive.monotonic()
        for question in self._questions.open(self._station.name):
            self._publish("ask", Ask(question.id, question.what).encode())

    def on_answer(self, payload: bytes) -> None:
        """Keep an answer, once; raises MalformedError, RemoteError where nobody asked this station that."""
        answer = Answer.decode(payload)
        asked = self._questions.get(answer.id)
        if asked is None or asked.station != self._station.name:
            raise RemoteError(
                "not-asked", "an answer to a question that nobody asked", f"station {self._station.name}"
            )
        self._questions.answered(asked, answer.at, answer.answer)

    def on_facts(self, payload: bytes) -> None:
        """Take entries of the station's log; raises MalformedError, RemoteError, ForkError.

        Those of another branch of a forked log are kept beside the mirror.
        """
        batch = FactBatch.decode(payload)
        self._own(batch.log)
        forks = self._forks
        if forks.is_astray(batch.log):
            forks.take(batch.log, batch.start, batch.entries)
            self._reply(batch.log, None, forks.held(batch.log))
            return
        try:
            with suppress(GapError):  # some were lost on the way: the reply says how far we are
                self._archive.catalogue.mirror(batch.entries, self._archive.clock().utc)
        except ForkError:
            forks.found(batch.log, b"".join(entry.envelope_bytes for entry in batch.entries))
            raise
        self._reply(batch.log, None)

    def on_head(self, payload: bytes) -> None:
        """Take the station's head and what it says of ours; raises MalformedError, SignatureError, RemoteError."""
        message = HeadMessage.decode(payload)
        head = checkpoints.open_head(message.head, [self._station])
        self._own(head.log)
        if message.cosigned is not None:
            self._keep_own(message.cosigned)
        self._seen = message.seen
        if self._forks.is_astray(head.log) and not self._forks.settle(head):
            self._ask_for_branch(head, message.head)
        self._reply(head.log, self._cosign(head, message.head))

    def _is_over(self, presence: Presence) -> bool:
        """Whether a presence is of a session that a later one has replaced."""
        if self._presence is None or presence.session == self._presence.session:
            return False
        live = self._presence.state == "online" and self._hearing.is_live(self._station.name)
        return presence.session in self._past or (presence.state == "offline" and live)

    def _hear(self, presence: Presence) -> None:
        name, utc, now = self._station.name, self._archive.clock().utc, self._archive.monotonic()
        before = self._presence
        if presence.state == "online":
            self._hearing.heard(name, utc)
        else:
            self._hearing.gone(name)
        self._presence = KnownPresence(presence.state, presence.session, presence.since, presence.at, utc)
        changed = before is None or (before.state, before.session, before.since) != (
            presence.state,
            presence.session,
            presence.since,
        )
        if changed or now - self._kept_at >= KEEP_S:
            self._archive.catalogue.hear(name, self._presence)
            self._kept_at = now

    def _own(self, log: str) -> None:
        if log.partition(".")[0] != self._station.name:
            raise RemoteError("not-its-log", "a station speaks of another's log", f"station {self._station.name}")

    def _cosign(self, head: Head, note: bytes) -> bytes | None:
        """Cosign a head that our mirror bears out; None where the mirror is not that far yet.

        Raises RemoteError where the mirror says otherwise: the log was forked.
        """
        catalogue, key = self._archive.catalogue, self._archive.key
        with reading(catalogue.engine) as connection:
            if log_size(connection, head.log) < head.size:
                return None
            mine = log_root(connection, head.log, head.size)
            kept = kept_head(connection, head.log, key.name)
        if mine != head.root:
            self._forked(head, note)
            self._forks.found(head.log, note)
            self._ask_for_branch(head, note)
        if kept is not None and Head.parse(notes.parse(kept).text).size >= head.size:
            return kept
        cosigned = key.cosign(note, int(parse_utc(self._archive.clock().utc).timestamp()))
        with writing(catalogue.engine, self._archive.files) as connection:
            keep_head(connection, head, key.name, cosigned)
        return cosigned

    def _ask_for_branch(self, head: Head, note: bytes) -> NoReturn:
        """Ask for what is not here yet of the branch that the station is on; raises RemoteError.

        Once all of it is here its head is kept in an alarm, and no answer is given: the station would only ask on.
        """
        held = self._forks.held(head.log)
        if held < head.size:
            self._reply(head.log, None, held)
        else:
            self._forked(head, note)
        raise RemoteError("fork", _FORKED, head.log)

    def _forked(self, head: Head, note: bytes) -> None:
        at = self._archive.clock().utc
        self._archive.catalogue.alarm(self._station.name, "fork", _FORKED, head.log, at, note)

    def _keep_own(self, note: bytes) -> None:
        """Keep our own head under the station's cosignature, checked against our own tree.

        A head that we have signed and that our log does not bear out proves that we were set back to an older state:
        an alarm keeps it, and we go on in a new generation of our log.
        """
        archive = self._archive
        head = checkpoints.open_head(note, [archive.key.verifier])
        if not notes.verify_cosignatures(note, [self._station]):
            raise MalformedError("cosigned", "bears no cosignature of the station")
        if head.log != archive.ledger.log:
            return  # of a generation that is over
        if head.size > archive.ledger.size() or archive.ledger.root(size=head.size) != head.root:
            what = "a head that this centre has signed is not that of its log: it was set back to an older state"
            archive.catalogue.alarm(self._station.name, "set-back", what, head.log, archive.clock().utc, note)
            log("office").error("the centre was set back: it goes on in a new generation of its log", log=head.log)
            archive.begin_generation("a head that we have signed is not that of our log")
            return
        with writing(archive.catalogue.engine, archive.files) as connection:
            kept = kept_head(connection, head.log, self._station.name)
            if kept is None or Head.parse(notes.parse(kept).text).size < head.size:  # an older one may come late
                keep_head(connection, head, self._station.name, note)

    def _known_to_station(self, log: str) -> int:
        """How much of our log the station has seen: as it said last, else as it has cosigned (we may be new here)."""
        if self._seen is not None and self._seen.log == log:
            return self._seen.size
        with reading(self._archive.catalogue.engine) as connection:
            kept = kept_head(connection, log, self._station.name)
        return 0 if kept is None else Head.parse(notes.parse(kept).text).size

    def _reply(self, log: str, cosigned: bytes | None, held: int | None = None) -> None:
        """Say what we have of a station's log, in the mirror or, of a branch beside it, `held`."""
        ledger = self._archive.ledger
        mine = ledger.head(self._archive.key)
        size = Head.parse(notes.parse(mine).text).size
        known = self._known_to_station(ledger.log)
        if known > size:
            raise RemoteError("we-are-behind", "the station has seen more of our log than we have", log)
        proof = ledger.consistency_proof(known, size)
        seen = LogSize(log, ledger.size(log) if held is None else held)
        self._publish("head", HeadMessage(mine, seen, cosigned, tuple(proof)).encode())
