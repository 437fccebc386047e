"""Doing the next things already while the last one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

__all__ = ["in_background", "read_ahead"]

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
