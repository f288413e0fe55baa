"""The station's conversation with its centre: one thread takes what the link brings and says what is due."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.setup import Enrolled
from dockwarden.agent.stores import Stores, new_id
from dockwarden.agent.sync.arrivals import Arrivals
from dockwarden.agent.sync.commands import Answers, answer
from dockwarden.agent.sync.logs import LogExchange
from dockwarden.agent.sync.presence import Heartbeat
from dockwarden.agent.sync.proofs import Proofs
from dockwarden.agent.sync.upload import Uploads
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.merkle import ProofError
from dockwarden.evidence.notes import SignatureError
from dockwarden.rules.deadlines import Policy
from dockwarden.service.logs import log
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.ledgers import FactBatch
from dockwarden.wire.link import Connection, Link
from dockwarden.wire.messages import Offer
from dockwarden.wire.tls import TlsFiles
from dockwarden.wire.topics import Lane, Topic, station_subscriptions, up

TICK_S = 0.25
CHUNK_WAIT_S = 5.0
FAREWELL_S = 2.0


class Sync:
    """Runs while the station runs. `rejected` counts messages that were wrong, by lane and reason; `proofs` asks for
    fresh receipts."""

    def __init__(
        self, stores: Stores, registry: Registry, policy: Policy, enrolled: Enrolled, answers: Answers
    ) -> None:
        session = new_id()
        self.rejected: Counter[str] = Counter()
        self._stores = stores
        self._answers = answers
        self._heartbeat = Heartbeat(stores, session)
        self._logs = LogExchange(stores, registry, enrolled.centre_key)
        self._uploads = Uploads(stores, registry, policy, enrolled.centre_key, session)
        self.proofs = Proofs(enrolled.centre_key)
        self._arrivals = Arrivals()
        self._up = self._stopping = False
        self._link = Link(
            enrolled.broker_host,
            enrolled.broker_port,
            stores.station,
            TlsFiles(enrolled.authority, enrolled.certificate, enrolled.key),
            subscriptions=station_subscriptions(stores.station),
            hears="down",
            will=(up(stores.station, "presence"), self._heartbeat.farewell().encode()),
            on_message=self._on_message,
            on_connection=self._arrivals.connection,
        )
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)

    def start(self) -> None:
        """Begin to connect, and again after each loss."""
        self._thread.start()
        self._link.start()

    def stop(self) -> None:
        """Say farewell and end; what was not finished goes on after the next start."""
        self._stopping = True
        self._thread.join()
        if self._link.publish_retained(up(self._stores.station, "presence"), self._heartbeat.farewell().encode()):
            self._link.flush(FAREWELL_S)
        self._link.close()

    @property
    def refused(self) -> dict[str, int]:
        """What was refused since the start: by us by lane and reason, by the link with `link` before the reason."""
        by_link = {f"link:{reason}": count for reason, count in self._link.rejected.items()}
        return {**self.rejected, **by_link}

    @property
    def alive(self) -> bool:
        """Whether both threads of it still work, or have not begun. For watchdogs: only a defect ends one."""
        return self._link.alive and (self._thread.ident is None or self._thread.is_alive())

    @property
    def up(self) -> bool:
        """Whether the link is up."""
        return self._up

    def _on_message(self, topic: Topic, payload: bytes) -> None:
        """Called in the link's thread."""
        if not self._arrivals.message(topic, payload):
            self.rejected["overflow"] += 1

    def _run(self) -> None:
        while not self._stopping:
            now = time.monotonic()
            busy = self._up and self._guarded("say", partial(self._say, now))
            arrived = self._arrivals.take(0.0 if busy else min(TICK_S, self._uploads.due(now)))
            if isinstance(arrived, Connection):
                self._guarded("connection", partial(self._changed, arrived))
            elif arrived is not None:
                self._guarded(arrived[0].lane, partial(self._take, *arrived, time.monotonic()))

    def _changed(self, connection: Connection) -> bool:
        now = time.monotonic()
        log("sync").info("the link is up" if connection.up else "the link is down", reason=connection.reason)
        self._uploads.disconnected(now)  # where it is up again, the end of what was before may not have been told
        if connection.up:
            self._heartbeat.connected()
            self._logs.connected()
            self._uploads.connected(now)
            self.proofs.connected()
        self._up = connection.up
        return True

    def _take(self, topic: Topic, payload: bytes, now: float) -> bool:
        match topic.lane:
            case "want":
                self._uploads.on_want(payload, now)
            case "receipt":
                if not self.proofs.on_receipt(payload):
                    self._uploads.on_receipt(payload)
            case "prove":
                self.proofs.on_unproven(payload)
            case "head":
                self._logs.on_head(payload, now)
            case "ask":
                given = answer(payload, self._answers, self._stores.clock().utc)
                self._link.publish_control(up(self._stores.station, "answer"), given.encode())
            case _:
                raise MalformedError("lane", "is not spoken yet")
        return True

    def _say(self, now: float) -> bool:
        """Say one thing of each kind that is due; True where there may be more at once."""
        station, link = self._stores.station, self._link
        presence = self._heartbeat.next(now)
        if presence is not None:
            link.publish_retained(up(station, "presence"), presence.encode())
        word = self._logs.next(now)
        if word is not None:
            lane: Lane = "fact" if isinstance(word, FactBatch) else "head"
            link.publish_control(up(station, lane), word.encode())
        question = self.proofs.next(now)
        if question is not None:
            link.publish_control(up(station, "prove"), question.encode())
        upload = self._uploads.next(now)
        if isinstance(upload, Offer):
            link.publish_control(up(station, "offer"), upload.encode())
        elif upload is not None:
            link.publish_chunk(up(station, "chunk"), upload, CHUNK_WAIT_S)
        return upload is not None or question is not None

    def _guarded(self, lane: str, work: Callable[[], bool]) -> bool:
        """Whatever a message does, the station goes on: what is wrong is counted, told and dropped."""
        try:
            return work()
        except (MalformedError, SignatureError, ProofError, RemoteError) as error:
            self.rejected[f"{lane}:{type(error).__name__}"] += 1
            log("sync").warning("a message was refused", lane=lane, reason=str(error))
        except Exception as error:
            log("sync").exception("the sync failed", lane=lane, error=type(error).__name__)
            time.sleep(TICK_S)
        return False
