"""What the benchmarks share: files, cold caches, wall-clock and CPU of the whole machine, the result's form."""

import json
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("build/bench")
ROUNDS = 3


@dataclass(frozen=True)
class Run:
    """One measured run: seconds, CPU seconds of all processes of the machine, bytes, peak RSS of ours in MB."""

    seconds: float
    cpu_s: float
    size: int
    rss_mb: float | None = None

    @property
    def rate(self) -> float:
        """MB (10^6) a second."""
        return self.size / 1e6 / self.seconds


def make_files(folder: Path, sizes: list[int], seed: int = 1) -> int:
    """Fill the new folder with files of random bytes; returns their size together."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    for number, size in enumerate(sizes):
        with (folder / f"DCAM_C{number:03}.mp4").open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(chance.randbytes(min(1 << 20, size - start)))
    os.sync()
    return sum(sizes)


def measure(work: Callable[[], float | None], size: int) -> Run:
    """Run `work` with cold caches; it returns the peak RSS in MB, or None."""
    drop_caches()
    before, began = busy(), time.monotonic()
    rss = work()
    return Run(time.monotonic() - began, busy() - before, size, rss)


def drop_caches() -> None:
    """Write everything out and empty the page cache, where we may."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")


def run(*command: str) -> float:
    """Run a command; returns its peak RSS in MB."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return usage.ru_maxrss / 1024


def medians(work: dict[str, Callable[[], Run]], rounds: int = ROUNDS) -> dict[str, Run]:
    """Run all in turn, `rounds` times; returns the run with the median time of each."""
    runs: dict[str, list[Run]] = {name: [] for name in work}
    for number in range(rounds):
        for name, each in work.items():
            runs[name].append(each())
            print(f"  round {number + 1} {name:<24} {runs[name][-1].rate:7.1f} MB/s", flush=True)
    middle = {name: statistics.median_low([run.seconds for run in found]) for name, found in runs.items()}
    return {name: next(run for run in found if run.seconds == middle[name]) for name, found in runs.items()}


def write_result(name: str, ours: dict[str, Run], peers: dict[str, Run], limits: dict[str, str]) -> None:
    """Print the ratios and write build/bench/NAME.json."""
    ratios = {f"{mine} / {peer}": round(ours[mine].rate / peers[peer].rate, 2) for mine in ours for peer in peers}
    everything = {**ours, **peers}
    result: dict[str, Any] = {
        "name": name,
        "ours": {key: round(run.rate, 1) for key, run in ours.items()},
        "peers": {key: round(run.rate, 1) for key, run in peers.items()},
        "ratios": ratios,
        "cpu_s_per_gb": {key: round(run.cpu_s / run.size * 1e9, 1) for key, run in everything.items()},
        "rss_mb": {key: round(run.rss_mb) for key, run in everything.items() if run.rss_mb is not None},
        "limits": {key: limits.get(key) or limit_of(run) for key, run in everything.items()},
        "machine": machine(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"\n{name}: MB/s, CPU-s/GB, what limits")
    for key, run in everything.items():
        cpu = result["cpu_s_per_gb"][key]
        print(f"  {key:<24} {run.rate:7.1f}  {cpu:5.1f}  {result['limits'][key]}")
    for pair, ratio in ratios.items():
        print(f"  {pair:<48} {ratio:.2f} x")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def limit_of(run: Run) -> str:
    """What a run waited for, told from how busy the cores were."""
    share = run.cpu_s / run.seconds / (os.cpu_count() or 1)
    return f"{'CPU' if share > 0.8 else 'one core' if share > 0.45 else 'disk'} ({share:.0%} of all cores busy)"


def busy() -> float:
    """CPU seconds that all cores have spent on anything but idling and waiting."""
    user, nice, system, _, _, irq, soft, *_ = (int(word) for word in _first_line().split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _first_line() -> str:
    with Path("/proc/stat").open() as file:
        return file.readline()
