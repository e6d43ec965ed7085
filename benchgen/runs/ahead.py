"""An iterator that works ahead in a thread, so that its consumer does not wait for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")


class _End:
    """The iterator is through; with the error that it raised, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Generator[T], depth: int) -> Generator[T]:
    """The same items in the same order, up to ``depth`` of them made before they are asked for.

    What the iterator raises is raised here, in its turn. When the consumer stops early, so does
    the thread, after the item it is at; the iterator is closed.
    """
    ready: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: T | _End) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        error: BaseException | None = None
        try:
            with closing(items):
                for item in items:
                    put(item)
                    if stop.is_set():
                        return
        except BaseException as raised:
            error = raised
        put(_End(error))

    thread = threading.Thread(target=work, name="benchgen-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()
