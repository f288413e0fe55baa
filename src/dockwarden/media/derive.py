"""The front of this package: the three things that the agent's media stages do with an original.

They take and give what facts hold (objects without floats, bounded in size) and write derivatives only into a
fresh folder of the caller's, who measures and publishes them. Every failure is a MediaError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockwarden.evidence.canonical import Object
from dockwarden.media import preview, sheet
from dockwarden.media.errors import MediaError
from dockwarden.media.fingerprint import hash_streams
from dockwarden.media.pictures import Pictures
from dockwarden.media.preview import hash_pictures, make_preview
from dockwarden.media.probe import from_body, probe
from dockwarden.media.sandbox import run_forever
from dockwarden.media.sheet import make_sheet

VERSION = 1
"""Grows when what is made here changes: a fact of an older version is made anew."""

_LOCAL = frozenset({"stopped", "no-sandbox", "no-decoder", "unreadable"})


@dataclass(frozen=True)
class Derived:
    """What came of a record: part name (preview.mp4, sheet.jpg) to file, and what is missing, as codes.

    `pictures` are the hashes of the preview's decode, or None where there was no picture to hash.
    """

    parts: dict[str, Path] = field(default_factory=dict)
    pictures: Pictures | None = None
    notes: tuple[str, ...] = ()


def probe_file(original: Path, stop: Callable[[], bool] = run_forever) -> Object:
    """The body of a `probed` fact: `{v, kind, container, duration_ms, bit_rate, creation_time, streams, …}`.

    Raises MediaError; `not-media` where the file is something else.
    """
    return {"v": VERSION, **probe(original, stop).to_body()}


def make_previews(
    original: Path, probed: Mapping[str, object], folder: Path, stop: Callable[[], bool] = run_forever
) -> Derived:
    """Make sheet and preview of what `probe_file` described, in the empty `folder`.

    A photo has a sheet only. Where one of both fails the other is kept and a note `<part>: <code>` says so;
    MediaError where both fail, or where the failure is this machine's and not the file's. Raises
    MalformedError where `probed` is no body of `probe_file`.
    """
    known = from_body(probed)
    parts: dict[str, Path] = {}
    notes: tuple[str, ...] = ()
    hashes: Pictures | None = None
    problem: MediaError | None = None
    try:
        made = make_sheet(original, known, folder, stop)
        parts[sheet.NAME], hashes, notes = made.path, made.pictures, made.notes
    except MediaError as error:
        problem, notes = error, (_note(sheet.NAME, error),)
    if known.kind != "photo":
        try:
            shown = make_preview(original, known, folder, stop)
            parts[preview.NAME], hashes = shown.path, shown.pictures
            notes += shown.notes
        except MediaError as error:
            problem, notes = error, (*notes, _note(preview.NAME, error))
    if not parts and problem is not None:
        raise problem
    return Derived(parts, hashes, notes)


def fingerprint(
    original: Path,
    probed: Mapping[str, object],
    pictures: Pictures | None = None,
    stop: Callable[[], bool] = run_forever,
) -> Object:
    """The body of a `fingerprinted` fact: `{v, streams, pictures, notes}`.

    `pictures` are those of `make_previews`; without them the pictures, if there are any, are decoded here.
    Notes: incomplete-streams (damaged: the hashes cover what could be read), `pictures: <code>`.
    """
    known = from_body(probed)
    streams, clean = hash_streams(original, known, stop)
    notes = [] if clean else ["incomplete-streams"]
    if pictures is None:
        try:
            pictures = hash_pictures(original, known, stop)
        except MediaError as error:
            notes.append(_note("pictures", error))
    return {
        "v": VERSION,
        "streams": [stream.to_body() for stream in streams],
        "pictures": pictures.to_body() if pictures else None,
        "notes": list(notes),
    }


def _note(part: str, error: MediaError) -> str:
    """A note for a failure that lies in the file; one that lies in this machine or moment is raised."""
    if error.code in _LOCAL:
        raise error
    return f"{part}: {error.code}"
