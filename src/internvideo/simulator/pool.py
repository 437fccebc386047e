"""Episodes in several processes: a simulator that crashes costs its episode a second try."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from internvideo.data.timed_pool import Worker, ready_workers
from internvideo.errors import require
from internvideo.simulator.backend import Sensors
from internvideo.simulator.episodes import Episode

__all__ = ["Finished", "Walker", "make_environment", "run_episodes"]


class Walker(Protocol):
    """Who walks; it serves several episodes at once, each in a slot."""

    def begin(self, slot: int) -> None:
        """Forget what was in a slot: a new episode begins there."""
        ...

    def act(self, observations: Mapping[int, Any]) -> Mapping[int, Any]:
        """Return an action of the environment for the observation of each slot."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What became of an episode.

    Attributes:
        episode: which.
        info: what the environment said with the last step; empty where it failed.
        tries: how often it was begun.
        failure: why there is no result: "crash", "timeout", or the error in words.
    """

    episode: Episode
    info: dict[str, Any] = field(default_factory=dict[str, Any])
    tries: int = 1
    failure: str | None = None


def run_episodes(
    make: Callable[[], Any],
    episodes: Sequence[Episode],
    walker: Walker,
    *,
    workers: int = 2,
    tries: int = 3,
    timeout: float = 300.0,
) -> Iterator[Finished]:
    """Yield what becomes of each episode, as they get done; none is left out.

    Environments live in processes of their own, the walker here, where it answers all that wait at
    once. A process that dies or hangs is replaced and its episode begun again; one whose episode
    cannot be started, such as with an unknown scene, goes on with the next.

    Args:
        make: makes an environment; importable by name, as processes need it. `reset` takes the
            episode as `options={"episode": episode}`.
        episodes: in order.
        walker: who walks.
        workers: processes.
        tries: after so many crashes of its process an episode has failed.
        timeout: seconds for one action.
    """
    waiting = deque((episode, 1) for episode in episodes)
    slots: dict[int, tuple[Episode, int]] = {}
    team: dict[int, Worker] = {}

    def begin(slot: int) -> None:
        slots[slot] = waiting.popleft()
        walker.begin(slot)
        team[slot].give(slot, ("reset", slots[slot][0]), timeout)

    try:
        for slot in range(min(workers, len(waiting))):
            team[slot] = _simulator(make)
            begin(slot)
        while slots:
            seen: dict[int, Any] = {}
            for worker in ready_workers([team[slot] for slot in slots]):
                outcome, slot = worker.take(), worker.place
                episode, count = slots[slot]
                if not worker.alive:
                    worker.stop()
                    team[slot] = _simulator(make)
                    if count < tries:
                        waiting.appendleft((episode, count + 1))
                        begin(slot)
                        continue
                elif outcome.result is not None:
                    observation, over, info = outcome.result
                    if not over:
                        seen[slot] = observation
                        continue
                    yield Finished(episode=episode, info=info, tries=count)
                if outcome.failure is not None:
                    yield Finished(episode=episode, tries=count, failure=outcome.failure)
                del slots[slot]
                if waiting:
                    begin(slot)
            for slot, action in walker.act(seen).items() if seen else ():
                team[slot].give(slot, ("step", action), timeout)
    finally:
        for worker in team.values():
            worker.stop(kill=True)


def _simulator(make: Callable[[], Any]) -> Worker:
    # Embree has threads, and a fork of a process with threads can hang: start from a clean one.
    methods = multiprocessing.get_all_start_methods()
    return Worker(_Simulation(make), method="forkserver" if "forkserver" in methods else "spawn")


class _Simulation:
    """The far end: an environment that is made with the first question."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._environment = make, None

    def __call__(self, question: tuple[str, Any]) -> tuple[Any, bool, dict[str, Any]]:
        verb, given = question
        if self._environment is None:
            self._environment = self._make()
        if verb == "reset":
            observation, info = self._environment.reset(options={"episode": given})
            return observation, False, info
        observation, _, terminated, truncated, info = self._environment.step(given)
        over = terminated or truncated
        return None if over else observation, over, info


def make_environment(episodes: Sequence[Episode], sensors: Sensors, **options: Any) -> Any:
    """Make a `NavigationEnv` in a process of its own, where this function is known by name.

    Raises:
        MissingExtraError: Gymnasium is not installed.
    """
    require("gymnasium", extra="navigation")
    from internvideo.simulator.environment import NavigationEnv

    return NavigationEnv(episodes, sensors=sensors, **options)
