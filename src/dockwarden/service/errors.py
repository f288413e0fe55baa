"""The one shape of an error that a person or another program sees: {code, what, where, do}."""

from collections.abc import Mapping
from typing import Any


class ServiceError(Exception):
    """Something a caller can act on.

    ``code`` is for programs (lower case words joined by hyphens), ``what`` says what happened, ``where``
    names the file, address or method, ``do`` says what a person should do next. None of them may carry
    personal data: they reach logs and terminals.
    """

    def __init__(self, code: str, what: str, where: str, do: str) -> None:
        super().__init__(code, what, where, do)
        self.code = code
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.do}"

    def to_object(self) -> dict[str, str]:
        """The error as JSON: ``{code, what, where, do}``."""
        return {"code": self.code, "what": self.what, "where": self.where, "do": self.do}

    @classmethod
    def from_object(cls, value: Mapping[str, Any]) -> "ServiceError":
        """Read what `to_object` wrote; a missing or strange part becomes a plain word, never a second error."""
        return cls(
            code=_text(value, "code", "unknown"),
            what=_text(value, "what", "the other side gave an error without a text"),
            where=_text(value, "where", "unknown"),
            do=_text(value, "do", "Look into the log of the service."),
        )


def explained(error: Exception) -> ServiceError | None:
    """An error that says what happened and where, as a ServiceError; None for any other.

    Errors of other packages have the same parts without being of this type: they may not import it.
    """
    if isinstance(error, ServiceError):
        return error
    what, where = getattr(error, "what", None), getattr(error, "where", None)
    if not isinstance(what, str) or not isinstance(where, str):
        return None
    code, do = getattr(error, "code", "malformed"), getattr(error, "do", "Correct it and try again.")
    return ServiceError(str(code), what, where, str(do))


def _text(value: Mapping[str, Any], key: str, otherwise: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) and found else otherwise
