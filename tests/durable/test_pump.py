"""The pump: every consumer gets every block in order, and any failure ends all threads."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.durable.files import BLOCK, DurableError
from dockwarden.durable.pump import Block, Budget, Pump


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
    assert pump._free == []
    assert pump._blocks == {}


class Together:
    """Pumps that share a budget, each read as far as it can be while its consumers hold everything."""

    def __init__(self, count: int, budget: Budget) -> None:
        self.go_on = threading.Event()
        self.held: list[set[int]] = [set() for _ in range(count)]
        self.pumps = [Pump(BLOCK, 4, budget=budget) for _ in range(count)]
        self.threads = [
            threading.Thread(target=self.run, args=each) for each in zip(self.pumps, self.held, strict=True)
        ]

    def run(self, pump: Pump, held: set[int]) -> None:
        def consume(blocks: Iterator[Block]) -> None:
            for _ in blocks:
                self.go_on.wait()

        def read() -> None:
            for number in range(8):
                held.add(id(pump.claim()))
                pump.put(number * BLOCK, 1)

        pump.consume(consume)
        pump.run(read)

    def until_all_wait(self, buffers: int) -> None:
        while sum(map(len, self.held)) < buffers:
            threading.Event().wait(0.01)

    def end(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join()


def test_pumps_that_share_a_budget_have_one_buffer_each_and_the_budget_together() -> None:
    budget = Budget(5 * BLOCK)
    together = Together(6, budget)
    for thread in together.threads:
        thread.start()
    together.until_all_wait(6 + 5)
    assert not budget.take(1)
    assert all(together.held)
    together.end()
    assert budget.take(5 * BLOCK)
    assert not budget.take(1)


def test_a_run_that_fails_gives_its_share_back() -> None:
    budget = Budget(2 * BLOCK)
    pump = Pump(BLOCK, 3, budget=budget)

    def stuck(blocks: Iterator[Block]) -> None:
        next(blocks)
        pump.wait_until(lambda: not budget.take(1) and bool(pump._filled == 3))
        raise ValueError

    pump.consume(stuck)
    with pytest.raises(ValueError):
        pump.run(lambda: reader(pump, 9))
    assert budget.take(2 * BLOCK)
