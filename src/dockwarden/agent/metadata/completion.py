"""The label stage: completes a record's label from what the registry, the device and people have said."""

from dataclasses import dataclass

from dockwarden.agent.drivers.profiles import Profile
from dockwarden.agent.metadata.binding import registry_label
from dockwarden.agent.metadata.filenames import facts_of
from dockwarden.agent.metadata.registry import Registry
from dockwarden.agent.metadata.rosters import Given
from dockwarden.agent.metadata.secrecy import tell_gone
from dockwarden.agent.pipeline import Said
from dockwarden.agent.sealed import seal_of
from dockwarden.agent.stores import Stores, said
from dockwarden.evidence import fields
from dockwarden.evidence.canonical import Object
from dockwarden.evidence.facts import By
from dockwarden.rules.labels import Label, complete


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
    """What the log says of a record's secrecy (article 14); None where nobody has judged it yet. Whoever lets
    something leave asks `secrecy.must_stay`."""
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
    stores = labelling.stores
    known, marked = label_of(stores, record), is_secret(stores, record)
    label = complete(known, found) if known is not None else found
    secret = marked is True or labelling.registry.marks().concern(seal, label)
    if (label, secret) == (known, marked):
        return None
    if secret and not marked:
        tell_gone(stores, record)
    return judge(label, secret)


def label_by_person(labelling: Labelling, record: str, given: Given, person: By) -> Label:
    """Append what a person says of a record; nothing where they have just said that. Raises DurableError.

    A person's word replaces an earlier one: both stay in the log. A secrecy mark is kept, and one of the registry
    counts though the stage has not come to it yet.
    """
    stores = labelling.stores
    last = said(stores, record, "labelled")
    known, marked = label_of(stores, record), is_secret(stores, record)
    before = known or Label()
    label = Label(
        case=given.case or before.case,
        party=given.party or before.party,
        officer_id=given.officer_id or before.officer_id,
        officer_name=given.officer_name or before.officer_name,
        activity=given.activity or before.activity,
        important=before.important,
    )
    seal, _ = seal_of(stores, record)
    secret = given.secret or marked is True or labelling.registry.marks().concern(seal, label)
    if last is not None and (label, secret, person) == (known, marked, last.envelope.by):
        return label
    if secret and not marked:
        tell_gone(stores, record)
    what = judge(label, secret)
    stores.ledger.append("labelled", record=record, outcome=what.outcome, by=person, body=what.body)
    return label


def judge(label: Label, secret: bool) -> Said:
    """The fact of a label: done where all that article 15 demands is there."""
    body: Object = {**label.to_object(), "secret": secret}
    return Said("failed" if label.missing else "done", body)


def _body(stores: Stores, record: str) -> Object | None:
    labelled = said(stores, record, "labelled")
    return labelled.body if labelled is not None else None
