"""Doing the next things already while the last one is being used."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import Any, TypeVar

__all__ = ["in_background", "interleaved", "read_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int
) -> Iterator[Result]:
    """Yield `function(item)` in the order of the items, computed ahead of the reader.

    Decoders and tensor operations release Python's lock, so threads decode in parallel, and nothing
    is copied between processes. What `function` raises is raised here, in its turn.

    Args:
        function: reads one item.
        items: taken one at a time, never more than `depth` ahead; may be endless.
        threads: how many are read at once; 0 reads each when it is asked for.
        depth: results kept waiting at most, the bound of the memory.
    """
    if threads == 0:
        yield from map(function, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        pending = deque(pool.submit(function, item) for item in islice(items, max(depth, 1)))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(items, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


_END = object()


def in_background(iterator: Iterator[Item], *, depth: int) -> Iterator[Item]:
    """Yield what an iterator yields, which runs in a thread up to `depth` items ahead."""
    for item in read_ahead(lambda _: next(iterator, _END), repeat(None), threads=1, depth=depth):
        if item is _END:
            return
        yield item  # type: ignore[misc]


def interleaved(
    function: Callable[[Item], Iterable[Result]], items: Iterable[Item], *, threads: int, depth: int
) -> Iterator[Result]:
    """Yield the results of all items as they come; those of one item come in their order.

    Several items are worked on at once, each in a thread, and none waits until a long one is done.
    What `function` raises is raised here.

    Args:
        function: yields the results of one item.
        items: each is taken when a thread has time for it.
        threads: how many are worked on at once; 0 works on one when its results are asked for.
        depth: results kept waiting at most, the bound of the memory.
    """
    if threads == 0:
        for item in items:
            yield from function(item)
        return
    results: queue.Queue[Any] = queue.Queue(max(depth, 1))
    left, taking, stopped = iter(items), threading.Lock(), threading.Event()

    def put(kind: str, value: Any = None) -> None:
        while not stopped.is_set():
            try:
                return results.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            while not stopped.is_set():
                with taking:
                    item = next(left, _END)
                if item is _END:
                    break
                for result in function(item):  # type: ignore[arg-type]
                    put("result", result)
                    if stopped.is_set():
                        break
            put("end")
        except BaseException as error:
            put("error", error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        running = threads
        while running:
            kind, value = results.get()
            if kind == "error":
                raise value
            if kind == "end":
                running -= 1
            else:
                yield value
    finally:
        stopped.set()
        for worker in workers:
            worker.join()
