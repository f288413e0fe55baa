"""The report in a case package: what a person reads before anybody checks a signature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from dockwarden.evidence.facts import Entry
from dockwarden.evidence.notes import VerifierKey
from dockwarden.rules.deadlines import Policy
from dockwarden.rules.records import Witnesses, describe

FACT_WORDS = {
    "sealed": "封存 sealed: all bytes copied, read back from the disk, signed",
    "superseded": "取代 superseded: a later reading of the device gave more of this file",
    "confirmed": "确认 confirmed: the device was read a second time and gave the same bytes",
    "labelled": "标注 labelled",
    "probed": "解析 probed",
    "previewed": "预览 previewed",
    "fingerprinted": "指纹 fingerprinted",
    "received": "中心回执 received: the centre re-read all bytes and signed for them",
    "delivered": "预览送达 delivered: the previews are at the centre",
    "stored": "中心入库 stored",
    "backed-up": "异地备份 backed up: all bytes were read back from the off-site copy",
    "drilled": "恢复演练 drilled: restored from off-site and verified",
    "exported": "出具 exported",
    "quarantined": "隔离 quarantined",
}


@dataclass(frozen=True)
class Told:
    """A record of the package: its facts, and whose word counts for it."""

    record: str
    entries: Sequence[Entry]
    witnesses: Witnesses


def render_report(told: Sequence[Told], key: VerifierKey, policy: Policy, made_at: str) -> str:
    """Return the report's HTML, in Chinese and English."""
    environment = Environment(
        loader=PackageLoader("dockwarden.centre", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    views = [_view(each, policy, made_at) for each in told]
    return template.render(records=views, fingerprint=key.fingerprint, centre=key.name, made_at=made_at)


def _view(told: Told, policy: Policy, made_at: str) -> dict[str, Any]:
    described: dict[str, Any] = describe(told.record, told.entries, policy, made_at, told.witnesses)
    lines = [
        {
            "at": entry.envelope.at.utc,
            "words": FACT_WORDS.get(entry.envelope.kind, entry.envelope.kind),
            "outcome": {"done": "完成 done", "failed": "未成 failed", "void": "作废 void"}[entry.envelope.outcome],
            "log": entry.envelope.log,
            "seq": entry.envelope.seq,
        }
        for entry in told.entries
    ]
    return {**described, "lines": lines}
