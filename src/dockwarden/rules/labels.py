"""Labels of a record (article 15): case number 案号, party 当事人, officer 承办人."""

import re
import unicodedata
from dataclasses import dataclass, replace

from dockwarden.evidence import fields
from dockwarden.evidence.canonical import MalformedError, Object

MAX_TEXT = 200

ACTIVITIES = (
    "行政许可",
    "行政确认",
    "行政处罚",
    "行政强制",
    "行政裁决",
    "产品质量监督抽查检验",
    "行政检查",
    "其他",
)
"""The eight activities of article 5."""

_CASE = re.compile(r"(?P<prefix>.+?)\[(?P<year>(19|20)[0-9]{2})\]第?0*(?P<number>[1-9][0-9]{0,7})[号號]")
_BRACKETS = str.maketrans({"〔": "[", "〕": "]", "(": "[", ")": "]", "【": "[", "】": "]", "〖": "[", "〗": "]"})
_ROUNDS = 4


@dataclass(frozen=True)
class CaseNumber:
    """A case number as typed, its normal form with 〔〕, and the key that finds it whatever way it was typed."""

    text: str
    normal: str
    key: str

    def to_object(self) -> Object:
        """The case number as it stands in a fact's body."""
        return {"key": self.key, "normal": self.normal, "text": self.text}


def parse_case_number(text: str) -> CaseNumber:
    """Read a case number loosely: any brackets, full or half width, optional 第, spaces, leading zeros.

    Raises MalformedError where year or number cannot be told. Shapes: 某市监处罚〔2025〕12号 and the like. Letters
    that cannot be seen do not count. Reading the normal form gives the same normal form and key.
    """
    found = _CASE.fullmatch(_drop_outer(_plain(text).translate(_BRACKETS)))
    prefix = found["prefix"].replace("[", "(").replace("]", ")") if found else ""
    if not found or not prefix.removesuffix("字"):
        raise _not_a_case()
    year, number = found["year"], found["number"]
    normal = f"{prefix}〔{year}〕{number}号"
    return CaseNumber(text, normal, f"{prefix.removesuffix('字')}/{year}/{number}")


@dataclass(frozen=True)
class Label:
    """What is known of a record's label. Each field is None until someone or something gives it.

    `officer_id` is the officer's number, `officer_name` 承办人姓名, `mark` 重点 by the device or a person.
    """

    case: CaseNumber | None = None
    party: str | None = None
    officer_id: str | None = None
    officer_name: str | None = None
    activity: str | None = None
    important: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of the three labels that article 15 demands are not there yet."""
        given = {"case": self.case, "party": self.party, "officer": self.officer_name}
        return tuple(name for name, value in given.items() if not value)

    def to_object(self) -> Object:
        """The label as it stands in a `labelled` fact's body."""
        officer: Object | None = None
        if self.officer_id is not None or self.officer_name is not None:
            officer = {"id": self.officer_id, "name": self.officer_name}
        return {
            "activity": self.activity,
            "case": self.case.to_object() if self.case else None,
            "important": self.important,
            "missing": list(self.missing),
            "officer": officer,
            "party": self.party,
        }

    @staticmethod
    def from_object(source: Object) -> "Label":
        """Read a label from a `labelled` fact's body; raises MalformedError."""
        case = fields.obj(source, "case") if source.get("case") is not None else None
        officer: Object = fields.obj(source, "officer") if source.get("officer") is not None else {}
        return Label(
            case=CaseNumber(*(fields.text(case, key) for key in ("text", "normal", "key"))) if case else None,
            party=fields.optional_text(source, "party"),
            officer_id=fields.optional_text(officer, "id"),
            officer_name=fields.optional_text(officer, "name"),
            activity=fields.optional_text(source, "activity"),
            important=fields.boolean(source, "important"),
        )


def complete(label: Label, other: Label) -> Label:
    """Return `label` with the fields that it lacks taken from `other`.

    Number and name of an officer belong together: one is not filled in from what is said of somebody else.
    """
    same = _agree(label.officer_id, other.officer_id) and _agree(label.officer_name, other.officer_name)
    return replace(
        label,
        case=label.case or other.case,
        party=label.party or other.party,
        officer_id=label.officer_id or (other.officer_id if same else None),
        officer_name=label.officer_name or (other.officer_name if same else None),
        activity=label.activity or other.activity,
        important=label.important or other.important,
    )


def parse_text(where: str, text: str) -> str:
    """Read a party's or officer's name: trimmed, one line, 1 to MAX_TEXT characters; raises MalformedError."""
    trimmed = text.strip()
    if not 0 < len(trimmed) <= MAX_TEXT or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in trimmed):
        raise MalformedError(where, f"is not one line of 1 to {MAX_TEXT} characters")
    return trimmed


def parse_activity(text: str) -> str:
    """Read one of the eight activities; raises MalformedError."""
    if text not in ACTIVITIES:
        raise MalformedError("activity", f"is none of {' '.join(ACTIVITIES)}")
    return text


def _agree(one: str | None, other: str | None) -> bool:
    return not one or not other or one == other


def _plain(text: str) -> str:
    """The letters that count: compatibility forms (full width and the like) resolved, no spaces, none that is unseen.

    What is left out can bring together what then is one letter, so this is done until nothing changes.
    """
    for _ in range(_ROUNDS):
        if len(text) > MAX_TEXT:
            break
        seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
        plain = unicodedata.normalize("NFKC", "".join(seen.split()))
        if plain == text and not any(unicodedata.category(letter)[0] == "C" for letter in plain):
            return plain
        text = plain
    raise _not_a_case()


def _not_a_case() -> MalformedError:
    return MalformedError("case", "is not a case number such as 某市监处罚〔2026〕12号")


def _drop_outer(plain: str) -> str:
    """（杭临）市监处罚〔2024〕n号 begins with brackets of its own: keep them as round ones."""
    found = re.fullmatch(r"\[([^\[\]]+)\](.+)", plain)
    return f"({found[1]}){found[2]}" if found and not found[1].isdigit() else plain
