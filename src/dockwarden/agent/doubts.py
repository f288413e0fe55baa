"""Doubts: what a person should look at and no bay can show, a sentence each."""

import threading


class Doubts:
    """Said once each until the next start; any thread may add. A sentence names records, never files or persons."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}
        self._lock = threading.Lock()

    def say(self, sentence: str) -> None:
        """Add a sentence, unless it has been said."""
        with self._lock:
            self._sentences.setdefault(sentence)

    def sentences(self) -> list[str]:
        """All of them, in the order in which they were said."""
        with self._lock:
            return list(self._sentences)
