"""Canonical JSON: one value, one form."""

import json
import math
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence import canonical
from dockwarden.evidence.canonical import MalformedError
from evidence import verifier
from evidence.strategies import values

# RFC 8785 section 3.2.3: names in the order of their UTF-16 code units.
SORTED_NAMES = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
TRICKY = st.text('{}[]",:\\ \n-0123456789.eE+tfnulae\x00\x1fé\ud800\U0001f600', max_size=24)


@given(values)
def test_what_is_printed_reads_back_and_is_the_same_for_the_verifier(value: canonical.Value) -> None:
    data = canonical.encode(value)
    assert canonical.decode(data) == value
    assert verifier.load().encode(value) == data
    assert json.loads(data) == value


@given(st.binary(max_size=24) | TRICKY.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_what_is_accepted_prints_back_identically_and_only_one_error_escapes(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except MalformedError:
        return
    assert canonical.encode(value) == data


@given(values, st.data())
def test_both_readers_accept_the_same_bytes(value: canonical.Value, data: st.DataObject) -> None:
    whole = bytearray(canonical.encode({"a": value}))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    assert _accepts(canonical.decode_object, whole) == _accepts(lambda given, _: verifier.load().decode(given), whole)


def _accepts(read: object, data: bytearray) -> bool:
    assert callable(read)
    try:
        read(bytes(data), "it")
    except ValueError:
        return False
    return True


def test_names_sort_by_utf_16_code_units() -> None:
    data = canonical.encode(dict.fromkeys(reversed(SORTED_NAMES), 0))
    assert list(json.loads(data)) == SORTED_NAMES


def test_strings_print_as_rfc_8785_says() -> None:
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/\u007f\u2028"
    assert canonical.encode(text) == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\xe2\x80\xa8"'
    assert canonical.encode("\b\t\f\r\x00") == b'"\\b\\t\\f\\r\\u0000"'


@pytest.mark.parametrize(
    "data",
    [
        *(b"1.0", b"1e2", b"-0", b"01", b"+1", b"NaN", b"Infinity", b"9007199254740992", b"-9007199254740992"),
        *(b"1" * 5000, b" 1", b"1 ", b"1\n", b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b"[1,]", b"", b"\xff"),
        *(b'"\\u0041"', b'"\\/"', b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\x7f\n"', b"\xef\xbb\xbf1", b"[" * 100_000),
        *(b"[" * 40 + b"]" * 40, b'"\xed\xa0\x80"', b"nul", b"1 2"),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        canonical.decode(data)
    with pytest.raises(ValueError):
        verifier.load().decode(b'{"a":' + data + b"}")


class Colour(IntEnum):
    """An integer that prints itself otherwise."""

    RED = 3


@pytest.mark.parametrize(
    "value", [1.0, math.nan, 2**53, -(2**53), "\ud800", {"\udfff": 1}, {1: 2}, b"x", {1, 2}], ids=repr
)
def test_a_value_without_a_form_is_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        canonical.encode([value])


def test_an_integer_of_another_type_prints_as_the_integer_that_it_is() -> None:
    assert canonical.encode([Colour.RED, True, (2**53 - 1)]) == b"[3,true,9007199254740991]"


def test_nesting_ends_at_the_depth_that_both_sides_know() -> None:
    deep: canonical.Value = 1
    for _ in range(canonical.MAX_DEPTH):
        deep = [deep]
    assert canonical.decode(canonical.encode(deep)) == deep
    with pytest.raises(MalformedError):
        canonical.encode([deep])
    with pytest.raises(ValueError):
        verifier.load().encode([deep])
