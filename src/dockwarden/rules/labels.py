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

_CASE = re.compile(r"(?P<prefix>.+?)\[(?P<year>(19|20)\d\d)\]第?0*(?P<number>\d{1,8})号")
_BRACKETS = str.maketrans({"〔": "[", "〕": "]", "(": "[", ")": "]", "【": "[", "】": "]", "［": "[", "］": "]"})


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

    Raises MalformedError where year or number cannot be told. Shapes: 某市监处罚〔2025〕12号 and the like.
    """
    plain = "".join(unicodedata.normalize("NFKC", text).split()).translate(_BRACKETS)
    plain = _drop_outer(plain)
    found = _CASE.fullmatch(plain)
    if not found or len(text) > MAX_TEXT:
        raise MalformedError("case", "is not a case number such as 某市监处罚〔2026〕12号")
    prefix, year, number = found["prefix"], found["year"], found["number"]
    prefix = prefix.replace("[", "(").replace("]", ")")
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
        return tuple(name for name, value in given.items() if value is None)

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
    """Return `label` with the fields that it lacks taken from `other`."""
    return replace(
        label,
        case=label.case or other.case,
        party=label.party or other.party,
        officer_id=label.officer_id or other.officer_id,
        officer_name=label.officer_name or other.officer_name,
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


def _drop_outer(plain: str) -> str:
    """（杭临）市监处罚〔2024〕n号 begins with brackets of its own: keep them as round ones."""
    found = re.fullmatch(r"\[([^\[\]]+)\](.+)", plain)
    return f"({found[1]}){found[2]}" if found and not found[1].isdigit() else plain
