"""The demo is the product's promise in one command: every recording proven at three places."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dockwarden.simulators import hostile
from dockwarden.simulators.demo_folder import MARK, fresh_folder

pytestmark = pytest.mark.system
NEEDED = {"sealed", "confirmed", "labelled", "probed", "received", "backed-up", "drilled"}


def run_demo(into: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("dockwarden-sim")),
        "demo",
        f"--into={into}",
        "--no-stay",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_every_recording_of_the_demo_is_proven_at_three_places(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["ok"]
    assert len(report["records"]) == 11
    for record in report["records"]:
        assert set(record["facts"]) >= NEEDED
        for place in ("vault_path", "centre_path"):
            data = (Path(record[place]) / "original").read_bytes()
            assert hashlib.sha256(data).hexdigest() == record["sha256"]
    videos = [record for record in report["records"] if record["source_name"].endswith((".mp4", ".jpg"))]
    assert len(videos) == 6
    for record in videos:
        assert {"previewed", "fingerprinted"} <= set(record["facts"])
    assert [answer["answered_by"] for answer in report["status_answers"]] == [
        "station",
        "station",
        "last-known",
        "station",
    ]
    assert report["verified"]["consistent"] and report["verified"]["anchored"]
    said = (tmp_path / "demo" / "logs" / "station.log").read_text() + (
        tmp_path / "demo" / "logs" / "centre.log"
    ).read_text()
    assert "处罚" not in said and "经营部" not in said, "personal data in a log"


def test_the_camera_of_the_demo_holds_just_the_given_files_whatever_their_names(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    hostile.build(footage, tmp_path / "cache")
    (footage / "torn.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 3000)
    wanted = sorted(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in footage.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    done = run_demo(tmp_path / "demo", f"--footage={footage}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert sorted(record["sha256"] for record in report["records"]) == wanted


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = run_demo(tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_second_demo_leaves_a_running_one_alone(tmp_path: Path) -> None:
    into = tmp_path / "demo"
    with fresh_folder(into):
        (into / "stores").mkdir()
        done = run_demo(into)
        assert done.returncode == 2
        assert done.stderr.startswith("demo-running: ")
        assert (into / "stores").is_dir()
    with fresh_folder(into):
        assert [path.name for path in into.iterdir()] == [MARK]
