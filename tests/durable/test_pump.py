"""The pump: every consumer gets every block in order, and any failure ends all threads."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.durable.files import BLOCK, DurableError
from dockwarden.durable.pump import Block, Pump


def reader(pump: Pump, count: int) -> None:
    for number in range(count):
        frame = pump.claim()
        frame[0] = number % 256
        pump.put(number * BLOCK, 1 + number % BLOCK)


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 4))
def test_every_consumer_gets_every_block_in_order(count: int, buffers: int, consumers: int) -> None:
    pump = Pump(BLOCK, buffers)
    seen: list[list[tuple[int, int, int]]] = [[] for _ in range(consumers)]
    frames: set[int] = set()

    def consume(blocks: Iterator[Block], into: list[tuple[int, int, int]]) -> None:
        for block in blocks:
            frames.add(id(block.frame))
            into.append((block.data[0], block.offset, block.data.nbytes))

    for into in seen:
        pump.consume(lambda blocks, into=into: consume(blocks, into))
    pump.run(lambda: reader(pump, count))
    expected = [(number % 256, number * BLOCK, 1 + number % BLOCK) for number in range(count)]
    assert seen == [expected] * consumers
    assert len(frames) <= buffers


@pytest.mark.parametrize("who", ["reader", "consumer", "last consumer", "task"])
def test_any_failure_ends_all_and_is_the_one_that_is_raised(who: str) -> None:
    class Broken(BaseException):
        pass

    def fail_at(name: str) -> None:
        if who == name:
            raise Broken

    def first(blocks: Iterator[Block]) -> None:
        for block in blocks:
            if block.offset == 3 * BLOCK:
                fail_at("consumer")

    def last(blocks: Iterator[Block]) -> None:
        for _ in blocks:
            pass
        fail_at("last consumer")

    def task() -> None:
        fail_at("task")
        if who == "last consumer":
            return
        pump.wait_until(lambda: False)

    def read() -> None:
        reader(pump, 10)
        fail_at("reader")

    before = threading.active_count()
    pump = Pump(BLOCK, 2)
    pump.consume(first)
    pump.consume(last)
    pump.task(task)
    with pytest.raises(Broken):
        pump.run(read)
    assert threading.active_count() == before


def test_a_cancel_wakes_who_waits() -> None:
    cancel = threading.Event()
    pump = Pump(BLOCK, 1, cancel)

    def stuck(blocks: Iterator[Block]) -> None:
        next(blocks)
        cancel.set()
        pump.wait_until(lambda: False)

    pump.consume(stuck)
    with pytest.raises(DurableError) as caught:
        pump.run(lambda: reader(pump, 3))
    assert caught.value.code == "cancelled"


def test_the_buffers_go_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pump = Pump(BLOCK, 2)
    pump.consume(lambda blocks: [None for _ in blocks] and None)
    pump.run(lambda: reader(pump, 3))
    assert pump._frames == []
    assert pump._blocks == {}
