"""From the kernel's first word of a plug to the first byte of its footage, in the machine with a kernel of its own.

    python -m benchmarks.plug          BENCH_PLUGS sets their number (5)

The machine is emulated, and so slower than any hardware: what is measured is an upper bound. The peer is the least
that any program needs: udev's word that a disk with a file system is there, which is when the first could mount it.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, busy, machine
from dockwarden.simulators.vm.devices import StorageDevice
from dockwarden.simulators.vm.images import Volume, make_volume
from dockwarden.simulators.vm.machine import SHARE, Machine
from dockwarden.simulators.vm.machine import machine as booted

LIMIT_S = 5.0
LONGEST_S = 300.0
NAME = "DCIM/20261124/DCAM_ZB2041_650113_20261124_091500.mp4"
PORTS = {f"pci-0000:00:10.0-usbv{version}-0:3": "1" for version in (2, 3)}


def main() -> None:
    """Measure and write build/bench/plug.json."""
    count = int(os.environ.get("BENCH_PLUGS", "5"))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, booted() as vm:
        times = _measure(vm, Path(folder), count)
    found = {
        "first byte": [each["first_byte"] - each["uevent"] for each in times],
        "disk": [each["disk"] - each["uevent"] for each in times],
    }
    ours = {"plugs": count, f"within {LIMIT_S:.0f} s": sum(each <= LIMIT_S for each in found["first byte"])}
    result = {
        "name": "plug",
        "ours": {
            "plugs": count,
            f"within {LIMIT_S:.0f} s": sum(each <= LIMIT_S for each in found["first byte"]),
            **ours,
        },
        "peers": _told("uevent to a disk that can be mounted, s", found["disk"]),
        "ratios": {
            "first byte / disk, median": round(
                statistics.median(found["first byte"]) / statistics.median(found["disk"]), 2
            )
        },
        "cpu_s_per_gb": {},
        "rss_mb": {},
        "cores_busy": round(times[0]["cores_busy"], 2),
        "machine": {**machine(), "guest": "QEMU, TCG, 2 processors"},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "plug.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    json.dump(result, sys.stdout, indent=1)
    print()


def _told(what: str, seconds: list[float]) -> dict[str, float]:
    return {f"{what}, median": round(statistics.median(seconds), 2), f"{what}, most": round(max(seconds), 2)}


def _measure(vm: Machine, folder: Path, count: int) -> list[dict[str, float]]:
    """Plug a camera `count` times; the times of each, and the share of the host's cores that was busy meanwhile."""
    card = make_volume(folder / "card.img", Volume("fat16", 16, files={NAME: random.Random(1).randbytes(300_000)}))
    share = vm.shared("plug")
    share.mkdir()
    # A vault on a real disk: what lies in memory is never called safe.
    vm.check(["sh", "-c", "truncate -s 200M /tmp/disk && mkfs.ext4 -q /tmp/disk && mkdir -p /srv/vault"])
    vm.check(["sh", "-c", "modprobe loop && mount -o loop /tmp/disk /srv/vault && mkdir /srv/vault/st"])
    settings = 'station = "st-01"\nroot = "/srv/vault/st"\nbays = ["1"]\nrelease = "keep"\nmedia = false\n'
    (share / "agent.toml").write_text(f"{settings}[panel]\nport = 0\n", "utf-8")
    (share / "ports.json").write_text(json.dumps({"ports": PORTS}), "utf-8")
    vm.check(["cp", SHARE / "plug" / "ports.json", "/srv/vault/st/"])
    guest = Path(__file__).with_name("guest_plug.py")
    ended: list[Any] = []
    words = [sys.executable, guest, SHARE / "plug", str(count)]
    running = threading.Thread(target=lambda: ended.append(vm.run(words, timeout_s=count * LONGEST_S)), daemon=True)
    running.start()
    times: list[dict[str, float]] = []
    for number in range(count):
        _await_lines(share / "report", 2 * number + 1, ended)
        before, began = busy(), time.monotonic()
        with vm.with_plugged(StorageDevice(card, "3", f"CAM{number}")):
            line = json.loads(_await_lines(share / "report", 2 * number + 2, ended)[-1])
            cores = (busy() - before) / (time.monotonic() - began)
        times.append({**line, "cores_busy": cores})
        print(f"  plug {number + 1}: {line['first_byte'] - line['uevent']:.2f} s", flush=True)
    running.join()
    return times


def _await_lines(report: Path, count: int, ended: list[Any]) -> list[str]:
    """The report once it has so many lines. Raises RuntimeError where the guest's side has ended."""
    ends = time.monotonic() + LONGEST_S
    while len(lines := report.read_text("utf-8").splitlines() if report.exists() else []) < count:
        if ended or time.monotonic() > ends:
            raise RuntimeError(ended[0].err if ended else "the guest does not answer")
        time.sleep(0.05)
    return lines


if __name__ == "__main__":
    main()
