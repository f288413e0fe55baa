"""Sealed records in a folder, tar streams of them, and a repository on a real append-only server."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

from dockwarden.evidence import ids, seals
from dockwarden.evidence.digests import Measure
from dockwarden.evidence.notes import SigningKey
from dockwarden.evidence.seals import Seal, SourceName
from dockwarden.offsite.proof import Expected
from dockwarden.offsite.restic import Repository

STATION = SigningKey("st-01", bytes(range(32)))
LOG = "st-01.aaaaaaaa"


def record_files(data: bytes, key: SigningKey = STATION, number: int = 1) -> tuple[Expected, dict[str, bytes]]:
    """A record of these bytes: what is expected of it, and its three files."""
    record = ids.new_record_id(hashlib.sha256(f"{number}".encode()).digest()[:16])
    measure = Measure()
    measure.update(data)
    digests = measure.finish()
    name = SourceName("视频.MP4", "视频.MP4".encode("gb18030"), "gb18030")
    seal = Seal(
        record=record,
        log=LOG,
        bay="1",
        session="a" * 26,
        device={"family": "folder", "key": "k", "kind": "camera", "profile": "p"},
        source={"marks": [], "modified": 0, "name": name.to_object(), "size": digests.size, "volume": "v"},
        captured={"end": None, "how": "unknown", "start": None},
        clock=None,
        digests=digests,
        read_back="direct",
        sealed_at="2026-11-24T20:00:00.000Z",
    )
    note = seals.sign_seal(seal, key)
    expected = Expected(record, f"vault/{record[:2]}/{record}", hashlib.sha256(note).hexdigest(), digests)
    return expected, {"leaves": b"".join(measure.leaves), "original": data, "seal.note": note}


def write_record(base: Path, data: bytes, number: int = 1) -> Expected:
    """The record of `record_files` as it lies below `base`."""
    expected, files = record_files(data, number=number)
    folder = base / expected.path
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return expected


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar of files, in that order."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def repository(folder: Path, address: str) -> Repository:
    """A repository with its settings and cache in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "repository").write_text(address + "\n")
    (folder / "password").write_text("pass word\n")
    return Repository(folder / "repository", folder / "password", folder / "cache", idle_s=120)


def stub(path: Path, script: str) -> str:
    """A shell script that plays restic; returns its path."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return os.fspath(path)


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
