"""Typed fields: every refusal names the field."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import fields, ids
from dockwarden.evidence.canonical import MalformedError
from evidence.strategies import moments, records


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (fields.text, 1),
        (fields.text, "x" * 4097),
        (fields.integer, True),
        (fields.integer, -1),
        (fields.integer, "1"),
        (fields.boolean, 1),
        (fields.boolean, None),
        (fields.digest, "A" * 64),
        (fields.digest, "a" * 63),
        (fields.digest, "a" * 64 + "\n"),
        (fields.obj, []),
        (fields.array, {}),
        (fields.data, "YQ"),
        (fields.data, "YR=="),
        (fields.data, "YQ==\n"),
        (fields.data, "é"),
        (fields.utc, "2026-11-24T08:30:00Z"),
        (fields.utc, "2026-02-30T08:30:00.000Z"),
        (fields.utc, "2026-11-24T24:00:00.000Z"),
        (fields.utc, "2026-11-24T08:30:60.000Z"),
        (fields.utc, "0000-11-24T08:30:00.000Z"),
        (fields.utc, "2026-11-24T08:30:00.000Z\n"),
        (fields.utc, "２０２６-11-24T08:30:00.000Z"),
        (fields.utc, "2026-11-24T08:30:00.٠٠٠Z"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:30],
)
def test_a_field_of_another_type_is_refused_by_its_name(read: Callable[..., object], value: object) -> None:
    with pytest.raises(MalformedError) as caught:
        read({"field": value}, "field")
    assert caught.value.where == "field"
    with pytest.raises(MalformedError):
        read({}, "field")


@given(moments)
def test_every_moment_of_ours_is_one(moment: str) -> None:
    assert fields.utc({"at": moment}, "at") == moment


@given(st.binary(max_size=40))
def test_bytes_come_back_from_base64(value: bytes) -> None:
    assert fields.data({"x": fields.base64_text(value)}, "x") == value


def test_a_limit_goes_with_a_pattern() -> None:
    assert fields.matching({"x": "a" * 5000}, "x", re.compile("a+"), 5000) == "a" * 5000
    with pytest.raises(MalformedError):
        fields.matching({"x": "a" * 5001}, "x", re.compile("a+"), 5000)


def test_what_is_printed_must_be_there_just_so_and_more_may_be() -> None:
    fields.printed_back({"a": 1, "later": 2}, {"a": 1})
    for other in ({}, {"a": 2}, {"a": None}):
        with pytest.raises(MalformedError):
            fields.printed_back(other, {"a": 1})


@pytest.mark.parametrize("version", [0, 2, True, "1", None])
def test_an_unknown_version_is_refused(version: object) -> None:
    with pytest.raises(MalformedError):
        fields.version({"v": version})


@given(st.binary(min_size=16, max_size=16))
def test_a_record_id_is_its_sixteen_bytes(raw: bytes) -> None:
    assert ids.record_bytes(ids.new_record_id(raw)) == raw


@given(records, st.integers(0, 25), st.characters(max_codepoint=127))
def test_a_bent_record_id_is_refused_or_another_one(record: str, place: int, letter: str) -> None:
    bent = record[:place] + letter + record[place + 1 :]
    try:
        raw = ids.record_bytes(bent)
    except MalformedError:
        return
    assert ids.new_record_id(raw) == bent


def test_ids_have_one_form() -> None:
    for wrong in ("", "a" * 25, "a" * 27, "a" * 25 + "b", "A" * 26, "a" * 26 + "\n"):
        with pytest.raises(MalformedError):
            ids.record_bytes(wrong)
    for draw in (ids.new_record_id, ids.new_generation):
        with pytest.raises(ValueError):
            draw(b"four")
    assert ids.log_id("station-1", ids.new_generation(b"\x00" * 5)) == "station-1.aaaaaaaa"
    with pytest.raises(MalformedError):
        ids.log_id("Station", "aaaaaaaa")
