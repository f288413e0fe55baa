"""The media stages: what is made of an original and can be made again. A failure here blocks nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import select

from dockwarden.agent import vault
from dockwarden.agent.pipeline import Said, Stage
from dockwarden.agent.stores import Stores, said
from dockwarden.durable.files import publish, write_durably
from dockwarden.durable.queries import Work
from dockwarden.durable.readback import measure_uncached
from dockwarden.durable.tables import entries, latest, reading
from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import Object, Value
from dockwarden.evidence.facts import Entry
from dockwarden.media import derive
from dockwarden.media.errors import MediaError
from dockwarden.media.pictures import Pictures

PART_NUMBERS = {"preview.mp4": 1, "sheet.jpg": 2}
"""The parts of a record's transfer, as the wire numbers them; 0 is the original."""

PICTURES = "pictures.json"
"""The picture hashes of the preview's decode, kept for the fingerprint; never sent."""

RETRY_S = (600, 3600, 24 * 3600)

Stop = Callable[[], bool]


def media_stages(stores: Stores, stop: Stop) -> list[Stage]:
    """The three stages, in the order in which they need each other."""
    previews = _stage("previewed", "probed", partial(_preview, stores, stop))
    return [
        _stage("probed", "sealed", partial(_probe, stores, stop)),
        replace(previews, lost=partial(lost_previews, stores)),
        _stage("fingerprinted", "previewed", partial(_fingerprint, stores, stop)),
    ]


def folder(stores: Stores, record: str) -> Path:
    """Where a record's derivatives are."""
    return stores.folders.derivatives / record


def lost_previews(stores: Stores) -> list[str]:
    """The records whose preview or sheet is gone, or has not the size that their fact names, and whose original is
    in the vault. Raises DurableError."""
    own = (latest.c.log == stores.ledger.log, latest.c.kind == "previewed", latest.c.outcome == "done")
    query = select(latest.c.record, entries.c.envelope, entries.c.body)
    query = query.join(entries, (entries.c.log == latest.c.log) & (entries.c.seq == latest.c.seq)).where(*own)
    with reading(stores.ledger.engine) as connection:
        found = [(row.record, Entry(row.envelope, row.body)) for row in connection.execute(query)]
    return [
        record
        for record, entry in found
        if not _are_there(folder(stores, record), entry.body or {}) and _original(stores, record).exists()
    ]


def _are_there(home: Path, previewed: Object) -> bool:
    """Whether all parts are there that a `previewed` names; one whose body was erased names none."""
    parts = previewed.get("parts")
    sizes = (
        {part["name"]: part["size"] for part in parts if isinstance(part, dict)} if isinstance(parts, list) else {}
    )
    try:
        return all((home / str(name)).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _stage(gives: str, needs: str, work: Callable[[str], Object]) -> Stage:
    return Stage(Work(gives, (needs,), version=derive.VERSION, retry_after_s=RETRY_S), partial(_told, work))


def _told(work: Callable[[str], Object], record: str) -> Said | None:
    """Run a stage's work and say what came of it. A stage that was stopped says nothing: it runs again."""
    try:
        return Said("done", work(record))
    except MediaError as error:
        if error.code == "stopped":
            return None
        return Said("failed", {"reason": dict(error.to_object()), "version": derive.VERSION})


def _probe(stores: Stores, stop: Stop, record: str) -> Object:
    return {**derive.probe_file(_original(stores, record), stop), "version": derive.VERSION}


def _preview(stores: Stores, stop: Stop, record: str) -> Object:
    """Make sheet and preview in a scratch folder, then publish both at once."""
    scratch = stores.folders.scratch / record
    if scratch.exists():
        stores.files.rmtree(scratch)
    scratch.mkdir()
    made = derive.make_previews(_original(stores, record), _probed(stores, record), scratch, stop)
    for left in scratch.iterdir():
        if left not in made.parts.values():
            left.unlink()
    parts: list[Value] = [_part(name, path) for name, path in sorted(made.parts.items())]
    if made.pictures is not None:
        write_durably(stores.files, scratch / PICTURES, canonical.encode(made.pictures.to_body()))
    home = folder(stores, record)
    if home.exists():
        stores.files.rmtree(home)  # of an earlier run whose fact was lost or is void
    publish(stores.files, scratch, home)
    return {"notes": list(made.notes), "parts": parts, "version": derive.VERSION}


def _part(name: str, path: Path) -> Object:
    digests, _ = measure_uncached(path)
    return {
        "leaves_root": digests.leaves_root,
        "name": name,
        "part": PART_NUMBERS[name],
        "sha256": digests.sha256,
        "size": digests.size,
    }


def _fingerprint(stores: Stores, stop: Stop, record: str) -> Object:
    kept = folder(stores, record) / PICTURES
    pictures = None
    if kept.exists():
        body = json.loads(kept.read_bytes())
        digits = body["hashes"]
        pictures = Pictures(body["fps"], tuple(int(digits[at : at + 16], 16) for at in range(0, len(digits), 16)))
    made = derive.fingerprint(_original(stores, record), _probed(stores, record), pictures, stop)
    return {**made, "version": derive.VERSION}


def _original(stores: Stores, record: str) -> Path:
    return vault.folder(stores.folders.vault, record) / vault.ORIGINAL


def _probed(stores: Stores, record: str) -> Object:
    probed = said(stores, record, "probed")
    body = probed.body if probed is not None else None
    if body is None:
        raise MediaError("unreadable", "the probe's fact has no body", "ledger")
    return {key: value for key, value in body.items() if key != "version"}
