"""An independent check of an OCFL 1.1 storage root, written from ocfl.io/1.1/spec. Knows nothing of this program.

Returns sentences with the section that was broken, none where the root is valid.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INVENTORY = "https://ocfl.io/1.1/spec/#inventory"
FIXITY = {"md5", "sha1", "sha256", "sha512", "blake2b-512", "blake2b-160", "blake2b-256", "blake2b-384", "sha512/256"}
"""The digest algorithms of section 3.5.4, and those of the registered extension 0009."""
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def broken_rules(root: Path) -> list[str]:
    """Check a storage root and every object in it."""
    wrong = []
    marks = sorted(path.name for path in root.glob("0=*"))
    if marks != ["0=ocfl_1.1"] or (root / marks[0]).read_bytes() != b"ocfl_1.1\n":
        wrong.append("4.1: a root is declared by 0=ocfl_1.1 with the text `ocfl_1.1` and a newline")
    seen: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name == "extensions":
            wrong += [
                f"4.1: {child.name} in extensions is no folder" for child in path.iterdir() if not child.is_dir()
            ]
        elif path.is_dir():
            for home in _objects(path, wrong):
                identifier = _object(home, wrong)
                if identifier in seen:
                    wrong.append(f"3.5.1: {home} and {seen[identifier]} have the same id")
                seen[identifier] = home
    return wrong


def _objects(folder: Path, wrong: list[str]) -> Iterator[Path]:
    """Objects below a folder of the hierarchy; it holds folders alone, and none is empty (4.2)."""
    children = sorted(folder.iterdir())
    if not children:
        wrong.append(f"4.2: {folder} is empty")
    if any(child.name.startswith("0=ocfl_object") for child in children):
        yield folder
        return
    for child in children:
        if child.is_dir():
            yield from _objects(child, wrong)
        else:
            wrong.append(f"4.2: {child} is a file within the hierarchy")


def _object(home: Path, wrong: list[str]) -> str:
    """Sections 3.1 to 3.7 of one object; returns its id."""
    names = {path.name for path in home.iterdir()}
    if names & {name for name in names if name.startswith("0=")} != {"0=ocfl_object_1.1"}:
        wrong.append(f"3.3: {home} is not declared just once")
    if (home / "0=ocfl_object_1.1").read_bytes() != b"ocfl_object_1.1\n":
        wrong.append(f"3.3: the declaration of {home} has another text")
    inventory = _inventory(home, home, wrong)
    versions = inventory["versions"]
    expected = {f"v{number}" for number in range(1, len(versions) + 1)}
    if set(versions) != expected or inventory["head"] != f"v{len(versions)}":
        wrong.append(f"3.5: the versions of {home} are not v1 to head")
    allowed = {"0=ocfl_object_1.1", "inventory.json", "inventory.json.sha256", "logs", "extensions"} | expected
    if names - allowed or not expected <= names:
        wrong.append(f"3.1: {home} holds {sorted(names - allowed)} and lacks {sorted(expected - names)}")
    if (home / inventory["head"] / "inventory.json").read_bytes() != (home / "inventory.json").read_bytes():
        wrong.append(f"3.6: the inventory of {home} is not that of its head")
    for version in sorted(expected):
        _inventory(home / version, home, wrong)
        extra = {path.name for path in (home / version).iterdir()}
        if extra != {"inventory.json", "inventory.json.sha256", "content"}:
            wrong.append(f"3.4: {home / version} holds {sorted(extra)}")
    _manifest(home, inventory, wrong)
    return str(inventory["id"])


def _inventory(folder: Path, home: Path, wrong: list[str]) -> dict[str, Any]:
    """An inventory and its sidecar (3.5, 3.7)."""
    data = (folder / "inventory.json").read_bytes()
    inventory: dict[str, Any] = json.loads(data)
    side = (folder / "inventory.json.sha256").read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}[ \t]+inventory\.json\n", side):
        wrong.append(f"3.7: the sidecar in {folder} has another form")
    if side.split()[0].decode() != hashlib.sha256(data).hexdigest():
        wrong.append(f"3.7: the sidecar in {folder} has another digest")
    for key in ("id", "type", "digestAlgorithm", "head", "manifest", "versions"):
        if key not in inventory:
            wrong.append(f"3.5.1: {key} is missing in {folder}")
    if inventory["type"] != INVENTORY or inventory["digestAlgorithm"] not in ("sha256", "sha512"):
        wrong.append(f"3.5.1: type or digest algorithm in {folder}")
    if not re.match(r"[a-z][a-z0-9+.-]*:", inventory["id"]):
        wrong.append(f"3.5.1: the id in {folder} should be a URI")
    for name, version in inventory["versions"].items():
        if not RFC3339.fullmatch(version["created"]):
            wrong.append(f"3.5.3: created of {name} in {folder}")
        if set(version["state"]) - set(inventory["manifest"]):
            wrong.append(f"3.5.3.1: the state of {name} in {folder} has digests that the manifest lacks")
        _paths(f"state of {name} in {folder}", version["state"], wrong)
    used = {digest for version in inventory["versions"].values() for digest in version["state"]}
    if set(inventory["manifest"]) - used:
        wrong.append(f"3.5.2: the manifest in {folder} has digests that no version uses")
    return inventory


def _manifest(home: Path, inventory: dict[str, Any], wrong: list[str]) -> None:
    """Every file of content is in the manifest with its digest, once, and nothing else is (3.5.2, 3.5.4)."""
    _paths(f"manifest of {home}", inventory["manifest"], wrong)
    listed = {path: digest for digest, paths in inventory["manifest"].items() for path in paths}
    unknown = set(inventory.get("fixity", {})) - FIXITY
    if unknown:
        wrong.append(f"3.5.4: the fixity of {home} has digests by {sorted(unknown)}, of which no other program knows")
    for paths in inventory.get("fixity", {}).values():
        for found in paths.values():
            wrong += [
                f"3.5.4: {path} in the fixity of {home} is not in its manifest"
                for path in found
                if path not in listed
            ]
    content = inventory.get("contentDirectory", "content")
    on_disk = set()
    for version in inventory["versions"]:
        for path in (home / version / content).rglob("*"):
            if path.is_file():
                on_disk.add(path.relative_to(home).as_posix())
            elif path.is_dir() and not any(path.iterdir()):
                wrong.append(f"3.4: {path} is empty")
    if on_disk != set(listed):
        wrong.append(f"3.5.2: {home} holds {sorted(on_disk - set(listed))} and lacks {sorted(set(listed) - on_disk)}")
    for path, digest in listed.items():
        if (
            path in on_disk
            and hashlib.new(inventory["digestAlgorithm"], (home / path).read_bytes()).hexdigest() != digest
        ):
            wrong.append(f"3.5.2: {path} of {home} has another digest")


def _paths(where: str, block: dict[str, list[str]], wrong: list[str]) -> None:
    """Paths are relative, without dots or empty parts, and unique; digests are of one case (3.5.2, 3.5.3.1)."""
    paths = [path for found in block.values() for path in found]
    if len(set(paths)) != len(paths):
        wrong.append(f"3.5.2: a path stands twice in the {where}")
    for path in paths:
        if any(part in ("", ".", "..") for part in path.split("/")):
            wrong.append(f"3.5.2: {path!r} in the {where}")
    if len({digest.lower() for digest in block}) != len(block) or any(not paths for paths in block.values()):
        wrong.append(f"3.5.2: a digest stands twice or for nothing in the {where}")
