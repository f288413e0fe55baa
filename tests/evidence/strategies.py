"""Hypothesis strategies for values of our formats."""

from hypothesis import strategies as st

from dockwarden.evidence import facts, ids, receipts, seals
from dockwarden.evidence.digests import Digests

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
counts = st.integers(0, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=4)
hashes = st.binary(min_size=32, max_size=32)
hexes = hashes.map(bytes.hex)
records = st.binary(min_size=16, max_size=16).map(ids.new_record_id)
places = st.from_regex(ids.PLACE_NAME, fullmatch=True)
logs = st.from_regex(ids.LOG_ID, fullmatch=True)
moments = st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='milliseconds')}Z")
digests = st.builds(Digests, counts, hexes, hexes, hexes)
instants = st.builds(
    facts.Instant, moments, st.binary(min_size=16, max_size=16).map(bytes.hex), counts, st.booleans()
)
actors = st.builds(
    facts.By, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), st.sampled_from(facts.ACTORS), texts
)
envelopes = st.builds(
    facts.Envelope,
    logs,
    counts,
    instants,
    st.sampled_from(sorted(facts.KINDS)),
    st.sampled_from(facts.OUTCOMES),
    actors,
    hexes,
    st.none() | records,
    st.none() | st.sampled_from(facts.PLACES),
)
names = st.builds(seals.SourceName, texts, st.binary(min_size=1, max_size=300), st.sampled_from(["gbk", "utf-8"]))


@st.composite
def sealings(draw: st.DrawFn) -> seals.Seal:
    """Any seal."""
    return seals.Seal(
        record=draw(records),
        log=draw(logs),
        bay=draw(texts),
        session=draw(records),
        device=draw(objects),
        source={**draw(objects), "name": draw(names).to_object()},
        captured=draw(objects),
        clock=draw(st.none() | objects),
        digests=draw(digests),
        read_back=draw(st.sampled_from(seals.READ_BACKS)),
        sealed_at=draw(moments),
    )


receipt_values = st.builds(
    receipts.Receipt,
    records,
    hexes,
    counts,
    hexes,
    hexes,
    st.sampled_from(facts.PLACES),
    st.from_regex(receipts.GENERATION, fullmatch=True),
    places,
    moments,
    st.none() | texts,
    st.none() | texts,
)
