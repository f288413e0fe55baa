"""Whose fault it is: the type says it (as in h11)."""


class WireError(Exception):
    """Base of both. `code` is for programs, `what` and `where` for people, `do` says what to do next.

    None of them holds personal data: they reach logs and terminals.
    """

    def __init__(self, code: str, what: str, where: str, do: str) -> None:
        super().__init__(code, what, where, do)
        self.code = code
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.do}"


class LocalError(WireError):
    """This side used the wire wrongly, or its own bytes are not what it sealed: ours to mend."""

    def __init__(
        self, code: str, what: str, where: str, do: str = "This is a defect of this side: report it."
    ) -> None:
        super().__init__(code, what, where, do)


class RemoteError(WireError):
    """The peer broke the protocol. Nothing of what it said was taken; this side goes on."""

    def __init__(self, code: str, what: str, where: str, do: str = "Look into the log of the other side.") -> None:
        super().__init__(code, what, where, do)
