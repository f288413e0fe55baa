"""Whatever a package holds, the verifier answers: it names the file, follows no link, and obeys nothing."""

import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.evidence import canonical, packages
from dockwarden.evidence.digests import LEAF_SIZE
from evidence import verifier, world
from evidence.verifier import check, codes
from evidence.world import CENTRE, World

TRUSTED = CENTRE.verifier.fingerprint
ONE = world.record_id("1")
GOOD = world.build(b"the first recording", b"")
PATHS = [*sorted(GOOD.files), "package.note"]
ENTRIES = packages.log_path(world.STATION_LOG, "entries.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good package; who bends it repairs it."""
    return GOOD.write(tmp_path_factory.mktemp("package"))


@settings(max_examples=60)
@given(
    path=st.sampled_from(PATHS),
    data=st.binary(max_size=60) | st.none(),
    where=st.floats(0, 1),
    length=st.integers(0, 40),
)
def test_any_bytes_in_any_file_are_answered(
    folder: Path, path: str, data: bytes | None, where: float, length: int
) -> None:
    whole = (folder / path).read_bytes()
    start = int(where * len(whole))
    bent = whole[:start] + (data or b"") + whole[start + length :]
    (folder / path).write_bytes(bent)
    try:
        found = check(folder, TRUSTED)
        assert found["exit"] == (0 if bent == whole else 1)
        assert bent == whole or path in {finding["path"] for finding in found["findings"]}
    finally:
        (folder / path).write_bytes(whole)


def signed_anyway(body: object) -> bytes:
    """A manifest of any form, signed by the centre."""
    return CENTRE.sign(f"dockwarden/package/1\n{canonical.encode(body).decode()}\n")


@settings(max_examples=60)
@given(
    field=st.sampled_from(["v", "centre", "files", "keys", "made_at", "records"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-1, 2) | st.text("ab/.", max_size=4) | st.just(ONE),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "size"]), inner, max_size=2)
        ),
        max_leaves=4,
    ),
)
def test_any_manifest_is_answered(tmp_path_factory: pytest.TempPathFactory, field: str, value: object) -> None:
    manifest = packages.Manifest("centre", world.MADE_AT, tuple(key.text() for key in world.KEYS), (ONE,), ())
    target = tmp_path_factory.getbasetemp() / "any-manifest"
    target.mkdir(exist_ok=True)
    (target / "package.note").write_bytes(signed_anyway({**manifest.to_object(), field: value}))
    assert check(target, TRUSTED)["exit"] in (0, 1)


def bend(tmp_path: Path, path: str, data: bytes) -> set[tuple[str, str]]:
    """Findings of a package of which one file has other bytes, as its manifest says."""
    made = World(GOOD.station, GOOD.centre, GOOD.records, {**GOOD.files, path: data})
    return codes(check(made.write(tmp_path), TRUSTED))


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith((".note", ".jsonl")) and "/" in path])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff" * 100,
        b"\0" * 100,
        b"[" * 200_000 + b"\n",
        b"1" * 200_000 + b"\n",
        b"x" * (3 << 20),
        b'{"envelope":"x"}\n' * 50,
        "a\n\n— b AAAAAAA=\n".encode(),
        "dockwarden/seal/1\n{}\n\n— station-1 AAAAAAA=\n".encode(),
        "dockwarden/seal/1\n[]\n\n— station-1 AAAAAAA=\n".encode(),
        f"dockwarden/receipt/1\n{'[' * 9000}\n\n— centre AAAAAAA=\n".encode(),
    ],
    ids=range(12),
)
def test_a_listed_file_of_another_form_is_named(tmp_path: Path, path: str, data: bytes) -> None:
    # An empty list of facts is a list: what it lacks is told of the seal that it should prove.
    named = {found for _, found in bend(tmp_path, path, data)}
    if data == b"" and path.endswith(".jsonl"):
        assert named == ({f"records/{record}/seal.note" for record in GOOD.records} if path == ENTRIES else set())
    else:
        assert path in named


def test_links_and_pipes_are_named_and_not_followed(tmp_path: Path) -> None:
    folder = GOOD.write(tmp_path / "package")
    original, preview = folder / f"records/{ONE}/original", folder / f"records/{ONE}/preview.mp4"
    kept = tmp_path / "kept"
    original.rename(kept)
    original.symlink_to(kept)
    preview.unlink()
    os.mkfifo(preview)
    (folder / "logs" / "loop").symlink_to(folder)
    (folder / "zero").symlink_to("/dev/zero")
    assert codes(check(folder, TRUSTED)) == {
        ("unreadable", f"records/{ONE}/original"),
        ("unreadable", f"records/{ONE}/preview.mp4"),
        ("unreadable", "logs/loop"),
        ("unreadable", "zero"),
    }


@pytest.mark.parametrize("name", ["seal.note", "original", "package.note", "entries.jsonl"])
def test_a_folder_or_a_link_in_the_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    for kind in ("folder", "link"):
        folder = GOOD.write(tmp_path / kind)
        path = next(path for path in PATHS if path.endswith(name))
        (folder / path).unlink()
        if kind == "folder":
            (folder / path).mkdir()
        else:
            (folder / path).symlink_to("/etc/passwd")
        assert path in {found for _, found in codes(check(folder, TRUSTED))}


def test_what_is_no_folder_of_ours_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(verifier.load().Malformed):
        check(tmp_path)


def test_a_name_that_a_terminal_would_obey_is_shown_harmlessly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = GOOD.write(tmp_path)
    for name in (b"\x1b[2Jgone", b"line\nline", b"\xff\xfe", "\u202etxt".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    assert verifier.load().main([str(folder), "--trust", TRUSTED]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown
    assert all(text in shown for text in ("\\x1b[2Jgone", "line\\nline", "\\udcff\\udcfe", "\\u202etxt"))
    assert verifier.load().main([str(folder), "--trust", TRUSTED, "--json"]) == 1
    capsys.readouterr().out.encode("utf-8")


def test_findings_and_files_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = GOOD.write(tmp_path)
    for number in range(40):
        (folder / f"extra-{number}").touch()
    monkeypatch.setattr(verifier.load(), "MAX_FINDINGS", 10)
    found = check(folder, TRUSTED)
    assert len(found["findings"]) == 11
    assert "left out" in found["findings"][-1]["text"]
    monkeypatch.setattr(verifier.load(), "MAX_FILES", 20)
    assert any("more than 20 files" in finding["text"] for finding in check(folder, TRUSTED)["findings"])


def test_memory_does_not_grow_with_an_original(tmp_path: Path) -> None:
    made = world.build(random.Random(8).randbytes(32 * LEAF_SIZE))
    folder = made.write(tmp_path)
    check(folder, TRUSTED)
    tracemalloc.start()
    try:
        assert check(folder, TRUSTED)["exit"] == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * LEAF_SIZE  # a small file is read through a buffer of 4 MiB


def test_an_endless_line_and_an_endless_note_are_not_read_to_the_end(tmp_path: Path) -> None:
    folder = GOOD.write(tmp_path)
    for path in (ENTRIES, "package.note"):
        with (folder / path).open("r+b") as file:
            file.truncate(1 << 40)
        tracemalloc.start()
        try:
            found = check(folder, TRUSTED)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert path in {finding["path"] for finding in found["findings"]}
        assert peak < 64 << 20
