"""Descriptors that were damaged or lie: a decision each, and no keyboard, network or unknown class is let in."""

from functools import partial

import pytest
from tests.hostile import usb
from tests.hostile.watching import watched

SEED = 1
SAMPLE = 400


def test_a_sample_of_mutated_descriptors_ends_in_decisions() -> None:
    played = list(watched(partial(usb.play, SEED), range(SAMPLE)))
    assert [each for each in played if each.wrong] == []
    assert {each.outcome for each in played} >= {"admitted", "bad-descriptors", "not-only-storage", "hub-in-bay"}


@pytest.mark.parametrize("kind", [(0xE0, 1, 1), (3, 1, 1), (2, 6, 0), (0xEF, 2, 2), (0x42, 0, 0), (0xFF, 0, 0)])
def test_what_a_device_as_a_whole_claims_to_be_counts_too(kind: tuple[int, int, int]) -> None:
    """Linux binds some drivers by the device's class alone, such as that of a radio."""
    data = bytearray(usb.EXAMPLES[1])
    assert usb.judged(bytes(data)) == "admitted"
    data[4:7] = bytes(kind)
    assert usb.judged(bytes(data)) == "not-only-storage"


def test_a_device_that_names_its_classes_by_interface_is_let_in() -> None:
    data = bytearray(usb.EXAMPLES[1])
    data[4:7] = bytes((0xEF, 2, 1))
    assert usb.judged(bytes(data)) == "admitted"
