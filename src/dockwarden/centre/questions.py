"""Questions to stations: kept until they are answered, since the broker's queue is never relied on."""

import os
import threading
from dataclasses import dataclass

from sqlalchemy import Engine, Row, delete, insert, select, update

from dockwarden.centre.tables import asks, statuses
from dockwarden.durable.files import Files
from dockwarden.durable.tables import reading, writing
from dockwarden.evidence import canonical, ids
from dockwarden.evidence.canonical import Object
from dockwarden.service.errors import ServiceError

STATUS = "status"
"""The question whose answer is a station's status."""
MOST_OPEN = 16
"""Different questions that may wait for one station."""
MOST_KEPT = 100
"""Answered questions that are kept of one station, the newest."""


@dataclass(frozen=True)
class KnownStatus:
    """The newest status that a station has given, and when it was true (UTC, by the station's clock)."""

    as_of: str
    body: Object


@dataclass(frozen=True)
class Question:
    """A question to a station; `answered_at` and `answer` are None until it has been answered."""

    id: str
    station: str
    what: str
    asked_at: str
    answered_at: str | None
    answer: Object | None


class Questions:
    """The questions in the centre's database, and who waits for them. Safe for several threads."""

    def __init__(self, engine: Engine, files: Files) -> None:
        self._engine = engine
        self._files = files
        self._news = threading.Condition()
        self._closed = False

    def put(self, station: str, what: str, at: str) -> Question:
        """Ask a station. Where the same question waits for it already, it is that one: one answer serves all.

        Raises ServiceError `too-many-questions`.
        """
        query = select(asks).where(asks.c.station == station, asks.c.answered_at.is_(None))
        with writing(self._engine, self._files) as connection:
            waiting = [_question(row) for row in connection.execute(query)]
            same = next((question for question in waiting if question.what == what), None)
            if same is not None:
                return same
            if len(waiting) >= MOST_OPEN:
                do = "Wait until the station is there and has answered."
                raise ServiceError("too-many-questions", "too many questions wait for it", f"station {station}", do)
            question = Question(ids.new_record_id(os.urandom(16)), station, what, at, None, None)
            connection.execute(insert(asks).values(id=question.id, station=station, what=what, asked_at=at))
        return question

    def open(self, station: str) -> list[Question]:
        """The questions that a station has not answered, oldest first."""
        query = select(asks).where(asks.c.station == station, asks.c.answered_at.is_(None))
        with reading(self._engine) as connection:
            return [_question(row) for row in connection.execute(query.order_by(asks.c.asked_at, asks.c.id))]

    def get(self, question: str) -> Question | None:
        """A question by its id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(asks).where(asks.c.id == question)).one_or_none()
        return None if row is None else _question(row)

    def answered(self, question: Question, at: str, body: Object) -> bool:
        """Keep an answer, once, and the status that it brings; False where there is one already."""
        text = canonical.encode(body).decode()
        with writing(self._engine, self._files) as connection:
            changed = connection.execute(
                update(asks)
                .where(asks.c.id == question.id, asks.c.answered_at.is_(None))
                .values(answered_at=at, body=text)
            )
            if not changed.rowcount:
                return False
            newest = select(asks.c.id).where(asks.c.station == question.station, asks.c.answered_at.is_not(None))
            kept = newest.order_by(asks.c.asked_at.desc(), asks.c.id).limit(MOST_KEPT)
            connection.execute(delete(asks).where(asks.c.id.in_(newest), asks.c.id.not_in(kept)))
            if question.what == STATUS and "error" not in body:
                connection.execute(delete(statuses).where(statuses.c.station == question.station))
                connection.execute(insert(statuses).values(station=question.station, as_of=at, body=text))
        with self._news:
            self._news.notify_all()
        return True

    def wait(self, question: str, seconds: float) -> Question | None:
        """Wait until a question is answered, for so long at most; the question as it is then."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._is_answered(question), seconds)
        return self.get(question)

    def status(self, station: str) -> KnownStatus | None:
        """The newest status of a station."""
        with reading(self._engine) as connection:
            row = connection.execute(select(statuses).where(statuses.c.station == station)).one_or_none()
        return None if row is None else KnownStatus(row.as_of, _object(row.body))

    def close(self) -> None:
        """Nobody waits any longer."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _is_answered(self, question: str) -> bool:
        found = self.get(question)
        return found is None or found.answered_at is not None


def _question(row: Row[tuple[object, ...]]) -> Question:
    answer = _object(row.body) if row.body is not None else None
    return Question(row.id, row.station, row.what, row.asked_at, row.answered_at, answer)


def _object(text: str) -> Object:
    return canonical.decode_object(text.encode(), "catalogue")
