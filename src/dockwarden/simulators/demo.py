"""The whole journey on loopback: a camera in a bay, and its footage proven at three places."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from dockwarden.rules.deadlines import format_utc
from dockwarden.service.errors import ServiceError
from dockwarden.simulators import camera, recorder
from dockwarden.simulators.demo_report import NEEDED, Report, brief, judge, write_report
from dockwarden.simulators.world import World, outcomes, program, run, run_json, running_world, wait_for

OFFICER, NAME = "650113", "张伟"
CASE, PARTY = "高新市监处罚〔2026〕17号", "高新区某某食品经营部"
LONG_S = 3600.0


class Teller:
    """Says on the terminal what happens, and keeps the time of each step."""

    def __init__(self, report: Report) -> None:
        self.console = Console(highlight=False)
        self._report = report

    @contextmanager
    def step(self, name: str, zh: str, en: str) -> Iterator[None]:
        """A step of the journey."""
        self.console.print(f"[bold]{zh}[/bold] [dim]{en}[/dim]")
        began = time.monotonic()
        yield
        self._report.timings[name] = round(time.monotonic() - began, 2)

    def say(self, text: str) -> None:
        """A line below the step."""
        self.console.print(f"  {text}", markup=False)


def run_demo(into: Path, footage: Path | None, stay: bool) -> int:
    """Run the journey below the fresh folder `into`; returns 0 where every record is proven everywhere, else 1."""
    root = into.absolute()
    report = Report()
    teller = Teller(report)
    cards = _fill_cards(root, footage, report, teller)
    with running_world(root) as world:
        try:
            _journey(world, cards, report, teller)
        except (ServiceError, TimeoutError) as error:
            report.problems.append(str(error))
        ok = judge(world, report)
        write_report(root, report, ok)
        _show(report, ok, root, teller)
        if stay and ok:
            _stay(world, teller)
    return 0 if ok else 1


def _fill_cards(root: Path, footage: Path | None, report: Report, teller: Teller) -> dict[str, Path]:
    """The cards by bay: a camera and a recorder, or one camera that holds just the files of `footage`."""
    with teller.step("footage", "准备素材", "making the cards"):
        now = datetime.now(UTC)
        cache = root.parent / "footage"
        if footage is not None:
            names = camera.from_folder(footage.absolute(), root / "cards" / "camera")
            cards = {"1": root / "cards" / "camera"}
        else:
            names = camera.build(root / "cards" / "camera", now, cache)
            names += recorder.build(root / "cards" / "recorder", now, cache)
            cards = {"1": root / "cards" / "camera", "2": root / "cards" / "recorder"}
        report.sources = len(names)
        size = sum(path.lstat().st_size for card in cards.values() for path in card.rglob("*") if path.is_file())
        teller.say(f"{len(names)} files, {size / 1e6:.1f} MB")
    return cards


def _journey(world: World, cards: dict[str, Path], report: Report, teller: Teller) -> None:
    station_settings = ("--settings", str(world.root / "station.toml"))
    with teller.step("intake", "入仓采集", "into the bays: copy, proof, second reading"):
        roster = json.dumps(_roster(), ensure_ascii=False)
        run("dockwarden-agent", "roster", "-", *station_settings, stdin=roster)
        for bay, card in cards.items():
            serial, model = ("ZB2041", "DCAM-X3") if bay == "1" else ("VR0001", "VR-10")
            world.plug(bay, card, serial, model=model)
        _watch(world, list(cards), report, teller)
    with teller.step("label", "标注", "labels: what the registry knows, the rest by a person"):
        _label(world, station_settings, teller)
    with teller.step("media", "解析、预览、指纹", "probe, preview, fingerprint"):
        world.wait_for_facts({"probed"}, LONG_S)
        wait_for("previews", lambda: _media_done(world.records()), LONG_S)
    with teller.step("sync", "上传中心", "upload to the centre, receipt for each"):
        world.wait_for_facts({"received"}, LONG_S)
        report.status_answers.append({"when": "after the upload", **brief(world.ask())})
    with teller.step("backup", "异地备份", "off-site backup, every byte read back"):
        report.backup = run_json("dockwarden-agent", "backup", "--json", *station_settings)
        teller.say(f"{report.backup['records']} records, {report.backup['bytes'] / 1e6:.1f} MB proven off-site")
    with teller.step("drill", "恢复演练", "restore into an empty folder and verify"):
        report.drill = run_json("dockwarden-agent", "drill", "--json", *station_settings)
    with teller.step("away", "断线与恢复", "asked while the station is away; answered on its return"):
        _ask_while_away(world, report, teller)
    with teller.step("package", "证据包", "case package, verified by the stand-alone verifier"):
        _package(world, report, teller)


def _roster() -> dict[str, Any]:
    """Who has which device, and which task ran when: the latest recording lies outside of all on purpose."""
    now = datetime.now(UTC)
    task = {
        "officer_id": OFFICER,
        "start": format_utc(now - timedelta(hours=24)),
        "end": format_utc(now - timedelta(minutes=75)),
        "case": CASE,
        "party": PARTY,
        "activity": "行政检查",
    }
    other = {**task, "officer_id": "650207", "end": format_utc(now), "activity": "行政处罚"}
    bindings = [
        {"device": "DCAM-X3-ZB2041", "officer_id": OFFICER, "officer_name": NAME},
        {"device": "VR-10-VR0001", "officer_id": "650207", "officer_name": "古丽娜尔"},
    ]
    return {"bindings": bindings, "tasks": [task, other]}


def _watch(world: World, bays: list[str], report: Report, teller: Teller) -> None:
    """Show the bays until each has its verdict; the centre asks once while bytes still move."""
    shown: dict[str, str] = {}
    ends = time.monotonic() + LONG_S
    while time.monotonic() < ends:
        status = world.status()
        for bay in status["bays"]:
            line = _bay_line(bay)
            if bay["bay"] in bays and shown.get(bay["bay"]) != line:
                shown[bay["bay"]] = line
                teller.say(line)
        if not report.status_answers and world.records():
            answer = world.ask()
            report.status_answers.append({"when": "while the transfer runs", **brief(answer)})
            total = answer.get("records", {}).get("total", "no")
            teller.say(f"centre asks: {answer['answered_by']} answers, {total} records so far")
        if all(bay["state"] in ("safe", "incomplete") for bay in status["bays"] if bay["bay"] in bays):
            return
        time.sleep(0.3)
    raise TimeoutError("the bays did not come to a verdict")


def _bay_line(bay: dict[str, Any]) -> str:
    words = {
        "empty": "空闲 empty",
        "reading": "拷贝中 copying",
        "confirming": "核验中 confirming",
        "releasing": "清除中 clearing",
        "safe": "可取走 safe to take",
        "incomplete": "未取全 not all is here",
    }
    state = words.get(bay["state"], bay["state"])
    line = f"bay {bay['bay']}  {state:<24} {bay['files_done']}/{bay['files_total']} files"
    if bay["rate"]:
        left = f", {bay['eta_s']} s left" if bay["eta_s"] is not None else ""
        line += f"  {bay['rate'] / 1e6:.1f} MB/s{left}"
    return line + "".join(f"  ! {finding['what']}" for finding in bay["findings"])


def _label(world: World, station_settings: tuple[str, str], teller: Teller) -> None:
    world.wait_for_facts({"labelled"})
    waiting = [record for record in world.records() if outcomes(record).get("labelled") != "done"]
    teller.say(f"{len(world.records()) - len(waiting)} labelled by the registry, {len(waiting)} by a person")
    given = {"case": CASE, "party": PARTY, "officer": NAME, "officer_id": OFFICER, "activity": "行政检查"}
    for number, record in enumerate(waiting):
        if number == 0:
            text = json.dumps(given, ensure_ascii=False)
            run(
                "dockwarden-agent", "label", record["record"], "--by", OFFICER, "--input", "-", *station_settings,
                stdin=text,
            )  # fmt: skip
        else:
            world.station.call("label", {"record": record["record"], "by": OFFICER, "given": given})


def _media_done(records: list[dict[str, Any]]) -> bool:
    """Whether everything that can be decoded has its preview and fingerprint, done or failed."""
    found = [outcomes(record) for record in records]
    return all(
        "fingerprinted" in kinds or kinds.get("probed") == "failed" or kinds.get("previewed") == "failed"
        for kinds in found
    )


def _ask_while_away(world: World, report: Report, teller: Teller) -> None:
    world.station.stop()
    wait_for("the centre to see it", lambda: world.centre.call("stations")["stations"][0]["state"] != "online")
    away = world.ask(wait_s=1.0)
    report.status_answers.append({"when": "while the station is away", **brief(away)})
    teller.say(f"centre asks: {away['answered_by']}, gone since {away['since']}, as of {away['as_of']}")
    world.station.start()
    wait_for(
        "the open question to be answered",
        lambda: world.centre.call("question", {"id": away["question"]})["answered_at"] is not None,
    )
    answered = world.centre.call("question", {"id": away["question"]})
    report.status_answers.append(
        {"when": "on its return", "answered_by": "station", "as_of": answered["answered_at"]}
    )
    teller.say(f"answered on its return, as of {answered['answered_at']}")


def _package(world: World, report: Report, teller: Teller) -> None:
    target = world.root / "package"
    records = [record["record"] for record in world.records()]
    wait_for("the centre to have every fact", lambda: _centre_has_all(world, records))
    made: dict[str, Any] = {}

    def covered() -> bool:
        try:
            made.update(world.centre.call("package", {"records": records, "target": str(target)}, timeout=LONG_S))
        except ServiceError as error:
            if error.code != "not-covered":
                raise
        return bool(made)

    wait_for("a head that both sides signed", covered)
    trust = world.root / "trust.txt"
    trust.write_text(f"{made['fingerprint']}\n", "utf-8")
    report.package, report.trust = str(target), str(trust)
    done = subprocess.run(
        [program("dockwarden-verify"), str(target), "--trust", made["fingerprint"], "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    with suppress(ValueError):
        report.verified = json.loads(done.stdout)
    if done.returncode:
        report.problems.append(f"the package does not verify: {done.stdout[-500:]}{done.stderr[-300:]}")
    teller.say(f"{made['records']} records, checked: {json.dumps(report.verified.get('checked', {}))}")


def _centre_has_all(world: World, records: list[str]) -> bool:
    known = {record["record"]: set(outcomes(record)) for record in world.centre_records()}
    return all(set(NEEDED) <= known.get(record, set()) for record in records)


def _show(report: Report, ok: bool, root: Path, teller: Teller) -> None:
    for problem in report.problems:
        teller.say(f"! {problem}")
    word = "完成 proven at station, centre and off-site" if ok else "未完成 NOT proven"
    teller.console.print(f"[bold]{len(report.records)} records: {word}[/bold]  ({root / 'report.json'})")


def _stay(world: World, teller: Teller) -> None:
    """Keep everything up until Ctrl-C."""
    world.ask()
    teller.say(f"centre   {world.centre.call('info')['web']}")
    teller.say(f"station  {world.station.call('info')['page']}")
    teller.say("Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)
