"""Walking episodes: what is seen, what an action does, how an episode ends."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

from internvideo.errors import ConfigError, DataError
from internvideo.simulator.backend import Sensors
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.environment import ENVIRONMENT_ID, History, NavigationEnv
from internvideo.simulator.episodes import Episode, start_rotation, write_episodes
from internvideo.simulator.instructions import make_episodes
from internvideo.simulator.moves import follow, goal_teacher, walk
from simulator.scans import write_two_storeys

gymnasium = pytest.importorskip("gymnasium")

TINY = Sensors(rgb=12, depth=16)
FAN = [(view * math.pi / 6, distance) for view in range(12) for distance in (0.5, 1.5)]


@pytest.fixture(scope="module")
def episodes():
    return make_episodes(["rooms/1.json", "rooms/2.json"], 2)


def make(episodes, **options) -> NavigationEnv:
    return NavigationEnv(episodes, **{"sensors": TINY, **options})


def go(angle: float, distance: float) -> dict:
    return {"stop": 0, "angle": angle, "distance": distance}


HALT = {"stop": 1, "angle": 0.0, "distance": 0.0}


@pytest.mark.parametrize("control", ["waypoints", "steps"])
def test_it_keeps_the_contract_of_gymnasium(control, episodes):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = gymnasium.make(
            f"{NavigationEnv.__module__}:{ENVIRONMENT_ID}",
            episodes=episodes, sensors=TINY, control=control, history=3,
        )  # fmt: skip
        check_env(made.unwrapped, skip_render_check=True)


def walk_with_teacher(env: NavigationEnv) -> dict:
    for _ in range(24):
        chosen, ends = goal_teacher(env.backend, env.position, env.yaw, FAN, env.goal)
        if chosen < len(FAN):
            assert ends[chosen] == env.candidate_distance(*FAN[chosen])
        *_, stopped, _, info = env.step(HALT if chosen == len(FAN) else go(*FAN[chosen]))
        if stopped:
            break
    return info


def test_the_teacher_walks_to_the_goal(episodes):
    env = make(episodes)
    for episode in episodes:
        env.reset(options={"episode_id": episode.episode_id})
        before = env.position.copy()
        info = walk_with_teacher(env)
        assert not np.array_equal(before, env.position)
        assert info["metrics"]["success"] == 1
        assert info["metrics"]["spl"] > 0.7
        assert info["metrics"]["ndtw"] > 0.5
        assert len(info["poses"]) > 10


def test_a_vector_of_environments_walks_other_episodes_in_each_process(episodes):
    makers = [
        partial(NavigationEnv, part, sensors=Sensors(rgb=4, depth=4))
        for part in (episodes[:2], episodes[2:])
    ]
    vector = gymnasium.vector.AsyncVectorEnv(makers, context="forkserver", shared_memory=False)
    try:
        for number in range(2):
            seen, info = vector.reset()
            told = (episodes[number].instruction, episodes[2 + number].instruction)
            assert seen["instruction"] == told
            alone = NavigationEnv(episodes[2:], sensors=Sensors(rgb=4, depth=4))
            alone.reset(options={"episode": episodes[2 + number]})
            assert info["distance_to_goal"][1] == alone.distance_to_goal()
    finally:
        vector.close()


@pytest.mark.parametrize("ending", ["glb", "ply", "obj"])
def test_a_scan_of_a_user_is_walked_from_a_file_of_episodes(ending, tmp_path):
    """From the sofa below, up the stairs, to the corner above it."""
    write_two_storeys(tmp_path / f"my-house.{ending}")
    written = Episode(
        episode_id="1",
        scene_id=f"my-house.{ending}",
        start_position=(5.5, 0.0, 3.0),
        start_rotation=start_rotation(0.0),
        instruction="Pass the red sofa, climb the stairs and go to the corner.",
        goal=(5.5, 2.4, 3.5),
        reference_path=((5.5, 0.0, 3.0), (0.4, 0.0, 1.0), (4.4, 2.4, 1.0), (5.5, 2.4, 3.5)),
    )
    write_episodes(tmp_path / "mine.json.gz", [written])
    env = make(tmp_path / "mine.json.gz", scenes=str(tmp_path))
    seen, info = env.reset()
    assert info["distance_to_goal"] > 11  # 2.5 m, were it not for the floor between
    sofa = seen["rgb"].reshape(-1, 3).astype(int)
    assert (sofa[:, 0] > 3 * sofa[:, 1:].max(axis=1)).mean() > 0.01
    info = walk_with_teacher(env)
    assert env.position[1] == pytest.approx(2.4, abs=1e-5)
    assert info["metrics"]["success"] == 1
    assert info["metrics"]["spl"] > 0.8
    assert info["metrics"]["ndtw"] > 0.6


def test_true_walks_lead_there_by_single_steps(episodes):
    env = make(episodes, control="steps", max_steps=500, turn_degrees=15)
    truth = follow(_opened(episodes[0]), episodes[0])
    env.reset(options={"episode": episodes[0]})
    total = 0.0
    for action in truth.actions:
        _, reward, stopped, _, info = env.step(action)
        total += reward
    assert stopped
    assert info["metrics"]["success"] == 1
    np.testing.assert_allclose(env.position, truth.locations[-1], atol=1e-6)
    assert total == pytest.approx(episodes[0].geodesic_distance - info["distance_to_goal"])


def _opened(episode) -> EmbeddedBackend:
    backend = EmbeddedBackend()
    backend.load(episode.scene_id)
    return backend


def test_probing_a_candidate_renders_nothing_and_moves_nothing(episodes, monkeypatch):
    env = make(episodes)
    env.reset()
    place = env.position.copy()
    monkeypatch.setattr(env.backend, "render", None)
    near = env.candidate_distance(0.5, 1.0)
    end, _ = walk(env.backend, env.position, env.yaw, 0.5, 1.0).end
    assert near == env.distance_to_goal(end)
    np.testing.assert_array_equal(env.position, place)


def test_an_episode_is_cut_off_and_is_then_no_success(episodes):
    env = make(episodes, max_steps=2)
    env.reset()
    assert env.step(go(0.1, 0.25))[2:4] == (False, False)
    *_, stopped, cut, info = env.step(go(0.1, 0.25))
    assert (stopped, cut, info["metrics"]["success"]) == (False, True, 0)


def test_random_actions_never_raise_and_the_seed_repeats_them(episodes):
    def run() -> list[float]:
        env = make(episodes, sensors=Sensors(rgb=4, depth=4))
        env.action_space.seed(0)
        env.reset(seed=0)
        seen = []
        for _ in range(200):
            observed, *_, stopped, cut, info = env.step(env.action_space.sample())
            seen.append(info["distance_to_goal"] + float(observed["rgb"].sum()))
            if stopped or cut:
                env.reset()
        return seen

    assert run() == run()


def test_the_history_renders_what_is_looked_at_and_once():
    class Counting:
        rendered = 0

        def render(self, position, yaw, sensors):
            from internvideo.simulator.backend import Panorama

            self.rendered += 1
            rgb = np.full((12, 2, 2, 3), round(float(position[0])), np.uint8)
            return Panorama(rgb, np.zeros((12, 0, 0, 1), np.float32))

    counting: Any = Counting()
    history = History(4)
    history.begin((np.zeros(3), 0.0))
    assert history.pictures(counting, TINY).shape == (4, 12, 2, 2, 3)
    assert counting.rendered == 1
    history.add([(np.array([float(x), 0, 0]), 0.0) for x in range(1, 9)])
    assert history.pictures(counting, TINY)[:, 0, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert counting.rendered == 5


def test_bad_requests_are_told(episodes):
    with pytest.raises(ConfigError, match="teleport"):
        make(episodes, control="teleport")
    with pytest.raises(ConfigError, match="room"):
        make(episodes, backend="room")
    with pytest.raises(ConfigError, match="no episodes"):
        make([])
    with pytest.raises(DataError, match="'77'"):
        make(episodes).reset(options={"episode_id": 77})
