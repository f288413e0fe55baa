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

    def incoming(self, record: str) -> Path:
        """The folder in which an object's contents are gathered, made when missing; it survives restarts."""

    def discard(self, record: str) -> None:
        """Drop what was gathered for `record`."""

    def keep(self, record: str, digests: Digests) -> Path:
        """Make the gathered contents an object and return its folder of contents.

        The caller has just re-read `original` past the page cache and found `digests`.
        """

    def find(self, record: str) -> Path | None:
        """The folder of contents of a kept record, or None."""
