"""Both ends of the exchange of logs, without a broker: whatever is lost, doubled, started anew or set back, in the
end each side holds the other's log under a head that both have signed."""

import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.centre.centre_samples import StationSide
from tests.centre.desk import CENTRE, Desk

from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.stores import open_stores
from dockwarden.agent.sync.logs import LogExchange
from dockwarden.durable.files import OsFiles
from dockwarden.durable.queries import kept_head
from dockwarden.durable.tables import reading
from dockwarden.evidence import notes
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.checkpoints import Head
from dockwarden.evidence.merkle import ProofError
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.ledgers import FactBatch

STEPS = (
    *("station-says", "centre-says", "wait", "wait-long", "up", "down", "lose-up", "lose-down", "double-up"),
    *("reconnect", "centre-anew", "station-anew", "copy", "set-back"),
)


class Exchange:
    """A station and its centre, and what is on its way between them."""

    def __init__(self, root: Path) -> None:
        side = StationSide()
        self.root = root
        self.desk = Desk(root / "centre", None, side)
        self.stores = open_stores(root / "station", "st-01", side.key, OsFiles())
        self.registry = Registry(self.stores.folders.registry, OsFiles())
        self.up: deque[tuple[bool, bytes]] = deque()
        self.now = 1000.0
        self.was_set_back = False
        self.station_anew()

    @property
    def talk(self):  # type: ignore[no-untyped-def]  # the line
        return self.desk.talks["st-01"]

    def step(self, name: str) -> None:
        getattr(self, name.replace("-", "_"))()
        while (word := self.logs.next(self.now)) is not None:
            self.up.append((isinstance(word, FactBatch), word.encode()))

    def station_says(self) -> None:
        self.stores.ledger.append("docked", by=self.stores.by("test"), body={})

    def centre_says(self) -> None:
        self.desk.archive.ledger.append("exported", by=self.stores.by("test"), body={})

    def wait(self, seconds: float = 1.5) -> None:
        self.now += seconds

    def wait_long(self) -> None:
        self.wait(11.0)

    def arrive(self) -> None:
        """A message arrives at the centre."""
        if self.up:
            is_facts, payload = self.up.popleft()
            with suppress(RemoteError, MalformedError):
                (self.talk.line.on_facts if is_facts else self.talk.line.on_head)(payload)

    def down(self) -> None:
        """A message arrives at the station."""
        if self.talk.said:
            _, payload = self.talk.said.pop(0)
            with suppress(ProofError, MalformedError):
                self.logs.on_head(payload, self.now)

    def lose_up(self) -> None:
        if self.up:
            self.up.popleft()

    def double_up(self) -> None:
        if self.up:
            self.up.append(self.up[0])

    def lose_down(self) -> None:
        if self.talk.said:
            self.talk.said.pop(0)

    def reconnect(self) -> None:
        self.up.clear()
        self.talk.said.clear()
        self.logs.connected()

    def station_anew(self) -> None:
        self.up.clear()
        self.logs = LogExchange(self.stores, self.registry, CENTRE.verifier)
        self.logs.connected()

    def centre_anew(self) -> None:
        """It starts again; the station's own line stays up."""
        self.desk.restart()

    def copy(self) -> None:
        """A copy of the centre's database is put away."""
        self.desk.close()
        shutil.copy(self.root / "centre" / "catalogue.sqlite", self.root / "copy")
        self.desk.restart()

    def set_back(self) -> None:
        """… and brought back."""
        if (self.root / "copy").exists():
            self.desk.close()
            for stale in (self.root / "centre").glob("catalogue.sqlite*"):
                stale.unlink()
            shutil.copy(self.root / "copy", self.root / "centre" / "catalogue.sqlite")
            self.desk.restart()
            self.was_set_back = True

    def settle(self) -> None:
        """Let everything arrive for a while; a broken line comes up again as it does after some time."""
        self.reconnect()
        for _ in range(60):
            self.step("wait")
            while self.up or self.talk.said:
                self.arrive()
                self.step("down")

    def kept(self, log: str, keeper: str, centre: bool) -> int:
        """The size of a log's head that a side keeps under a name."""
        engine = self.desk.archive.catalogue.engine if centre else self.stores.ledger.engine
        with reading(engine) as connection:
            note = kept_head(connection, log, keeper)
        return 0 if note is None else Head.parse(notes.parse(note).text).size

    def close(self) -> None:
        self.desk.close()
        self.registry.close()
        self.stores.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STEPS), max_size=40))
@example(["up", "down", "up", "down", "centre-says", "centre-anew", "station-says", "wait-long", "up", "down"])
@example(
    ["copy", *["up", "down", "wait"] * 3, "centre-says", *["wait-long", "up", "down"] * 3, "set-back", "centre-says"]
)
def test_in_the_end_both_logs_are_held_and_signed_by_both(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    exchange = Exchange(tmp_path_factory.mktemp("exchange"))
    try:
        for name in steps:
            exchange.step("arrive" if name == "up" else name)
        exchange.settle()
        ledger, own = exchange.stores.ledger, exchange.desk.archive.ledger
        assert own.size(ledger.log) == ledger.size()
        assert own.root(ledger.log) == ledger.root()
        for centre in (True, False):
            assert exchange.kept(ledger.log, "centre", centre) == ledger.size()
            assert exchange.kept(own.log, "st-01", centre) > 0
        alarms = {alarm.code for alarm in exchange.desk.archive.catalogue.alarms("st-01")}
        assert alarms <= ({"set-back"} if exchange.was_set_back else set())
    finally:
        exchange.close()
