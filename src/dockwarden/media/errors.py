"""The one error of this package: {code, what, where, do}, free of personal data."""

from typing import Literal

Code = Literal[
    "not-media",  # nothing that ffmpeg recognises with confidence
    "broken",  # media, but what was asked for could not be made of it
    "unreadable",  # the file itself cannot be opened, or is no regular file
    "timeout",  # took longer than its limit of wall-clock or processor time
    "too-big",  # wanted more memory or output than its limit
    "stopped",  # the caller asked to stop
    "no-sandbox",  # this machine cannot confine a decoder, so nothing is decoded
    "no-decoder",  # ffmpeg or ffprobe is not installed
]

_DO: dict[str, str] = {
    "not-media": "Nothing to do: the original is kept as evidence without preview.",
    "broken": "The original is kept as it is; look at it with a forensic player if its content matters.",
    "unreadable": "Check the disk and the rights of the file.",
    "timeout": "It is tried again later; a larger limit or an idle machine may help.",
    "too-big": "The original is kept as it is; look at it with a forensic player if its content matters.",
    "stopped": "It is tried again after the next start.",
    "no-sandbox": "Install bubblewrap, util-linux and libseccomp2, and allow user namespaces.",
    "no-decoder": "Install ffmpeg.",
}

PERMANENT: frozenset[str] = frozenset({"not-media", "broken", "too-big"})
"""Codes that lie in the file: the same version of this package will fail again on the same bytes."""


class MediaError(Exception):
    """Why nothing came of a file.

    `code` is for programs, `what` says what happened, `where` names the step, `do` what a person does next.
    None of them holds a file name or anything else that the footage or its owner chose.
    """

    def __init__(self, code: Code, what: str, where: str) -> None:
        super().__init__(code, what, where)
        self.code: Code = code
        self.what = what
        self.where = where
        self.do = _DO[code]

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.do}"

    @property
    def permanent(self) -> bool:
        """True where trying again cannot help until the program changes."""
        return self.code in PERMANENT

    def to_object(self) -> dict[str, str]:
        """The error as JSON: `{code, what, where, do}`."""
        return {"code": self.code, "what": self.what, "where": self.where, "do": self.do}
