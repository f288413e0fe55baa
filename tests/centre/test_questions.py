"""Questions are kept until they are answered, answered once, and bounded whatever is asked how often."""

import threading

import pytest
from tests.centre.centre_samples import T0, record_id
from tests.centre.desk import Talk

from dockwarden.centre.questions import MOST_KEPT, MOST_OPEN
from dockwarden.evidence.canonical import MalformedError
from dockwarden.service.errors import ServiceError
from dockwarden.wire.errors import RemoteError
from dockwarden.wire.messages import Answer, Ask

LATER = "2026-11-24T11:00:00.000Z"


def test_the_same_question_waits_once(talk: Talk) -> None:
    questions = talk.desk.questions
    first = questions.put("st-01", "status", T0)
    assert questions.put("st-01", "status", LATER) == first
    assert questions.put("st-02", "status", LATER) != first
    assert [question.id for question in questions.open("st-01")] == [first.id]


def test_not_too_many_may_wait_for_one_station(talk: Talk) -> None:
    questions = talk.desk.questions
    for number in range(MOST_OPEN):
        questions.put("st-01", "a" * (number + 1), T0)
    with pytest.raises(ServiceError) as caught:
        questions.put("st-01", "one-more", T0)
    assert caught.value.code == "too-many-questions"
    questions.put("st-02", "status", T0)


def test_an_answer_counts_once_and_brings_the_status(talk: Talk) -> None:
    questions = talk.desk.questions
    question = questions.put("st-01", "status", T0)
    talk.line.on_answer(Answer(question.id, T0, {"n": 1}).encode())
    talk.line.on_answer(Answer(question.id, LATER, {"n": 2}).encode())
    found = questions.get(question.id)
    assert found is not None and (found.answer, found.answered_at) == ({"n": 1}, T0)
    status = questions.status("st-01")
    assert status is not None and (status.as_of, status.body) == (T0, {"n": 1})
    assert questions.open("st-01") == []


def test_only_an_answer_about_the_status_is_one(talk: Talk) -> None:
    questions = talk.desk.questions
    for what, body in (("records", {"n": 1}), ("status", {"error": {"code": "x"}})):
        question = questions.put("st-01", what, T0)
        talk.line.on_answer(Answer(question.id, T0, body).encode())  # type: ignore[arg-type]  # an object
    assert questions.status("st-01") is None


def test_an_answer_that_nobody_asked_this_station_for_is_refused(talk: Talk) -> None:
    other = talk.desk.questions.put("st-02", "status", T0)
    for wrong in (other.id, record_id("nobody's")):
        with pytest.raises(RemoteError, match="nobody asked"):
            talk.line.on_answer(Answer(wrong, T0, {}).encode())
    with pytest.raises(MalformedError):
        talk.line.on_answer(b"{}")
    assert talk.desk.questions.open("st-02") == [other]
    assert talk.desk.questions.status("st-02") is None


def test_answered_questions_do_not_pile_up(talk: Talk) -> None:
    questions = talk.desk.questions
    made = []
    for number in range(MOST_KEPT + 5):
        question = questions.put("st-01", "status", f"2026-11-24T08:00:00.{number:03}Z")
        made.append(question.id)
        talk.line.on_answer(Answer(question.id, T0, {"n": number}).encode())
    waiting = questions.put("st-01", "status", "2026-11-24T07:00:00.000Z")
    assert [questions.get(question) is not None for question in made] == [False] * 5 + [True] * MOST_KEPT
    assert questions.open("st-01") == [waiting]


def test_who_waits_is_woken_by_the_answer_and_by_the_end(talk: Talk) -> None:
    questions = talk.desk.questions
    question = questions.put("st-01", "status", T0)
    found: list[object] = []
    waiting = [threading.Thread(target=lambda: found.append(questions.wait(question.id, 60.0))) for _ in range(2)]
    for thread in waiting:
        thread.start()
    talk.line.on_answer(Answer(question.id, T0, {"n": 1}).encode())
    for thread in waiting:
        thread.join()
    assert [getattr(each, "answer", None) for each in found] == [{"n": 1}] * 2
    open_one = questions.put("st-01", "status", T0)
    thread = threading.Thread(target=lambda: found.append(questions.wait(open_one.id, 60.0)))
    thread.start()
    questions.close()
    thread.join()
    assert questions.wait(open_one.id, 60.0) == open_one
    assert questions.wait(open_one.id, 0.0) == open_one


def test_open_questions_are_asked_when_asked_for(talk: Talk) -> None:
    first = talk.desk.questions.put("st-01", "status", T0)
    second = talk.desk.questions.put("st-01", "records", LATER)
    talk.line.ask_again()
    assert [Ask.decode(payload).id for payload in talk.take("ask")] == [first.id, second.id]
