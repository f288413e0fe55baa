"""The ledger: appending a fact, opening a station, and asking what is due, with a million facts.

    python -m benchmarks.ledger          BENCH_FACTS sets their number (1000000)

The peer of an append is the least that durability costs here: one row of the same size in SQLite, WAL,
synchronous=FULL. Appends of both take turns, so that a noisy disk meets both.
"""

import hashlib
import json
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measuring import RESULTS, busy, drop_caches, machine
from dockwarden.agent import vault
from dockwarden.agent.sealed import sealed_records
from dockwarden.agent.settling import settle
from dockwarden.agent.stores import Stores, open_stores
from dockwarden.durable.due import Due
from dockwarden.durable.files import OsFiles
from dockwarden.durable.ledger import Ledger, add
from dockwarden.durable.queries import Work
from dockwarden.durable.tables import writing
from dockwarden.evidence import facts, ids
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import By, Entry, Envelope, Instant, Place
from dockwarden.evidence.notes import SigningKey

APPENDS = 3000
BATCH = 10_000
OPEN = 200
"""Records at the end that have not been received yet."""
JOURNEY: list[tuple[str, Place | None]] = [
    *(("sealed", "station"), ("confirmed", "station"), ("labelled", None), ("probed", None), ("previewed", None)),
    *(("fingerprinted", None), ("delivered", "centre"), ("received", "centre")),
    *(("backed-up", "off-site"), ("drilled", "off-site")),
]
BODY: Object = {"text": "x" * 600, "version": 1}
BY = By("st-01", "stage", "dockwarden/0.1.0 intake")


def main() -> None:
    """Measure and write build/bench/ledger.json."""
    count = int(os.environ.get("BENCH_FACTS", "1000000"))
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / "build"))
    try:
        root, key = folder / "station", SigningKey.generate("st-01")
        root.mkdir()
        stores = open_stores(root, "st-01", key, OsFiles())
        empty = _appends(stores, folder / "empty.sqlite")
        began = time.monotonic()
        _fill(stores.ledger, count)
        filling = time.monotonic() - began
        for record in sealed_records(stores):
            vault.folder(stores.folders.vault, record).mkdir(parents=True)
        stores.close()
        drop_caches()
        before, began = busy(), time.monotonic()
        stores = open_stores(root, "st-01", key, OsFiles())
        opened = time.monotonic() - began
        doubts = settle(stores)
        started, cpu = time.monotonic() - began, busy() - before
        if doubts:
            raise RuntimeError(f"start-up doubts {len(doubts)} things, such as: {doubts[0]}")
        due = _due(stores)
        full = _appends(stores, folder / "full.sqlite")
        stores.close()
    finally:
        shutil.rmtree(folder)
    ours = {
        **{f"append, {name}": value for name, value in empty["ours"].items()},
        **{f"append at {count} facts, {name}": value for name, value in full["ours"].items()},
        f"open at {count} facts, ms": round(opened * 1e3, 1),
        f"open and settle at {count} facts, ms": round(started * 1e3, 1),
        **{f"{name} at {count} facts, ms": value for name, value in due.items()},
        "facts added a second, in batches": round(count / filling),
    }
    peers = {
        **{f"bare commit, {name}": value for name, value in empty["bare"].items()},
        **{f"bare commit beside {count} facts, {name}": value for name, value in full["bare"].items()},
    }
    ratios = {
        "append / bare commit, p50": round(empty["ours"]["p50 ms"] / empty["bare"]["p50 ms"], 2),
        f"append at {count} facts / bare commit, p50": round(full["ours"]["p50 ms"] / full["bare"]["p50 ms"], 2),
    }
    result = {
        "name": "ledger",
        "ours": ours,
        "peers": peers,
        "ratios": ratios,
        "cpu_s": {"open and settle": round(cpu, 2)},
        "rss_mb": {"the benchmark": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)},
        "machine": machine(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ledger.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    json.dump(result, sys.stdout, indent=1)
    print()


def _appends(stores: Stores, bare: Path) -> dict[str, dict[str, float]]:
    """Times of appends and of bare commits, in turn."""
    connection = sqlite3.connect(bare, isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (b BLOB)"):
        connection.execute(statement)

    def append() -> None:
        record = ids.new_record_id(os.urandom(16))
        stores.ledger.append("sealed", record=record, place="station", by=BY, body=BODY)

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", (os.urandom(1000),))
        connection.execute("COMMIT")

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(APPENDS):
        times["ours"].append(_seconds(append))
        times["bare"].append(_seconds(commit))
    connection.close()
    return {name: _percentiles(found) for name, found in times.items()}


def _due(stores: Stores) -> dict[str, float]:
    """The first question of a stage, one with nothing new, and one after a fact."""
    due = Due(stores.ledger, Work("received", ("sealed",), place="centre"))
    found: dict[str, float] = {"due, first": round(_seconds(lambda: len(list(due.now()))) * 1e3, 2)}
    idle, after = [], []
    for _ in range(100):
        idle.append(_seconds(lambda: len(list(due.now()))))
        stores.ledger.append("labelled", record=next(due.now()), by=BY, body=BODY)
        after.append(_seconds(lambda: len(list(due.now()))))
    found["due, nothing new, p50"] = _percentiles(idle)["p50 ms"]
    found["due, one fact later, p50"] = _percentiles(after)["p50 ms"]
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {f"p{part} ms": round(ordered[len(ordered) * part // 100] * 1e3, 3) for part in (50, 99)}


def _fill(ledger: Ledger, count: int) -> None:
    """Bring the log to `count` entries: records with their whole journey, the last of them on their way."""
    size, made = ledger.size(), _journeys(ledger, count)
    while size < count:
        with writing(ledger.engine) as connection:
            for _ in range(min(BATCH, count - size)):
                add(connection, next(made))
                size += 1
        print(f"  {size} facts", end="\r", flush=True)


def _journeys(ledger: Ledger, count: int) -> Iterator[Entry]:
    seq = ledger.size()
    now: Instant = ledger.clock()
    sealed = facts.seal_body(BODY, os.urandom(facts.SALT_SIZE))
    digest = hashlib.sha256(sealed).hexdigest()
    while True:
        record = ids.new_record_id(os.urandom(16))
        journey = JOURNEY if seq < count - OPEN * len(JOURNEY) else JOURNEY[:7]
        for kind, place in journey:
            envelope = Envelope(ledger.log, seq, now, kind, "done", BY, digest, record, place)
            yield Entry(envelope.encode(), sealed)
            seq += 1


if __name__ == "__main__":
    main()
