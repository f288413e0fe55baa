"""Names of sources and keys of devices."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers.source import DeviceInfo, SourceError, SourceInfo, decode_name, device_key
from dockwarden.evidence import canonical
from dockwarden.evidence.seals import SourceName

ACTOR_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@pytest.mark.parametrize(
    ("raw", "text", "decoded_as"),
    [
        ("现场.mp4".encode(), "现场.mp4", "utf-8"),
        ("现场.mp4".encode("gbk"), "现场.mp4", "gb18030"),
        ("DCIM/现场笔录/a.mp4".encode("gb18030"), "DCIM/现场笔录/a.mp4", "gb18030"),
        (b"\xff\xfe\x80", "ÿþ\x80", "latin-1"),
        (b"plain.mp4", "plain.mp4", "utf-8"),
    ],
)
def test_a_name_is_shown_as_utf8_else_gb18030_else_latin1(raw: bytes, text: str, decoded_as: str) -> None:
    assert decode_name(raw) == SourceName(text, raw, decoded_as)


@given(st.binary(min_size=1, max_size=60))
def test_any_name_can_stand_in_a_seal_and_comes_back_byte_for_byte(raw: bytes) -> None:
    source = SourceInfo("volume", decode_name(raw), 5, 7, frozenset({"important"}))
    data = canonical.encode(source.to_object())
    name = canonical.decode_object(data, "source")["name"]
    assert isinstance(name, dict)
    assert SourceName.from_object(name) == source.name


@given(st.text(max_size=80), st.none() | st.text(max_size=80), st.text(min_size=1, max_size=80))
def test_a_device_key_has_the_form_of_an_actor(model: str, serial: str | None, volume: str) -> None:
    assert ACTOR_ID.fullmatch(device_key(model, serial, volume))


@given(st.text(max_size=80), st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_devices_that_claim_other_serials_have_other_keys(model: str, one: str, other: str) -> None:
    assert (device_key(model, one, "v") == device_key(model, other, "v")) == (one == other)


def test_a_plain_serial_stays_readable_and_a_missing_one_gives_way_to_the_volume() -> None:
    assert device_key("DCAM-X3", "ZB2041", "1234-ABCD") == "DCAM-X3-ZB2041"
    assert device_key("DCAM-X3", None, "1234-ABCD") == "DCAM-X3-volume-1234-ABCD"


def test_an_error_says_what_where_and_what_to_do_and_names_no_file() -> None:
    error = SourceError("unreadable", "device X", 10, 5)
    assert (error.code, error.offset, error.length) == ("unreadable", 10, 5)
    assert error.where == "device X, bytes 10 to 15"
    assert error.what and error.do


def test_a_device_stands_in_a_seal_with_all_that_it_claims() -> None:
    info = DeviceInfo("key", "mass-storage", "dcam", "camera", None, "X3")
    assert info.to_object() == {
        "family": "mass-storage",
        "key": "key",
        "kind": "camera",
        "model": "X3",
        "profile": "dcam",
        "serial": None,
    }
