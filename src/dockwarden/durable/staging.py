"""Where a record grows before it is one: its plan, its bytes so far, and what to do with both after a crash.

`<root>/<record>.json` is the plan, durable before anything else; `<root>/<record>/` holds `original`, `leaves` and
at the end `seal.note`, and is what gets renamed into the vault. `<root>/kept/` holds stages that were set aside.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.durable.files import DurableError, Files, explained, make_folder, write_durably
from dockwarden.durable.leaflist import recorded_leaves
from dockwarden.evidence import canonical, fields, ids
from dockwarden.evidence.canonical import MalformedError, Object
from dockwarden.evidence.digests import leaf_count

KEPT = "kept"
_PLAN = ".json"
_OURS = re.compile(rf"{KEPT}|\.[0-9a-f]{{16}}\.part").fullmatch


@dataclass(frozen=True)
class StagePlan:
    """What a stage is for: the record's id, the source it comes from and its size in bytes.

    `context` is what intake must know again after a restart (session, device, clock …); it is not read here.
    """

    record: str
    source_key: Object
    size: int
    context: Object = field(default_factory=dict)

    def to_object(self) -> Object:
        """The plan's canonical object."""
        return {
            "context": self.context,
            "record": self.record,
            "size": self.size,
            "source_key": self.source_key,
            "v": 1,
        }

    def encode(self) -> bytes:
        """Canonical bytes."""
        return canonical.encode(self.to_object())

    @staticmethod
    def decode(data: bytes) -> "StagePlan":
        """Read a plan; raises MalformedError."""
        source = canonical.decode_object(data, "stage plan")
        fields.version(source)
        return StagePlan(
            fields.matching(source, "record", ids.RECORD_ID),
            fields.obj(source, "source_key"),
            fields.integer(source, "size"),
            fields.obj(source, "context"),
        )


@dataclass(frozen=True)
class Stage:
    """A plan and its places on the disk."""

    root: Path
    plan: StagePlan

    @property
    def folder(self) -> Path:
        """The folder that will be the record's."""
        return self.root / self.plan.record

    @property
    def original(self) -> Path:
        """The bytes of the source, as far as they were copied."""
        return self.folder / "original"

    @property
    def leaves(self) -> Path:
        """The leaf list of what is known to be on the disk."""
        return self.folder / "leaves"

    @property
    def map(self) -> Path:
        """What was read of a source that cannot be read as a whole (`rescuing`); there only until it is sealed."""
        return self.folder / "map"

    @property
    def seal(self) -> Path:
        """The signed seal."""
        return self.folder / "seal.note"

    @property
    def plan_file(self) -> Path:
        """The plan's file, beside the folder."""
        return self.root / f"{self.plan.record}{_PLAN}"


@dataclass(frozen=True)
class Found:
    """What lies in a staging folder: stages in the order of their ids, and paths that nobody can explain."""

    stages: tuple[Stage, ...]
    unknown: tuple[Path, ...]


def create_stage(files: Files, root: Path, plan: StagePlan) -> Stage:
    """Make a stage: the plan, then the folder, each durable before the next. Raises DurableError."""
    stage = Stage(root, plan)
    for path in (stage.plan_file, stage.folder):
        if path.exists():
            raise DurableError("exists", "this record is staged already", str(path), "Draw another id.")
    make_folder(files, root)
    write_durably(files, stage.plan_file, plan.encode())
    make_folder(files, stage.folder)
    return stage


def reopen_stage(files: Files, stage: Stage) -> int:
    """Prepare a found stage for going on; returns from which leaf. A kill may have left the plan without folder."""
    make_folder(files, stage.folder)
    return durable_leaves(stage)


def durable_leaves(stage: Stage) -> int:
    """Number of leaves (the last may be the file's short one) that are on the disk and were read back."""
    return min(recorded_leaves(stage.leaves), leaf_count(stage.plan.size))


def find_stages(root: Path) -> Found:
    """List the stages in `root`. A stage without folder is listed too: its record may be in the vault already.

    One that is published or set aside while this looks is gone: neither a stage nor unknown. Raises DurableError.
    """
    if not root.is_dir():
        return Found((), ())
    with explained(root):
        paths = sorted(root.iterdir())
    stages: list[Stage] = []
    known: set[Path] = set()
    for path in paths:
        if path.suffix != _PLAN:
            continue
        try:
            stage = _read_stage(root, path)
        except DurableError as error:
            if error.code != "missing":
                raise
            known |= {path, path.with_suffix("")}
            continue
        if stage is not None:
            stages.append(stage)
            known |= {stage.plan_file, stage.folder}
    return Found(tuple(stages), tuple(path for path in paths if path not in known and not _OURS(path.name)))


def drop_stage(files: Files, stage: Stage) -> None:
    """Remove a stage: first its folder if it is still there, the plan last. Raises DurableError."""
    with explained(stage.folder):
        if stage.folder.exists():
            files.rmtree(stage.folder)
            files.fsync_folder(stage.root)
        if stage.plan_file.exists():
            files.unlink(stage.plan_file)
        files.fsync_folder(stage.root)


def set_aside(files: Files, stage: Stage, reason: str) -> Path:
    """Keep a stage whose bytes the device no longer confirms, out of the way of the new one (design §5.7).

    Returns the folder where its bytes are now; the plan and `reason` (a code, no personal data) lie beside it.
    """
    kept = stage.root / KEPT
    make_folder(files, kept)
    target = next(path for path in _kept_names(kept, stage.plan.record) if not path.exists())
    note: Object = {"plan": stage.plan.to_object(), "reason": reason, "v": 1}
    write_durably(files, target.with_name(f"{target.name}{_PLAN}"), canonical.encode(note))
    with explained(target):
        if stage.folder.exists():
            files.rename_new(stage.folder, target)
            files.fsync_folder(kept)
            files.fsync_folder(stage.root)
        files.unlink(stage.plan_file)
        files.fsync_folder(stage.root)
    return target


def _kept_names(kept: Path, record: str) -> Iterator[Path]:
    number = 1
    while True:
        yield kept / f"{record}.{number}"
        number += 1


def _read_stage(root: Path, path: Path) -> Stage | None:
    try:
        with explained(path):
            plan = StagePlan.decode(path.read_bytes())
    except MalformedError:
        return None
    return Stage(root, plan) if plan.record == path.stem else None
