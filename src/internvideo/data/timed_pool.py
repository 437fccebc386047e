"""Processes that may be killed: work on files that can hang or crash whatever reads them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

__all__ = ["Outcome", "Worker", "map_with_timeout", "ready_workers"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Result]):
    """What became of one item.

    Attributes:
        place: which item it was.
        result: what the function returned; None if it did not.
        failure: why it did not: "timeout", "crash", or an exception in words.
    """

    place: int
    result: _Result | None = None
    failure: str | None = None


def map_with_timeout(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    workers: int,
    timeout: float,
) -> Iterator[Outcome[_Result]]:
    """Yield what `function` makes of each item, as they get done.

    A process that takes longer than `timeout` seconds for an item is killed, one that dies is
    replaced, and the work goes on with the next item.

    Args:
        function: importable by name, as processes need it.
        items: what it is called with.
        workers: processes.
        timeout: seconds for one item.
    """
    waiting = iter(range(len(items)))
    team: list[Worker] = []
    try:
        for place in waiting:
            team.append(Worker(function))
            team[-1].give(place, items[place], timeout)
            if len(team) == workers:
                break
        while team:
            for worker in ready_workers(team):
                yield worker.take()
                team.remove(worker)
                if (place := next(waiting, None)) is None:
                    worker.stop()
                    continue
                if not worker.alive:
                    worker.stop()
                    worker = Worker(function)
                worker.give(place, items[place], timeout)
                team.append(worker)
    finally:
        for worker in team:
            worker.stop(kill=True)


def ready_workers(team: Sequence[Worker]) -> list[Worker]:
    """Wait until a worker has an answer, is dead, or is out of time."""
    until = min(worker.deadline for worker in team)
    answering = wait([worker.pipe for worker in team], timeout=max(until - time.monotonic(), 0))
    now = time.monotonic()
    return [w for w in team if w.pipe in answering or w.deadline <= now]


class Worker:
    """A process that answers one question at a time.

    Args:
        function: answers; a copy of it lives in the process, where it may keep what it likes.
        method: how the process starts; None is the custom of the platform.
    """

    def __init__(self, function: Callable[[Any], Any], *, method: str | None = None) -> None:
        context: Any = get_context(method)
        self.pipe, far_end = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(function, far_end), daemon=True
        )
        self.process.start()
        far_end.close()
        self.place, self.deadline, self.alive = -1, 0.0, True

    def give(self, place: int, item: Any, timeout: float) -> None:
        """Ask; a process that has died meanwhile is noticed as one that dies of the question."""
        self.place, self.deadline = place, time.monotonic() + timeout
        with suppress(OSError):
            self.pipe.send((item,))

    def take(self) -> Outcome[Any]:
        """Return the answer of a worker that is ready; one that is dead or late is not `alive`."""
        if self.pipe.poll():
            try:
                return Outcome(self.place, *self.pipe.recv())
            except (EOFError, OSError):
                self.alive = False
                return Outcome(self.place, failure="crash")
        self.alive = False
        self.process.kill()
        return Outcome(self.place, failure="timeout")

    def stop(self, *, kill: bool = False) -> None:
        """End the process."""
        if kill or not self.alive:
            self.process.kill()
        else:
            with suppress(OSError):
                self.pipe.send(None)
        self.pipe.close()
        self.process.join(_GRACE)


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    # Ctrl-C at a terminal reaches all processes; the one that asks stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    while True:
        # A closed pipe does not tell that the parent is gone: forked siblings hold its end, too.
        while not pipe.poll(_GRACE):
            if os.getppid() != parent:
                return
        if (question := pipe.recv()) is None:
            return
        try:
            answer = (function(question[0]), None)
        except Exception as error:
            answer = (None, f"{type(error).__name__}: {error}")
        pipe.send(answer)
