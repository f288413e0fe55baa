"""Upload over mutual TLS, from sealed records to their receipts, against rsync over ssh on the same files.

    python -m benchmarks.upload          BENCH_MB sets the size (256)

Ours includes what rsync does not do: the centre verifies every leaf, syncs, re-reads the whole past the page cache
and signs; the station checks the receipt. All parts share the machine's cores.
"""

import getpass
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.measuring import Run, busy, drop_caches, make_files, measure, run, write_result
from dockwarden.simulators.broker import free_port
from dockwarden.simulators.world import running_world, wait_for

MB = 1_000_000
ROUNDS = 3


def main() -> None:
    """Compare and write build/bench/upload.json."""
    total = int(os.environ.get("BENCH_MB", "256")) * MB
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / "build"))
    try:
        ours, peers = [], []
        for number in range(ROUNDS):
            card = folder / f"card{number}"
            size = make_files(card, [total // 2, *[total // 8] * 4], seed=number)
            ours.append(_ours(folder / f"world{number}", card, size))
            peers.append(_rsync(folder / f"ssh{number}", card, size))
            print(f"  round {number + 1} ours {ours[-1].rate:.1f}, rsync {peers[-1].rate:.1f} MB/s", flush=True)
    finally:
        shutil.rmtree(folder)
    write_result("upload", {"ours, mTLS": _median(ours)}, {"rsync over ssh": _median(peers)}, {})


def _median(runs: list[Run]) -> Run:
    return sorted(runs, key=lambda each: each.seconds)[len(runs) // 2]


def _ours(root: Path, card: Path, size: int) -> Run:
    """Take a card while the broker is down; time from its return to the last receipt."""
    with running_world(root, bays=("1",), settings="media = false") as world:
        world.broker.stop()
        world.plug("1", card)
        world.wait_for_verdict("1")
        world.wait_for_facts({"labelled"})
        drop_caches()
        world.broker.start()
        wait_for("the link", lambda: bool(world.station.call("info")["online"]))
        before, began = busy(), time.monotonic()
        count = len(world.records())
        while _received(world.station_root / "ledger.sqlite") < count:
            time.sleep(0.02)
        found = Run(time.monotonic() - began, busy() - before, size, _rss(world.station.running))
    shutil.rmtree(root)
    return found


def _received(ledger: Path) -> int:
    """How many records have their receipt, read from the station's log so that nobody has to answer for it."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM latest WHERE kind = 'received' AND outcome = 'done'"
        return int(connection.execute(query).fetchone()[0])


def _rss(process: "subprocess.Popen[bytes] | None") -> float | None:
    if process is None:
        return None
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def _rsync(root: Path, card: Path, size: int) -> Run:
    """rsync over ssh to a server of our own on loopback, synced at the end."""
    root.mkdir()
    port = free_port()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
    shutil.copy(root / "client.pub", root / "authorized")
    config = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {root / 'host'}", "UsePAM no", "StrictModes no"]
    config += [f"AuthorizedKeysFile {root / 'authorized'}", "PermitRootLogin yes", f"PidFile {root / 'pid'}"]
    (root / "config").write_text("\n".join(config) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-q", "-f", str(root / "config")])
    try:
        time.sleep(0.5)
        options = f"ssh -p {port} -i {root / 'client'} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q"
        target = f"{getpass.getuser()}@127.0.0.1:{root / 'target'}/"

        def copy() -> float:
            rss = run("rsync", "-a", "-e", options, f"{card}/", target)
            subprocess.run(["sync"], check=True)
            return rss

        return measure(copy, size)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
