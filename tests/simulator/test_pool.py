"""Episodes in processes: all of them get done, whatever happens to a process."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from internvideo.simulator.backend import Sensors
from internvideo.simulator.episodes import Episode
from internvideo.simulator.pool import run_episodes
from simulator.small_environment import SmallEnvironment


def episodes(*scenes: str) -> list[Episode]:
    return [
        Episode(
            episode_id=str(number),
            scene_id=scene,
            start_position=(0.0, 0.0, 0.0),
            start_rotation=(0.0, 0.0, 0.0, 1.0),
            instruction="walk",
        )
        for number, scene in enumerate(scenes)
    ]


class Counting:
    """An agent that acts with the number of its action, and may kill a process once."""

    def __init__(self, kills: tuple[str, int] | None = None) -> None:
        self.kills, self.counts, self.processes = kills, {}, set()

    def begin(self, slot: int) -> None:
        self.counts[slot] = 0

    def act(self, observations: Mapping[int, Any]) -> dict[int, int]:
        for slot, seen in observations.items():
            self.counts[slot] += 1
            self.processes.add(seen["process"])
            if self.kills == (seen["episode"], self.counts[slot]):
                self.kills = None
                os.kill(seen["process"], signal.SIGKILL)
        return {slot: self.counts[slot] for slot in observations}


def test_a_killed_simulator_is_replaced_and_its_episode_begun_again() -> None:
    agent = Counting(kills=("1", 2))
    done = {
        each.episode.episode_id: each
        for each in run_episodes(SmallEnvironment, episodes(*"abcd"), agent, workers=2)
    }
    assert sorted(done) == ["0", "1", "2", "3"]
    assert all(each.failure is None for each in done.values())
    # The second try of the killed episode begins with the first action again.
    assert all(each.info == {"walked": [1, 2, 3]} for each in done.values())
    assert {name: each.tries for name, each in done.items()} == {"0": 1, "1": 2, "2": 1, "3": 1}
    assert len(agent.processes) == 3


def test_what_cannot_be_walked_is_told_and_the_rest_goes_on() -> None:
    scenes = episodes("a", "nowhere", "broken", "b")
    done = list(run_episodes(SmallEnvironment, scenes, Counting(), workers=1, tries=2))
    assert [each.episode.episode_id for each in done] == ["0", "1", "2", "3"]
    assert [each.failure for each in done] == [
        None,
        "ValueError: unknown scene 'nowhere'",
        "crash",
        None,
    ]
    assert [each.tries for each in done] == [1, 1, 2, 1]


class StraightAhead(Counting):
    """Walks; while it first walks the second step of an episode, a simulator is killed."""

    killed = False

    def act(self, observations: Mapping[int, Any]) -> dict[int, Any]:
        if not self.killed and 1 in self.counts.values():
            self.killed = True
            multiprocessing.active_children()[0].kill()
        counts = super().act({slot: {"process": 0, "episode": ""} for slot in observations})
        return {
            slot: {"stop": int(count > 3), "angle": 0.0, "distance": 1.0}
            for slot, count in counts.items()
        }


def test_houses_in_processes_measure_what_they_measure_here_though_one_crashes() -> None:
    pytest.importorskip("embreex")
    from internvideo.simulator.environment import NavigationEnv
    from internvideo.simulator.instructions import make_episodes

    drawn = make_episodes(["rooms/3.json", "rooms/4.json"], 2)
    make = partial(NavigationEnv, drawn, sensors=Sensors(rgb=8, depth=8))
    done = list(run_episodes(make, drawn, StraightAhead(), workers=2))
    assert sorted(each.tries for each in done) == [1, 1, 1, 2]
    assert {each.episode.episode_id for each in done} == {each.episode_id for each in drawn}
    here = make()
    for each in done:
        here.reset(options={"episode": each.episode})
        info: dict[str, Any] = {}
        for stop in (0, 0, 0, 1):
            *_, info = here.step({"stop": stop, "angle": 0.0, "distance": 1.0})
        assert each.info["metrics"] == info["metrics"]
        assert math.isfinite(info["metrics"]["ndtw"])
