"""A device's listing, read once: each source with what its name says and what it is beside a recording."""

from collections.abc import Iterable
from dataclasses import dataclass

from dockwarden.agent.drivers.naming import SidecarKind
from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.drivers.source import SourceInfo
from dockwarden.agent.metadata.filenames import Named, NameFacts, take_apart


@dataclass(frozen=True, slots=True)
class Listed:
    """A source, its name taken apart, and what it is beside a recording (None: a file of its own)."""

    source: SourceInfo
    named: Named
    kind: SidecarKind | None

    @property
    def facts(self) -> NameFacts:
        """What the name says."""
        return self.named.facts

    @property
    def folder(self) -> str:
        """The path of the folder it lies in."""
        return self.source.name.text.rpartition("/")[0]

    @property
    def ending(self) -> str:
        """The name's ending in small letters, without its point; empty where there is none."""
        base = self.source.name.text.rpartition("/")[2]
        return base.rpartition(".")[2].casefold() if "." in base else ""


def read_listing(sources: Iterable[SourceInfo], profile: Profile) -> list[Listed]:
    """Take the names of all sources apart by the profile; never raises."""
    return [
        Listed(source, take_apart(source.name, profile), profile.sidecar_kind(source.name.text)) for source in sources
    ]
