"""Mutated profiles: each is taken or refused with file and line, the others go on, and no name keeps it busy."""

import re
import tempfile
from pathlib import Path

from dockwarden.agent.drivers import profiles
from dockwarden.agent.drivers.naming import CameraLog
from dockwarden.agent.drivers.profiles import Loaded, Profile, ProfileError, Seen
from dockwarden.agent.drivers.source import SourceInfo, decode_name
from dockwarden.agent.metadata.camera_logs import read_log
from dockwarden.agent.metadata.filenames import take_apart
from dockwarden.agent.metadata.noticing import notice
from dockwarden.simulators import hostile
from dockwarden.simulators.mutating import Chance, case, mutated

EXAMPLES = {path.stem: path.read_bytes() for path in sorted(profiles.BUILT_IN.glob("*.toml"))}
GOOD = 'name = "good"\nfamily = "mass-storage"\nkind = "camera"\n[[match]]\nlabel = "GOOD"\n'

_VALUES = (
    "0",
    "-1",
    "9" * 18,
    "9" * 5000,
    "1e999",
    "nan",
    "true",
    "[]",
    "{}",
    "[" * 300,
    '""',
    '"%Y%Y%m%d"',
    '"%Y%m%d%%"',
    '"\\u0000"',
    "1979-05-27T07:32:00Z",
    "{" + ".".join("a" * 200) + " = 1}",
    "'(([A-Za-z0-9_./-]+)+)+!'",
    "'(.*)*x'",
    "'(a|a|.)*b'",
    "'" + ".*" * 300 + "x'",
    "'(.{0,1000}){1,1000}x'",
    "'(?P<date>.*)(?P<time>.*)(?P<seq>.*)(?P<cam>.*)x'",
    "'(?P<seq>(?P<part>(?P<dir>.+)+)+)+x'",
    "'(?i)((((((((((.*)*)*)*)*)*)*)*)*)*)*x'",
    "'(?:x{1000}){1000}'",
    "'[^/]+'",
    "'(?<=x)y'",
    "'\\p{Han}*'",
)
"""What stands in the place of a value: absurd numbers, other types, forms of a time, and patterns that keep a matcher
busy that tries every way."""

NAMES = (
    *hostile.NAMES,
    b"A" * 255,
    b"DCIM/" + b"A" * 254 + b"!",
    b"a/" * 2000 + b"!",
    b"20261124" * 30 + b".mp4",
    b"_".join([b"AB12"] * 50) + b".mp4",
    b"DCAM_" + b"A_" * 120 + b"x.mp4",
    ("\u91cd" * 85).encode(),
    b"9" * 255,
    b" " * 255,
)
_LINES = b"\n".join([*NAMES, b"2026-11-24 09:15:00 REC START " + b"A" * 400, b"POWER ON " * 50])


def play(seed: int, number: int) -> str:
    """Put a mutated profile beside a good one, load both, and use what was taken. Returns the outcome."""
    chance = case(seed, "profiles", number)
    text = _mutated(chance.choice(sorted(EXAMPLES)), chance)
    with tempfile.TemporaryDirectory(prefix="profiles-") as place:
        folder = Path(place)
        (folder / "good.toml").write_text(GOOD, "utf-8")
        (folder / "x.toml").write_bytes(text)
        return judged(profiles.load([folder]))


def judged(loaded: Loaded) -> str:
    """The outcome of loading the good profile and the mutated `x.toml`. Raises AssertionError where it is wrong."""
    assert "good" in {each.name for each in loaded.profiles}, "the good one was lost"
    for error in loaded.refused:
        assert isinstance(error, ProfileError)
        assert re.match(r"x\.toml(:[0-9]+)?: ", error.what), error.what
        assert error.do and error.where.endswith("x.toml"), error
    for profile in loaded.profiles:
        use(profile)
    profile_error = [error.what for error in loaded.refused]
    return "refused" if profile_error else "taken"


def use(profile: Profile) -> None:
    """What a station does with a profile, for names that nobody would give."""
    sources = [SourceInfo("card", decode_name(raw), 7, 1_795_000_000) for raw in NAMES]
    for source in sources:
        take_apart(source.name, profile)
        profile.sidecar_kind(source.name.text)
        seen = Seen(source.name.text, source.name.text, source.name.text, frozenset({source.name.text}), "4255:0001")
        for match in profile.match:
            match.fits(seen)
            match.admits(seen)
    notice(sources, profile)
    log: CameraLog | None = profile.log
    if log is not None:
        read_log(_LINES, log, "LOG/20261124.txt")


def _mutated(name: str, chance: Chance) -> bytes:
    """A profile of which bytes or lines or values are wrong; most stay TOML."""
    text = EXAMPLES[name]
    way = chance.randrange(4)
    if way == 0:
        return mutated(text, chance, tuple(EXAMPLES.values()))
    lines = text.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        if way == 1:
            lines[at] = mutated(lines[at], chance, lines)
        elif way == 2:
            other = EXAMPLES[chance.choice(sorted(EXAMPLES))].split(b"\n")
            lines[at : at + chance.randint(0, 2)] = other[chance.randrange(len(other)) :][: chance.randint(1, 5)]
        else:
            lines[at] = _other_value(lines[at], chance)
    return b"\n".join(lines)


def _other_value(line: bytes, chance: Chance) -> bytes:
    key, sign, _ = line.partition(b"=")
    return key + b"= " + chance.choice(_VALUES).encode() if sign else line
