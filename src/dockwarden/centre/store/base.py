"""What the centre needs of a store of originals, whatever keeps the bytes."""

from pathlib import Path
from typing import Protocol

from dockwarden.evidence.digests import Digests


class Store(Protocol):
    """Write-once objects, one a record: `original`, `leaves`, `seal.note`.

    An object comes in through `incoming` and is there, whole and durable, once `keep` has returned. All raise
    DurableError.
    """

    @property
    def generation(self) -> str:
        """Changes when the store is rebuilt: receipts of another generation prove nothing any more."""

    def incoming(self, home: Path) -> Path:
        """The folder below `home`, made when missing, in which an object's contents are gathered. `home` is of the
        store's file system and for this one object."""

    def keep(self, record: str, digests: Digests, gathered: Path) -> Path:
        """Make the contents that `incoming` gathered an object and return its folder of contents.

        The caller has just re-read `original` past the page cache and found `digests`.
        """

    def settle(self, record: str) -> Path:
        """Make durable an object that a crash left behind in `keep`; returns its folder of contents."""

    def find(self, record: str) -> Path | None:
        """The folder of contents of a kept record, or None."""
