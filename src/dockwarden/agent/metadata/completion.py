"""The label stage: completes a record's label from what the registry, the device and people have said."""

from dataclasses import dataclass

from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.metadata.binding import registry_label
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.pipeline import Said
from dockwarden.agent.sealed import seal_of
from dockwarden.agent.stores import Stores, said
from dockwarden.evidence import fields
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import By
from dockwarden.evidence.seals import Seal
from dockwarden.rules.labels import Label, complete, parse_activity, parse_case_number, parse_text


@dataclass(frozen=True)
class Labelling:
    """What the label stage works with."""

    stores: Stores
    registry: Registry
    profiles: dict[str, Profile]


def label_of(stores: Stores, record: str) -> Label | None:
    """The record's newest label; None where nothing has been said yet."""
    body = _body(stores, record)
    return Label.from_object(body) if body is not None else None


def is_secret(stores: Stores, record: str) -> bool | None:
    """Whether a record must not leave the station (article 14); None where nobody has judged it yet."""
    body = _body(stores, record)
    return fields.boolean(body, "secret") if body is not None else None


def label_record(labelling: Labelling, record: str) -> Said | None:
    """The stage: done when case, party and officer are all known, else failed, naming what is missing.

    What a person said is kept; only what is missing is filled in. None where nothing new is known. A secrecy mark is
    never taken back here.
    """
    seal, _ = seal_of(labelling.stores, record)
    profile = labelling.profiles.get(fields.text(seal.device, "profile"))
    named = facts_of(seal.source_name, profile) if profile is not None else None
    marks = fields.array(seal.source, "marks")
    found = registry_label(
        labelling.registry,
        fields.text(seal.device, "key"),
        named.officer_id if named is not None else None,
        fields.optional_text(seal.captured, "start"),
        important="important" in marks or (named is not None and named.important),
    )
    known, marked = label_of(labelling.stores, record), is_secret(labelling.stores, record)
    label = complete(known, found) if known is not None else found
    secret = _is_marked(labelling, seal) or marked is True
    if (label, secret) == (known, marked):
        return None
    return judge(label, secret)


def label_by_person(labelling: Labelling, record: str, given: dict[str, str], person: By) -> Label:
    """Append what a person says of a record; raises MalformedError naming the field that is wrong.

    `given` may hold case, party, officer, officer_id and activity. A person's word replaces an earlier one: both
    stay in the log. A secrecy mark is kept, and one of the device counts though the stage has not come to it yet.
    """
    stores = labelling.stores
    known = label_of(stores, record) or Label()
    label = Label(
        case=parse_case_number(given["case"]) if "case" in given else known.case,
        party=parse_text("party", given["party"]) if "party" in given else known.party,
        officer_id=parse_text("officer_id", given["officer_id"]) if "officer_id" in given else known.officer_id,
        officer_name=parse_text("officer", given["officer"]) if "officer" in given else known.officer_name,
        activity=parse_activity(given["activity"]) if "activity" in given else known.activity,
        important=known.important,
    )
    seal, _ = seal_of(stores, record)
    secret = _is_marked(labelling, seal) or is_secret(stores, record) is True
    what = judge(label, secret)
    stores.ledger.append("labelled", record=record, outcome=what.outcome, by=person, body=what.body)
    return label


def judge(label: Label, secret: bool) -> Said:
    """The fact of a label: done where all that article 15 demands is there."""
    body: Object = {**label.to_object(), "secret": secret}
    return Said("failed" if label.missing else "done", body)


def _is_marked(labelling: Labelling, seal: Seal) -> bool:
    """Whether the device that recorded it is marked with secrecy."""
    binding = labelling.registry.binding(fields.text(seal.device, "key"))
    return binding is not None and binding.secret


def _body(stores: Stores, record: str) -> Object | None:
    labelled = said(stores, record, "labelled")
    return labelled.body if labelled is not None else None
