"""A profile to start from, for a device that no profile fits. Pure: what was seen and the names of its files in, TOML
out.

Names of people can be in anything that a person can set: file names, folders, volume labels. So of these only shapes
are written: figures become `[0-9]{n}`, letters `[A-Z]+`, unless they are a word that devices use.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dockwarden.agent.drivers.profiles import Seen
from dockwarden.agent.drivers.shapes import Shape, Token, dated, shape_of, spelled

MOST_SHAPES = 8
"""How many name patterns are suggested; the rest is counted."""

_AUDIO = re.compile("mp3|wav|wma|m4a|aac|amr|ogg|flac|dvf|msv|ds2|dss")
_VIDEO = re.compile("mp4|mov|avi|mkv|ts|mts|m2ts|3gp")
_OTHER = re.compile("jpg|jpeg|png|heic|txt|log|gpx|nmea|csv|json|srt|ass|thm|dat|bin")
_HOLDS = {"LOG": "log", "LOGS": "log", "GPS": "position", "TRACK": "position"}
_BARE = re.compile("[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class _Named:
    """Files whose names have one shape: their stems as tokens, and the endings that occur."""

    stems: tuple[tuple[Token, ...], ...]
    endings: tuple[str, ...]


def suggest(seen: Seen, names: Iterable[str]) -> str:
    """A profile in TOML that `profiles.parse` takes and that fits this device; to be read and corrected by a person.

    `names` are paths below the volumes' roots, as text.
    """
    paths = list(names)
    return "\n".join([*_head(seen, paths), *_match(seen), *_layout(seen, paths), *_names(paths)]) + "\n"


def _head(seen: Seen, paths: Sequence[str]) -> Iterator[str]:
    slug = re.sub("[^a-z0-9]+", "-", (seen.product or "device").lower()).strip("-")[:24].strip("-")
    endings = [path.rpartition(".")[2].lower() for path in paths]
    audio, video = (sum(kind.fullmatch(each) is not None for each in endings) for kind in (_AUDIO, _VIDEO))
    yield "# A profile to start from, made of one device. Check every line; docs/operating/profiles.md has all keys."
    yield f"name = {_text('new-' + (slug or 'device'))}"
    yield 'family = "mass-storage"'
    yield f"kind = {_text('recorder' if audio > video else 'camera')}"
    yield "zone_minutes = 480 # what its clock is ahead of UTC; take the line away where nobody can know"


def _match(seen: Seen) -> Iterator[str]:
    yield ""
    yield "[[match]]"
    said = {"usb": seen.usb, "vendor": seen.vendor, "product": seen.product}
    given = {key: re.escape(text) for key, text in said.items() if text}
    folder = _folder(seen.folders)
    if given:
        yield from (f"{key} = {_text(pattern)}" for key, pattern in given.items())
        if folder is not None:
            yield "# In a reader any card looks like that. For cards, match by what is on them instead:"
            yield f"# folder = {_text(folder)}"
    elif folder is not None:
        yield f"folder = {_text(folder)}"
    elif seen.label:
        yield f"label = {_text(spelled(shape_of(seen.label)))}"
    else:
        yield "# It says nothing of itself: this fits every other device that says nothing, too."
        yield "vendor = ''"
        yield "product = ''"


def _folder(folders: Iterable[str]) -> str | None:
    """The shape of the folders that tell most: deep ones, many of a kind."""
    shapes = Counter(spelled(shape_of(folder)) for folder in folders)
    return max(shapes, key=lambda shape: (shape.count("/"), shapes[shape], shape), default=None)


def _layout(seen: Seen, paths: Sequence[str]) -> Iterator[str]:
    tops = {folder.partition("/")[0] for folder in seen.folders}
    tops |= {path.partition("/")[0] for path in paths if "/" in path}
    known = sorted(top for top in tops if _BARE.fullmatch(top) and not re.search("[0-9]", top) and _is_word(top))
    if known:
        yield ""
        yield "[layout]"
        yield from (f"{top} = {_text(_HOLDS.get(top.upper(), 'media'))}" for top in known)
    if len(known) < len(tops):
        yield f"# Folders at the top that are not named here (by a person, perhaps): {len(tops) - len(known)}"


def _is_word(top: str) -> bool:
    return all(token.kind != "letters" for token in shape_of(top))


def _names(paths: Sequence[str]) -> Iterator[str]:
    shapes = _shapes(paths)
    for shape in sorted(shapes, key=lambda shape: -len(shapes[shape].stems))[:MOST_SHAPES]:
        named = shapes[shape]
        pattern, form = dated(named.stems)
        yield ""
        yield f"[[names]] # files of this shape: {len(named.stems)}"
        yield f"name = {_text(f'(?i){pattern}{_ending(named.endings)}')}"
        if form is not None:
            yield f"when = {_text(form)}"
        if "(?P<seq>" in pattern:
            yield '# counts = "folder" # or "volume", where a missing number tells of a missing file'
    if len(shapes) > MOST_SHAPES:
        yield f"# Names of other shapes: {len(shapes) - MOST_SHAPES} more."


def _shapes(paths: Sequence[str]) -> dict[Shape, _Named]:
    stems: dict[Shape, list[tuple[Token, ...]]] = defaultdict(list)
    endings: dict[Shape, dict[str, None]] = defaultdict(dict)
    for path in paths:
        base = path.rpartition("/")[2]
        stem, point, ending = base.rpartition(".")
        if not re.fullmatch("[A-Za-z0-9]{1,4}", ending) or not stem:
            stem, point, ending = base, "", ""
        tokens = shape_of(stem)
        shape = (*(token.shape for token in tokens), point)
        stems[shape].append(tokens)
        endings[shape][ending.lower()] = None
    return {shape: _Named(tuple(stems[shape]), tuple(endings[shape])) for shape in stems}


def _ending(endings: Sequence[str]) -> str:
    """A pattern of endings; one that no device uses is told by its length only."""
    known = {each: any(kind.fullmatch(each) for kind in (_AUDIO, _VIDEO, _OTHER)) for each in endings if each}
    patterns = sorted({each if known[each] else f"[A-Z0-9]{{{len(each)}}}" for each in known})
    return rf"\.({'|'.join(patterns)})" if patterns else ""


def _text(text: str) -> str:
    """A TOML string: literal where that can be, so that patterns stay legible."""
    if "'" not in text and text.isprintable():
        return f"'{text}'" if "\\" in text or '"' in text else f'"{text}"'
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
