"""Fresh receipts: asks the centre to read its copies of records again, now, and waits for its signed word.

A question bears a nonce of its own, so that no receipt of an earlier day answers it.
"""

import threading
import time
from collections.abc import Iterable, Sequence

from dockwarden.evidence import receipts, statements
from dockwarden.evidence.canonical import MalformedError
from dockwarden.evidence.notes import VerifierKey
from dockwarden.wire.messages import Prove, Unproven

AT_ONCE = 32
"""Questions that are open at the centre at once."""
AGAIN_S = 10.0
"""A question that is not answered is put again after so long: any message may be lost."""
PATIENCE_S = 600.0
"""How long, in seconds, to wait for one more answer: a large file takes its time, and so do other stations'."""
_LOOK_S = 0.2


class Proofs:
    """The open questions; `collect` is for the threads of bays, the rest for the sync thread."""

    def __init__(self, centre_key: VerifierKey) -> None:
        self._centre_key = centre_key
        self._changed = threading.Condition()
        self._open: dict[str, Prove] = {}
        self._put: dict[str, float] = {}
        self._answered: dict[str, bytes | Unproven] = {}

    def collect(self, asked: Sequence[Prove], ended: threading.Event) -> dict[str, bytes | Unproven]:
        """Ask, and wait until all is answered, `ended` is set, or nothing has come for PATIENCE_S.

        Returns the receipts that came, by record, and the reason where the centre gives none. Receipts are signed by
        the centre and bear the nonce that was asked with; what they say of the record is for the caller to check.
        """
        nonces = {question.nonce: question.record for question in asked}
        with self._changed:
            self._open.update({question.nonce: question for question in asked})
        try:
            self._wait(nonces, ended)
        finally:
            with self._changed:
                found = {nonces[nonce]: self._answered.pop(nonce) for nonce in nonces if nonce in self._answered}
                self._forget(nonces)
        return found

    def next(self, now: float) -> Prove | None:
        """The next question to put; `now` is monotonic, in seconds."""
        with self._changed:
            for nonce, question in list(self._open.items())[:AT_ONCE]:
                if now - self._put.get(nonce, float("-inf")) >= AGAIN_S:
                    self._put[nonce] = now
                    return question
        return None

    def connected(self) -> None:
        """The link is up (again): put all questions again."""
        with self._changed:
            self._put.clear()

    def on_receipt(self, payload: bytes) -> bool:
        """Take a receipt that bears a nonce; False for one that bears none. Raises MalformedError, SignatureError."""
        if statements.peek("receipt", payload).get("nonce") is None:
            return False
        receipt = receipts.open_receipt(payload, [self._centre_key])
        with self._changed:
            question = self._open.get(receipt.nonce or "")
            if question is None or question.record != receipt.record:
                raise MalformedError("receipt", "answers no question of this session")
            self._answer(question.nonce, payload)
        return True

    def on_unproven(self, payload: bytes) -> None:
        """Take the centre's word that it gives no receipt; raises MalformedError."""
        found = Unproven.decode(payload)
        with self._changed:
            if found.nonce in self._open:
                self._answer(found.nonce, found)

    def _answer(self, nonce: str, answer: bytes | Unproven) -> None:
        self._forget([nonce])
        self._answered[nonce] = answer
        self._changed.notify_all()

    def _forget(self, nonces: Iterable[str]) -> None:
        for nonce in nonces:
            self._open.pop(nonce, None)
            self._put.pop(nonce, None)

    def _wait(self, nonces: dict[str, str], ended: threading.Event) -> None:
        last, count = time.monotonic(), 0
        with self._changed:
            while not ended.is_set() and time.monotonic() - last < PATIENCE_S:
                answered = sum(nonce in self._answered for nonce in nonces)
                if answered == len(nonces):
                    return
                if answered > count:
                    last, count = time.monotonic(), answered
                self._changed.wait(_LOOK_S)
