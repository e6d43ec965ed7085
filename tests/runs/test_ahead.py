"""Working ahead in a thread: the same items, bounded, and nothing is left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from benchgen.runs.ahead import ahead


def counting(made: list[int], stop: int = 10**6) -> Generator[int]:
    for number in range(stop):
        made.append(number)
        yield number


def test_the_same_items_in_order() -> None:
    assert list(ahead(counting([], 500), 3)) == list(range(500))
    assert list(ahead(counting([], 0), 3)) == []


def test_no_more_is_made_ahead_than_allowed() -> None:
    made: list[int] = []
    items = ahead(counting(made), 3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # taken, waiting, and one in hand
    items.close()


def test_an_error_comes_in_its_turn() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise KeyError("lost")

    items = ahead(failing(), 3)
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)


def test_a_consumer_that_stops_ends_the_thread_and_closes_the_iterator() -> None:
    closed = threading.Event()

    def endless() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = ahead(endless(), 2)
    next(items)
    items.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "benchgen-ahead"]


def test_maker_and_consumer_work_at_the_same_time() -> None:
    def slow() -> Generator[int]:
        for number in range(6):
            time.sleep(0.1)
            yield number

    started = time.perf_counter()
    for _ in ahead(slow(), 2):
        time.sleep(0.1)
    assert time.perf_counter() - started < 1.05  # one after the other takes 1.2
