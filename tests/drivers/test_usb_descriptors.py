"""What a USB device claims to be, read before it is let in."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.agent.drivers.descriptors import DescriptorError, Interface, parse

PORT = "pci-0000:00:03.0-usbv2-0:3"
KEYBOARD, STORAGE = (3, 1, 1), (8, 6, 0x50)


def device(configurations: int = 1, kind: int = 0) -> bytes:
    return struct.pack(
        "<BBHBBBBHHHBBBB", 18, 1, 0x200, kind, 0, 0, 64, 0x4255, 0x0001, 0x100, 1, 2, 3, configurations
    )


def interface(number: int, kind: tuple[int, int, int], alternate: int = 0) -> bytes:
    return struct.pack("<BBBBBBBBB", 9, 4, number, alternate, 0, *kind, 0)


def configuration(*parts: bytes, value: int = 1) -> bytes:
    body = b"".join(parts)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), len(parts), value, 0, 0x80, 50) + body


def test_a_disk_is_described() -> None:
    found = parse(device() + configuration(interface(0, STORAGE), b"\x07\x05\x81\x02\x00\x02\x00"), PORT)
    assert (found.vendor_id, found.product_id) == (0x4255, 0x0001)
    assert found.interfaces == (Interface(1, 0, 8, 6, 0x50),)
    assert not found.is_hub


@pytest.mark.parametrize(
    "data",
    [
        device() + configuration(interface(0, STORAGE), interface(1, KEYBOARD)),
        device() + configuration(interface(0, STORAGE), interface(0, KEYBOARD, alternate=1)),
        device(2) + configuration(interface(0, STORAGE)) + configuration(interface(0, KEYBOARD), value=2),
        device() + configuration(interface(0, STORAGE), b"\x05\x24\x00\x00\x00", interface(1, KEYBOARD)),
    ],
    ids=["beside", "as an alternate", "in another configuration", "behind a class descriptor"],
)
def test_a_keyboard_is_seen_wherever_it_hides(data: bytes) -> None:
    assert 3 in {each.interface_class for each in parse(data, PORT).interfaces}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        device()[:17],
        device(0),
        device(),
        device(2) + configuration(interface(0, STORAGE)),
        device() + configuration(interface(0, STORAGE))[:-1],
        device() + configuration(interface(0, STORAGE)) + b"\x00",
        device() + configuration(b"\x00\x04"),
        device() + configuration(b"\x05\x04\x00\x00\x00"),
        device() + configuration(b"\xff\x24"),
        device() + configuration(),
    ],
)
def test_what_contradicts_itself_is_refused_and_names_the_port(data: bytes) -> None:
    with pytest.raises(DescriptorError) as raised:
        parse(data, PORT)
    assert (raised.value.code, raised.value.where) == ("bad-descriptors", PORT)


def test_a_hub_is_told_by_its_class_or_its_interface() -> None:
    assert parse(device(kind=9) + configuration(interface(0, STORAGE)), PORT).is_hub
    assert parse(device() + configuration(interface(0, (9, 0, 0))), PORT).is_hub


@given(st.binary(max_size=300), st.integers(0, 60), st.integers(0, 255))
def test_any_bytes_are_descriptors_or_an_error_of_ours(noise: bytes, place: int, value: int) -> None:
    whole = bytearray(device() + configuration(interface(0, STORAGE), interface(1, KEYBOARD)))
    whole[min(place, len(whole) - 1)] = value
    for data in (noise, device(1) + noise, bytes(whole), bytes(whole) + noise):
        try:
            assert parse(data, PORT).interfaces
        except DescriptorError as error:
            assert error.where == PORT
