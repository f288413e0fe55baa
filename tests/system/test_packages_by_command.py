"""A package lands where the person who asks for it says, although the service sees another /tmp and no home."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.centre.centre_samples import Footage, StationSide, drawn, label_body, receipt_body, record_id
from tests.centre.desk import CENTRE, Desk

from dockwarden.evidence.digests import LEAF_SIZE
from dockwarden.simulators.broker import free_port
from dockwarden.simulators.world import program, wait_for
from dockwarden.wire.ledgers import HeadMessage

pytestmark = pytest.mark.system
FOOTAGE = Footage(record_id("one"), drawn("one", LEAF_SIZE + 5))


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    name, *rest = [str(argument) for argument in arguments]
    return subprocess.run(
        [program(f"dockwarden-{name}"), *rest], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def fill(root: Path) -> None:
    """A centre with a record that both sides have signed for."""
    side = StationSide()
    desk = Desk(root, None, side)
    talk = desk.talks[side.name]
    seal = side.sealed(FOOTAGE, 1)
    side.say("labelled", FOOTAGE.record, label_body())
    side.say("received", FOOTAGE.record, receipt_body(talk.upload(FOOTAGE, seal)[0]), place="centre")
    desk.archive.catalogue.mirror(side.entries, desk.time.wall)
    own = side.key.cosign(desk.archive.ledger.head(CENTRE), 1_795_509_000)
    talk.line.on_head(HeadMessage(side.head(), None, own).encode())
    desk.close()
    keys = root / "keys"
    keys.mkdir()
    (keys / "centre.seed").write_text(CENTRE.seed.hex())


class Centre:
    """A centre whose service runs as its unit runs it: it sees only its own folder, everything else is empty or
    cannot be written."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self.root = outside / "centre"
        self.settings = self.root / "centre.toml"
        self.log = self.root / "centre.log"
        fill(self.root)
        made = command(
            "centre", "setup", f"--root={self.root}", f"--settings={self.settings}", f"--broker-port={free_port()}"
        )
        assert made.returncode == 0, made.stderr
        with self.settings.open("a") as file:
            file.write("[web]\nport = 0\n")

    @contextmanager
    def running(self) -> Iterator[None]:
        """For the length of a block."""
        view = ["--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--tmpfs", self.outside]
        view += ["--bind", self.root, self.root, "--die-with-parent"]
        service = [program("dockwarden-centre"), "run", f"--settings={self.settings}"]
        with self.log.open("wb") as log:
            started = ["bwrap", *(str(word) for word in view), *service]
            process = subprocess.Popen(started, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for("the centre", lambda: self._answers(process))
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, self.log.read_text()
        return command("centre", "stations", f"--settings={self.settings}").returncode == 0

    def package(self, target: object, *more: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Ask for the package of the record."""
        record = f"--record={FOOTAGE.record}"
        return command("centre", "package", target, record, f"--settings={self.settings}", "--json", *more, cwd=cwd)

    @property
    def spooled(self) -> list[str]:
        """What lies in the folder that the service writes packages into."""
        return sorted(path.name for path in (self.root / "packages").iterdir())


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def test_a_package_lands_where_the_command_was_given(centre: Centre) -> None:
    place = centre.outside / "clerk"
    place.mkdir()
    with centre.running():
        for target, cwd in ((place / "first", None), (Path("second"), place)):
            made = centre.package(target, cwd=cwd)
            assert made.returncode == 0, made.stderr
            found = json.loads(made.stdout)
            assert found["package"] == str(place / target.name)
            checked = command("verify", place / target.name, f"--trust={found['fingerprint']}")
            assert checked.returncode == 0, checked.stdout + checked.stderr
        assert centre.spooled == []
    assert sorted(path.name for path in place.iterdir()) == ["first", "second"]


def made_in_vain(centre: Centre, target: Path) -> dict[str, str]:
    before = sorted(centre.outside.rglob("*"))
    made = centre.package(target)
    assert (made.returncode, made.stdout) == (2, "")
    error: dict[str, str] = json.loads(made.stderr)
    assert [path for path in sorted(centre.outside.rglob("*")) if path not in before] == []
    return error


def test_a_target_that_cannot_be_is_refused_and_leaves_nothing(centre: Centre) -> None:
    there = centre.outside / "there"
    there.mkdir()
    with centre.running():
        error = made_in_vain(centre, centre.outside / "mistyped" / "package")
        assert (error["code"], error["where"]) == ("no-folder", str(centre.outside / "mistyped"))
        assert made_in_vain(centre, there)["code"] == "exists"
        assert made_in_vain(centre, Path("/proc/package"))["where"] == "/proc/package"
        assert centre.spooled == []


def test_what_a_command_that_was_killed_left_is_gone_at_the_next_start(centre: Centre) -> None:
    left = centre.root / "packages" / "left"
    left.mkdir(parents=True)
    (left / "original").write_bytes(b"footage")
    with centre.running():
        wait_for("the folder to be empty", lambda: centre.spooled == [])
