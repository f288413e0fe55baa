"""Questions of the centre. A question may come twice: it is answered each time with what is true then."""

from collections.abc import Callable, Mapping

from dockwarden.evidence.canonical import Object
from dockwarden.wire.messages import Answer, Ask

Answers = Mapping[str, Callable[[], Object]]
"""What can be asked, by the question's word."""


def answer(payload: bytes, answers: Answers, at: str) -> Answer:
    """Answer a question; raises MalformedError where it is none. An unknown word gets an error as its answer."""
    ask = Ask.decode(payload)
    known = answers.get(ask.what)
    if known is None:
        words = ", ".join(sorted(answers))
        refusal: Object = {
            "code": "unknown-question",
            "do": f"Ask one of: {words}.",
            "what": "this station cannot answer that",
            "where": ask.what,
        }
        return Answer(ask.id, at, {"error": refusal})
    return Answer(ask.id, at, known())
