"""The stand-alone verifier on good worlds, and on worlds in which one thing was bent."""

import ast
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockwarden.evidence import canonical, facts, packages, receipts, seals, statements
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.digests import LEAF_SIZE
from evidence import verifier, world
from evidence.verifier import check, codes
from evidence.world import CENTRE, STATION, STRANGER, World, a_partial_seal, measured

TRUSTED = CENTRE.verifier.fingerprint
ONE, TWO = world.record_id("1"), world.record_id("2")
SEAL_1 = f"records/{ONE}/seal.note"
STATION_HEAD, STATION_ENTRIES = (
    packages.log_path(world.STATION_LOG, name) for name in ("head.note", "entries.jsonl")
)


@pytest.fixture
def good() -> World:
    """A package of two small records."""
    return world.build(b"the first recording", b"")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the verifier as a program, without this project on its path."""
    command = [sys.executable, "-I", str(verifier.PATH), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# --- what is right --------------------------------------------------------------------------------------------------


def test_a_good_package_is_consistent_and_anchored(good: World, tmp_path: Path) -> None:
    found = check(good.write(tmp_path), TRUSTED)
    assert (found["findings"], found["notes"], found["exit"]) == ([], [], 0)
    assert found["consistent"] and found["anchored"]
    assert found["checked"] == {
        **{"records": 2, "seals": 2, "files": 16, "originals": 2, "receipts": 2},
        **{"heads": 2, "cosignatures": 2, "entries": 8, "bodies": 8},
    }


@pytest.mark.parametrize("trust", [None, STRANGER.verifier.fingerprint], ids=["none", "another"])
def test_without_a_known_signer_a_good_package_is_consistent_only(
    good: World, tmp_path: Path, trust: str | None
) -> None:
    found = check(good.write(tmp_path), trust)
    assert (found["consistent"], found["anchored"], found["exit"]) == (True, False, 3)
    assert found["signer"] == {"name": "centre", "fingerprint": TRUSTED}


def test_a_file_of_keys_anchors_as_a_fingerprint_does(good: World, tmp_path: Path) -> None:
    lines = tmp_path / "keys"
    lines.write_text(f"# from the office\n\n{CENTRE.verifier.text()}\n{STATION.verifier.text()}\n")
    folder = good.write(tmp_path / "package")
    assert check(folder, str(lines))["exit"] == 0
    lines.write_text(f"{STATION.verifier.text()}\n")
    assert check(folder, str(lines))["exit"] == 3
    lines.write_text(f"{STATION.verifier.text()}\n{TRUSTED}\n")
    assert check(folder, str(lines))["exit"] == 0
    spaced = ":".join(TRUSTED[place : place + 2] for place in range(0, 64, 2)).upper()
    assert check(folder, spaced)["exit"] == 0


def test_a_place_whose_key_is_known_may_not_speak_with_another(good: World, tmp_path: Path) -> None:
    lines = tmp_path / "keys"
    other = replace(STRANGER.verifier, name="station-1")
    lines.write_text(f"{CENTRE.verifier.text()}\n{other.text()}\n")
    found = check(good.write(tmp_path / "package"), str(lines))
    assert ("signature", SEAL_1) in codes(found) and ("signature", STATION_HEAD) in codes(found)


def test_a_withheld_body_is_no_finding_but_that_of_the_sealing(good: World, tmp_path: Path) -> None:
    chosen = [entry for entry in good.station.entries if entry.envelope.record]
    without = [entry if entry.envelope.kind == "sealed" else replace(entry, body_bytes=None) for entry in chosen]
    good.files[STATION_ENTRIES] = good.station.lines(without)
    found = check(good.write(tmp_path / "a"), TRUSTED)
    assert (found["exit"], found["checked"]["bodies"]) == (0, 4)
    good.files[STATION_ENTRIES] = good.station.lines(replace(entry, body_bytes=None) for entry in chosen)
    assert codes(check(good.write(tmp_path / "b"), TRUSTED)) == {
        ("unproven", SEAL_1),
        ("unproven", f"records/{TWO}/seal.note"),
    }


def test_what_a_reader_should_know_is_noted(good: World, tmp_path: Path) -> None:
    good.centre.append("delivered", {}, ONE, "centre", "void")
    world.refresh(good)
    good.files[STATION_HEAD] = good.station.head(STATION)
    del good.files[packages.receipt_path(TWO, "centre", 1)]
    found = check(good.write(tmp_path), TRUSTED)
    assert found["exit"] == 0
    assert [(note["code"], note["path"]) for note in found["notes"]] == [
        ("no-receipt", f"records/{TWO}"),
        ("void", packages.log_path(world.CENTRE_LOG, "entries.jsonl")),
        ("no-cosignature", STATION_HEAD),
    ]


# --- one byte is turned ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*sorted(world.build(b"the first recording", b"").files), "package.note"])
def test_a_file_is_named_whatever_byte_of_it_is_turned(good: World, tmp_path: Path, path: str) -> None:
    folder = good.write(tmp_path)
    data = (folder / path).read_bytes()
    chosen = range(len(data)) if path == "package.note" and len(data) < 100 else _some(len(data))
    for place in chosen:
        bent = bytearray(data)
        bent[place] ^= 1 << place % 8
        (folder / path).write_bytes(bent)
        found = check(folder, TRUSTED)
        assert found["exit"] == 1, place
        assert path in {finding["path"] for finding in found["findings"]}, place


def _some(size: int) -> list[int]:
    chance = random.Random(size)
    return sorted({0, size - 1, *(chance.randrange(size) for _ in range(12))} if size else set())


@pytest.mark.parametrize("path", [*sorted(world.build(b"the first recording", b"").files), "package.note"])
def test_a_file_is_named_when_it_is_lost_grows_or_shrinks(good: World, tmp_path: Path, path: str) -> None:
    folder = good.write(tmp_path)
    data = (folder / path).read_bytes()
    for bent in (None, data + b"\n", data[:-1] if data else b"x"):
        (folder / path).unlink()
        if bent is not None:
            (folder / path).write_bytes(bent)
        found = check(folder, TRUSTED)
        assert found["exit"] == 1
        assert path in {finding["path"] for finding in found["findings"]}
        (folder / path).write_bytes(data)
    assert check(folder, TRUSTED)["exit"] == 0


def test_the_damaged_range_of_an_original_is_named_by_its_leaves(tmp_path: Path) -> None:
    size = 5 * LEAF_SIZE + 100
    made = world.build(random.Random(5).randbytes(size))
    original = made.write(tmp_path) / f"records/{ONE}/original"
    with original.open("r+b") as file:
        for place in (LEAF_SIZE, 2 * LEAF_SIZE + 7, size - 1):
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0x10]))
    found = check(tmp_path, TRUSTED)
    assert [(finding["code"], finding["path"], finding["range"]) for finding in found["findings"]] == [
        ("changed", f"records/{ONE}/original", [LEAF_SIZE, 2 * LEAF_SIZE]),
        ("changed", f"records/{ONE}/original", [5 * LEAF_SIZE, 100]),
    ]


def test_of_an_original_of_another_length_what_lacks_and_what_is_too_much_is_named(tmp_path: Path) -> None:
    made = world.build(random.Random(6).randbytes(2 * LEAF_SIZE + 10))
    original = made.write(tmp_path) / f"records/{ONE}/original"
    data = original.read_bytes()
    original.write_bytes(data + b"more")
    assert [finding["range"] for finding in check(tmp_path, TRUSTED)["findings"]] == [[2 * LEAF_SIZE + 10, 4]]
    original.write_bytes(data[:LEAF_SIZE])
    assert [finding["range"] for finding in check(tmp_path, TRUSTED)["findings"]] == [[LEAF_SIZE, LEAF_SIZE + 10]]


def test_leaves_that_do_not_lead_to_the_sealed_root_name_no_range(tmp_path: Path) -> None:
    made = world.build(random.Random(7).randbytes(2 * LEAF_SIZE))
    made.files[f"records/{ONE}/leaves"] = bytes(64)
    folder = made.write(tmp_path)
    assert codes(check(folder, TRUSTED)) == {("disagrees", f"records/{ONE}/leaves")}
    original = folder / f"records/{ONE}/original"
    original.write_bytes(b"x" + original.read_bytes()[1:])
    found = [finding for finding in check(folder, TRUSTED)["findings"] if finding["code"] == "changed"]
    assert [finding["range"] for finding in found] == [[0, 2 * LEAF_SIZE]]


def test_a_package_without_leaves_is_as_good(good: World, tmp_path: Path) -> None:
    for record in good.records:
        del good.files[f"records/{record}/leaves"]
    assert check(good.write(tmp_path), TRUSTED)["exit"] == 0


# --- one thing is told otherwise, and the centre signs it -----------------------------------------------------------


def bend_seal(good: World, **change: Any) -> None:
    """Give the first record a seal that says something else."""
    made = replace(seals.read_seal(good.files[SEAL_1]), **change)
    good.files[SEAL_1] = seals.sign_seal(made, STATION)


def bend_receipt(good: World, **change: Any) -> str:
    """Give the first record a receipt that says something else; returns its path."""
    made = replace(world.a_receipt(good.files[SEAL_1], "centre", "centre"), **change)
    path = packages.receipt_path(ONE, "centre", 1)
    good.files[path] = receipts.sign_receipt(made, CENTRE if made.witness == "centre" else STATION)
    return path


def test_a_seal_that_the_log_does_not_know_is_unproven(good: World, tmp_path: Path) -> None:
    bend_seal(good, bay="9-9")
    assert ("unproven", SEAL_1) in codes(check(good.write(tmp_path), TRUSTED))


def test_a_seal_that_the_log_calls_void_is_unproven(good: World, tmp_path: Path) -> None:
    good.station.append("sealed", {}, ONE, "station", "void")
    world.refresh(good)
    found = check(good.write(tmp_path), TRUSTED)
    assert codes(found) == {("unproven", SEAL_1)}
    assert [note["code"] for note in found["notes"]] == ["void"]


def test_a_seal_that_only_the_centres_log_knows_is_unproven(good: World, tmp_path: Path) -> None:
    entries = [entry for entry in good.station.entries if entry.envelope.kind != "sealed"]
    good.files[STATION_ENTRIES] = good.station.lines(entry for entry in entries if entry.envelope.record)
    good.centre.append("sealed", world.sealed_body(good.files[SEAL_1]), ONE, "station")
    good.files[packages.log_path(world.CENTRE_LOG, "head.note")] = good.centre.head(CENTRE, STATION)
    good.files[packages.log_path(world.CENTRE_LOG, "entries.jsonl")] = good.centre.lines(good.centre.entries)
    assert codes(check(good.write(tmp_path), TRUSTED)) == {
        ("unproven", SEAL_1),
        ("unproven", f"records/{TWO}/seal.note"),
    }


def test_a_seal_of_another_record_or_other_bytes_disagrees(good: World, tmp_path: Path) -> None:
    good.files[SEAL_1] = good.files[f"records/{TWO}/seal.note"]
    assert ("disagrees", SEAL_1) in codes(check(good.write(tmp_path), TRUSTED))
    bend_seal(good, record=ONE)
    assert ("disagrees", SEAL_1) in codes(check(good.write(tmp_path), TRUSTED))


def test_a_seal_signed_by_the_centre_for_the_station_is_a_finding(good: World, tmp_path: Path) -> None:
    body = canonical.encode(statements.peek("seal", good.files[SEAL_1])).decode()
    good.files[SEAL_1] = CENTRE.sign(f"dockwarden/seal/1\n{body}\n")
    assert ("signature", SEAL_1) in codes(check(good.write(tmp_path), TRUSTED))


def test_a_key_that_the_manifest_does_not_list_is_a_finding(good: World, tmp_path: Path) -> None:
    good.files["keys.txt"] = f"{CENTRE.verifier.text()}\n".encode()
    found = codes(check(good.write(tmp_path, keys=[CENTRE.verifier]), TRUSTED))
    assert found == {("signature", path) for path in (SEAL_1, f"records/{TWO}/seal.note", STATION_HEAD)}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"seal_sha256": "0" * 64}, "disagrees"),
        ({"sha256": "0" * 64}, "disagrees"),
        ({"sm3": "0" * 64}, "disagrees"),
        ({"size": 1}, "disagrees"),
        ({"record": TWO}, "disagrees"),
        ({"place": "off-site"}, "disagrees"),
        ({"head": "no head"}, "malformed"),
        (
            {"head": "dockwarden/centre.aaaaaaaa\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x AAAAAAA=\n"},
            "signature",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_receipt_about_anything_else_is_a_finding(
    good: World, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    path = bend_receipt(good, **change)
    assert codes(check(good.write(tmp_path), TRUSTED)) == {(code, path)}


def test_a_receipt_that_its_witness_did_not_sign_is_a_finding(good: World, tmp_path: Path) -> None:
    path = packages.receipt_path(ONE, "centre", 1)
    body = canonical.encode(statements.peek("receipt", good.files[path])).decode()
    good.files[path] = STATION.sign(f"dockwarden/receipt/1\n{body}\n")
    assert codes(check(good.write(tmp_path), TRUSTED)) == {("signature", path)}


def test_a_preview_of_which_the_log_does_not_speak_is_a_finding(good: World, tmp_path: Path) -> None:
    path = f"records/{ONE}/preview.mp4"
    good.files[path] = b"another film"
    assert codes(check(good.write(tmp_path), TRUSTED)) == {("disagrees", path)}


def test_keys_beside_the_manifest_that_are_others_are_a_finding(good: World, tmp_path: Path) -> None:
    good.files["keys.txt"] += f"{STRANGER.verifier.text()}\n".encode()
    assert codes(check(good.write(tmp_path), TRUSTED)) == {("disagrees", "keys.txt")}


def test_a_manifest_that_its_centre_did_not_sign_is_a_finding(good: World, tmp_path: Path) -> None:
    found = check(good.write(tmp_path, signer=STRANGER, keys=[*world.KEYS, STRANGER.verifier]), TRUSTED)
    assert ("signature", "package.note") in codes(found)
    assert not found["anchored"]


def test_a_record_that_lacks_its_seal_or_is_not_announced_is_a_finding(good: World, tmp_path: Path) -> None:
    del good.files[SEAL_1]
    assert ("missing", SEAL_1) in codes(check(good.write(tmp_path / "a"), TRUSTED))
    good.records.remove(ONE)
    found = codes(check(good.write(tmp_path / "b"), TRUSTED))
    assert ("extra", f"records/{ONE}/original") in found


def bend_line(good: World, number: int, change: Callable[[Object], Object]) -> None:
    """Change a line of the station's entries."""
    lines = good.files[STATION_ENTRIES].splitlines()
    lines[number] = canonical.encode(change(canonical.decode_object(lines[number], "line")))
    good.files[STATION_ENTRIES] = b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda line: {**line, "proof": line["proof"][:-1]}, "unproven"),
        (lambda line: {**line, "proof": [*line["proof"][:-1], "A" * 43 + "="]}, "unproven"),
        (lambda line: {**line, "proof": ["AAAA"]}, "unproven"),
        (lambda line: {**line, "proof": 5}, "malformed"),
        (lambda line: {**line, "body": line["body"][:-4]}, "disagrees"),
        (lambda line: {**line, "body": 5}, "malformed"),
        (lambda line: {**line, "later": 5}, "malformed"),
        (lambda line: {"envelope": line["envelope"], "body": None}, "malformed"),
        (lambda line: {**line, "envelope": line["envelope"].replace("done", "void")}, "unproven"),
        (lambda line: {**line, "envelope": line["envelope"].replace('"seq":2', '"seq":3')}, "unproven"),
        (lambda line: {**line, "envelope": line["envelope"].replace('"seq":2', '"seq":1')}, "disagrees"),
        (
            lambda line: {**line, "envelope": line["envelope"].replace(world.STATION_LOG, world.CENTRE_LOG)},
            "disagrees",
        ),
        (lambda line: {**line, "envelope": 5}, "malformed"),
        (lambda line: [], "malformed"),
    ],
)
def test_a_fact_that_is_told_otherwise_is_a_finding_with_its_line(
    good: World, tmp_path: Path, change: Callable[[Object], Object], code: str
) -> None:
    bend_line(good, 1, change)
    found = check(good.write(tmp_path), TRUSTED)
    assert codes(found) == {(code, STATION_ENTRIES)}
    lines = good.files[STATION_ENTRIES].splitlines(keepends=True)
    assert found["findings"][0]["range"] == [len(lines[0]), len(lines[1])]


def test_facts_out_of_order_or_told_twice_are_findings(good: World, tmp_path: Path) -> None:
    lines = good.files[STATION_ENTRIES].splitlines(keepends=True)
    good.files[STATION_ENTRIES] = b"".join([*lines, lines[-1]])
    assert codes(check(good.write(tmp_path), TRUSTED)) == {("disagrees", STATION_ENTRIES)}


def test_a_head_of_another_log_signer_or_cosigner_is_a_finding(good: World, tmp_path: Path) -> None:
    head = good.files[STATION_HEAD]
    good.files[STATION_HEAD] = good.files[packages.log_path(world.CENTRE_LOG, "head.note")]
    assert ("disagrees", STATION_HEAD) in codes(check(good.write(tmp_path), TRUSTED))
    text = head.partition(b"\n\n")[0].decode() + "\n"
    good.files[STATION_HEAD] = CENTRE.sign(text)
    assert ("signature", STATION_HEAD) in codes(check(good.write(tmp_path), TRUSTED))
    other = CENTRE.cosign(CENTRE.sign("something else\n"), world.COSIGNED_AT).splitlines(keepends=True)[-1]
    good.files[STATION_HEAD] = STATION.sign(text) + other
    found = check(good.write(tmp_path), TRUSTED)
    assert codes(found) == {("signature", STATION_HEAD)}
    assert "cosignature of centre" in found["findings"][0]["text"]


# --- a vault's record, a log's export -------------------------------------------------------------------------------


def vault_record(good: World, folder: Path) -> Path:
    """The first record as a vault keeps it."""
    folder.mkdir()
    for name in ("original", "leaves", "seal.note"):
        (folder / name).write_bytes(good.files[f"records/{ONE}/{name}"])
    return folder


def test_a_vault_record_is_checked_with_its_stations_key(good: World, tmp_path: Path) -> None:
    folder, lines = vault_record(good, tmp_path / "record"), tmp_path / "keys"
    lines.write_text(f"{STATION.verifier.text()}\n")
    assert check(folder, str(lines))["exit"] == 0
    found = check(folder)
    assert (found["exit"], found["signer"], [note["code"] for note in found["notes"]]) == (3, None, ["no-key"])
    shutil.copy(lines, folder / "keys.txt")
    assert check(folder, STATION.verifier.fingerprint)["exit"] == 0
    assert check(folder)["signer"] == {"name": "station-1", "fingerprint": STATION.verifier.fingerprint}
    for name in ("original", "leaves", "seal.note"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert name in {finding["path"] for finding in check(folder, str(lines))["findings"]}
        (folder / name).unlink()
        assert check(folder, str(lines))["exit"] == (0 if name == "leaves" else 1)
        (folder / name).write_bytes(data)
    (folder / "more").touch()
    assert codes(check(folder, str(lines))) == {("extra", "more")}


def test_of_a_partial_record_every_hole_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{STATION.verifier.text()}\n")
    folder, data = tmp_path / "record", b"x" * 4096 + bytes(8192)
    folder.mkdir()
    (folder / "original").write_bytes(data)
    (folder / "leaves").write_bytes(b"".join(measured(data)[1]))
    (folder / "seal.note").write_bytes(seals.sign_seal(a_partial_seal(), STATION))
    found = check(folder, str(tmp_path / "keys"))
    assert found["exit"] == 0
    told = [(note["code"], note["path"], note["range"]) for note in found["notes"]]
    assert told == [("partial", "original", [4096, 4096]), ("partial", "original", [8192, 4096])]


@pytest.mark.parametrize("proven", [True, False])
def test_a_logs_export_is_checked_whole_or_by_proofs(good: World, tmp_path: Path, proven: bool) -> None:
    lines = tmp_path / "keys"
    lines.write_text(f"{STATION.verifier.text()}\n{CENTRE.verifier.text()}\n")
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "head.note").write_bytes(good.station.head(STATION, CENTRE))
    (folder / "entries.jsonl").write_bytes(good.station.lines(good.station.entries, proven=proven))
    found = check(folder, str(lines))
    assert (found["exit"], found["checked"]["entries"], found["checked"]["cosignatures"]) == (0, 7, 1)
    assert check(folder)["exit"] == 3
    (folder / "entries.jsonl").write_bytes(b"")
    assert codes(check(folder, str(lines))) == {("unproven", "entries.jsonl")}
    lost = [entry for entry in good.station.entries if entry.envelope.seq != 3]
    (folder / "entries.jsonl").write_bytes(good.station.lines(lost, proven=proven))
    assert check(folder, str(lines))["exit"] == (0 if proven else 1)
    bent = [replace(good.station.entries[0], body_bytes=facts.seal_body({}, bytes(16))), *good.station.entries[1:]]
    (folder / "entries.jsonl").write_bytes(good.station.lines(bent, proven=proven))
    assert codes(check(folder, str(lines))) == {("disagrees", "entries.jsonl")}


# --- as a program ---------------------------------------------------------------------------------------------------


def test_the_program_answers_by_its_exit_status_and_in_json(good: World, tmp_path: Path) -> None:
    folder = str(good.write(tmp_path))
    right, unknown = run(folder, "--trust", TRUSTED, "--json"), run(folder, "--json")
    assert (right.returncode, unknown.returncode) == (0, 3)
    said = json.loads(right.stdout)
    assert {"consistent", "anchored", "checked", "findings", "notes", "signer"} == set(said)
    assert json.loads(unknown.stdout)["signer"]["fingerprint"] == TRUSTED
    shown = run(folder)
    assert "一致 consistent" in shown.stdout and TRUSTED in shown.stdout
    (tmp_path / "report.html").write_bytes(b"x")
    bad = run(folder, "--trust", TRUSTED)
    assert bad.returncode == 1
    assert "内容被改动 changed  report.html" in bad.stdout


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--trust", "nowhere"], [str(verifier.PATH)], ["."], ["\0"]])
def test_what_cannot_be_checked_ends_with_2_and_says_what_to_do(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verifier.load().main([*arguments, "--json"]) == 2
    assert {"code", "what", "where", "do"} == set(json.loads(capsys.readouterr().err))
    assert verifier.load().main(arguments) == 2
    assert "cannot run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "no key\n", f"{CENTRE.verifier.text()}x\n", "\ud800"])
def test_a_trust_file_that_is_none_ends_with_2(good: World, tmp_path: Path, text: str) -> None:
    lines = tmp_path / "keys"
    lines.write_text(text, "utf-8", "surrogatepass")
    assert verifier.load().main([str(good.write(tmp_path / "package")), "--trust", str(lines), "--json"]) == 2


def test_the_program_is_one_file_of_old_python_and_the_standard_library() -> None:
    tree = ast.parse(verifier.PATH.read_bytes(), feature_version=(3, 9))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {(name or "").partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_sm3_is_checked_too_where_openssl_lacks_it(
    good: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier.load(), "new_sm3", verifier.load().PlainSm3)
    assert check(good.write(tmp_path), TRUSTED)["exit"] == 0


@pytest.mark.parametrize("wrong", [["--what"], ["a", "b"], ["--trust"], []])
def test_a_wrong_command_line_is_an_object_with_json_and_a_sentence_without(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verifier.load().main(["--json", *wrong]) == 2
    shown = capsys.readouterr()
    told = json.loads(shown.err)
    assert (shown.out, set(told)) == ("", {"code", "what", "where", "do"})
    assert (told["code"], told["where"]) == ("cannot-run", "the command line")
    assert verifier.load().main(wrong) == 2
    assert told["what"] in capsys.readouterr().err


# --- whatever nobody listed -----------------------------------------------------------------------------------------


def _folder(path: Path) -> None:
    path.mkdir(parents=True)


STRANGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an empty folder": ("empty", _folder),
    "an empty folder in a record": (f"records/{ONE}/more", _folder),
    "an empty folder beside receipts": (f"records/{ONE}/receipts/x", _folder),
    "an empty folder of a record that is none": ("records/aaaaaaaaaaaaaaaaaaaaaaaaaa", _folder),
    "an empty log": ("logs/station-1.aaaaaaaa", _folder),
    "a hidden folder": (".hidden", _folder),
    "a file": ("note.txt", lambda path: path.write_bytes(b"")),
    "a hidden file": (f"records/{ONE}/.original", lambda path: path.write_bytes(b"x")),
    "another case of a file": (f"records/{ONE}/Original", lambda path: path.write_bytes(b"x")),
    "another case of a folder": ("Records", _folder),
    "another case of a record": (f"records/{ONE.upper()}", _folder),
    "a name that ends in a space": ("report.html ", lambda path: path.write_bytes(b"x")),
    "a name that is not UTF-8": ("x\udcff", _folder),
    "a link to a file": ("link", lambda path: path.symlink_to("report.html")),
    "a link to a folder": ("link", lambda path: path.symlink_to("records")),
    "a link to nowhere": (f"records/{ONE}/receipts/centre-9.note", lambda path: path.symlink_to("nowhere")),
    "a pipe": ("pipe", os.mkfifo),
}


@pytest.mark.parametrize("what", STRANGE)
def test_whatever_the_manifest_does_not_name_is_named(good: World, tmp_path: Path, what: str) -> None:
    folder = good.write(tmp_path / "package")
    path, make = STRANGE[what]
    make(folder / path)
    found = check(folder, TRUSTED)
    assert found["exit"] == 1
    shown = path.encode("unicode_escape").decode() if "\udcff" in path else path
    assert [finding["path"] for finding in found["findings"]] == [shown]


def test_of_folders_in_an_added_folder_each_is_named(good: World, tmp_path: Path) -> None:
    folder = good.write(tmp_path / "package")
    (folder / "a/b/c").mkdir(parents=True)
    assert codes(check(folder, TRUSTED)) == {("extra", "a"), ("extra", "a/b"), ("extra", "a/b/c")}


@pytest.mark.parametrize("name", ["more", "receipts"])
def test_an_added_folder_in_a_vault_record_or_a_logs_export_is_named(good: World, tmp_path: Path, name: str) -> None:
    record, export = tmp_path / "record", tmp_path / "export"
    for folder, source, names in (
        (record, f"records/{ONE}", ("original", "leaves", "seal.note")),
        (export, f"logs/{world.STATION_LOG}", ("head.note", "entries.jsonl")),
    ):
        folder.mkdir()
        for each in names:
            (folder / each).write_bytes(good.files[f"{source}/{each}"])
        before = codes(check(folder, TRUSTED))
        (folder / name).mkdir()
        assert codes(check(folder, TRUSTED)) - before == {("extra", name)}
