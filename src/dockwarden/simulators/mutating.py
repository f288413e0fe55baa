"""Bytes that are wrong: seeded mutations of a true example, as damage and malice make them."""

import random
from collections.abc import Callable, Sequence

Chance = random.Random

ODD = (0, 1, 2, 3, 4, 7, 8, 9, 0x10, 0x20, 0x7F, 0x80, 0xFE, 0xFF)
"""Values of one byte at which readers go wrong."""

_MOST_AT_ONCE = 4
_MOST_REPEATED = 64


def mutated(data: bytes, chance: Chance, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to four mutations; `others` are examples of which pieces may be spliced in."""
    for _ in range(chance.randint(1, _MOST_AT_ONCE)):
        data = chance.choice(_WAYS)(data, chance, others or (data,))
    return data


def case(seed: int, kind: str, number: int) -> Chance:
    """The chance of one case: the same for the same seed, kind and number, whatever else is played."""
    return random.Random(f"{seed} {kind} {number}")


def odd_number(chance: Chance, bits: int) -> int:
    """An unsigned number at which readers go wrong: small, at the edges of its width, or any."""
    edge = 1 << chance.randint(0, bits)
    number = chance.choice(
        [*ODD, edge - 1, edge, edge + 1, (1 << bits) - chance.randint(1, 16), chance.getrandbits(bits)]
    )
    return number % (1 << bits)


def _flip(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _odd_byte(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.choice(ODD)]) + data[at + 1 :]


def _odd_word(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    at, width = _place(data, chance), chance.choice([2, 4, 8])
    return data[:at] + odd_number(chance, width * 8).to_bytes(width, "little") + data[at + width :]


def _cut_off(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    return data[: _place(data, chance)]


def _cut_out(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    start, end = _piece(data, chance)
    return data[:start] + data[end:]


def _repeat(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    start, end = _piece(data, chance)
    return data[:end] + data[start:end] * chance.choice([1, 2, _MOST_REPEATED]) + data[end:]


def _splice(data: bytes, chance: Chance, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    start, end = _piece(other, chance)
    at, to = _piece(data, chance)
    return data[:at] + other[start:end] + data[chance.choice([at, to]) :]


def _place(data: bytes, chance: Chance) -> int:
    return chance.randrange(len(data)) if data else 0


def _piece(data: bytes, chance: Chance) -> tuple[int, int]:
    start, end = sorted((_place(data, chance), _place(data, chance)))
    return start, end + 1


_WAYS: Sequence[Callable[[bytes, Chance, Sequence[bytes]], bytes]] = (
    _flip,
    _odd_byte,
    _odd_word,
    _cut_off,
    _cut_out,
    _repeat,
    _splice,
)
