"""The one error of this package, and what restic's exit codes and words mean."""

import re
from collections.abc import Iterable

_LONGEST = 300
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_RETRY = "returned error, retrying after"

_DO: dict[str, str] = {
    "no-restic": "Install restic and util-linux, or correct the program's path.",
    "no-settings": "Check the repository file and the password file: both must be there and readable by the service.",
    "no-repository": "Check the address and that the server's disk is mounted. If the repository is gone for good, "
    "let a new one be made: everything is then backed up again.",
    "wrong-password": "Put the right password into the password file; where it is right, look whether the repository "
    "is still there as it was.",
    "locked": "Another restic process works on this repository; wait until it ends, or see where it hangs.",
    "unreachable": "Check the network and the off-site server; the next run tries again.",
    "refused": "Check user, password and path in the repository file, and the server's rights.",
    "server-failed": "See the off-site server's log: most often its disk is full. The next run tries again.",
    "damaged": "Look at the off-site disk, then repair the repository at the server, or begin a new one.",
    "disk-full": "Free space, or give the disk that is named more room.",
    "not-found": "The repository has no such snapshot or path; look whether it is the one that is meant.",
    "not-empty": "Name an empty folder: a drill never mixes with what is there.",
    "unsafe": "Look at what lies in that place: restic gave something that we never put there.",
    "timeout": "Nothing moved for too long; check the network and the off-site server.",
    "stopped": "It is tried again at the next run.",
    "failed": "See restic's words; the next run tries again.",
}

# By the newest restic's exit codes, then by words. The first line that fits wins: what stands further down also
# appears in texts of what stands above.
_BY_EXIT = {10: "no-repository", 11: "locked", 12: "wrong-password"}
_BY_WORDS = (
    (r"setpriv: failed to execute", "no-restic", "restic is not installed"),
    (r"(?i)no space left on device|disk quota exceeded|insufficient storage", "disk-full", "a disk is full"),
    (
        r"connection refused|connection reset|no such host|network is unreachable|no route to host|i/o timeout"
        r"|server misbehaving|dial tcp|tls: |x509: |broken pipe|context deadline exceeded|\b50[234] [BGS]",
        "unreachable",
        "the off-site server cannot be reached",
    ),
    (r"\b500 I", "server-failed", "the off-site server could not store or give what was asked"),
    (r"\b40[13] [FU]", "refused", "the off-site server refuses what was asked"),
    (
        r"wrong password or no key found",
        "wrong-password",
        "the password does not open the repository, or its keys are gone",
    ),
    (r"already locked", "locked", "the repository is locked"),
    (r"no matching ID|not found in snapshot", "not-found", "the snapshot, or the path in it, is not there"),
    (
        r"ciphertext verification failed|invalid data returned|does not match|invalid hash|not found in repository"
        r"|unexpected EOF|is damaged|contains errors|There were \d+ errors|<data/\w+> does not exist|invalid header",
        "damaged",
        "the repository is damaged",
    ),
    (
        r"Is there a repository at|config(/|file)?> does not exist|repository does not exist",
        "no-repository",
        "there is no repository",
    ),
)
_WHAT = {code: what for _, code, what in _BY_WORDS}


class OffsiteError(Exception):
    """Why nothing came of it. `code` is for programs, `what` says what happened, `where` names the repository or
    the path (never its credentials), `do` what a person does next."""

    def __init__(self, code: str, what: str, where: str) -> None:
        super().__init__(code, what, where)
        self.code = code
        self.what = what
        self.where = where
        self.do = _DO[code]

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.do}"

    def to_object(self) -> dict[str, str]:
        """The error as JSON: `{code, what, where, do}`."""
        return {"code": self.code, "what": self.what, "where": self.where, "do": self.do}


def explain(exit_code: int, words: Iterable[str], where: str) -> OffsiteError:
    """The error that restic's exit code and its lines on stderr tell."""
    lines = [line.strip() for line in words if line.strip()]
    # What restic says of an attempt that it repeats counts only where it says nothing else.
    final = [line for line in lines if _RETRY not in line] or lines
    code = _BY_EXIT.get(exit_code) or _code(final) or _code(lines) or "failed"
    if code == "refused" and _code(lines) == "server-failed":
        # What it failed to store is there in part, and append-only: that is why it refuses the second try.
        code, final = "server-failed", lines
    detail = next((line for line in final if _code([line]) == code), final[0] if final else f"exit code {exit_code}")
    what = _WHAT.get(code, "restic failed")
    return OffsiteError(code, f"{what}: {without_credentials(detail)[:_LONGEST]}", where)


def without_credentials(text: str) -> str:
    """`text` with what stands between `//` and `@` of an address left out."""
    return _CREDENTIALS.sub("//", text)


def _code(lines: list[str]) -> str | None:
    text = "\n".join(lines)
    return next((code for pattern, code, _ in _BY_WORDS if re.search(pattern, text)), None)
