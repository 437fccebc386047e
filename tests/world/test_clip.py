from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest

from internvideo.errors import ConfigError, UnknownNameError
from internvideo.world import ACTIONS, World, generate
from internvideo.world.clip import map_clips


def digest(clip) -> str:
    text = json.dumps(clip.truth.to_dict(), sort_keys=True).encode()
    return hashlib.sha256(clip.frames.tobytes() + text).hexdigest()


def digests(world: World, indices) -> list[str]:
    return [digest(world[index]) for index in indices]


def test_a_clip_does_not_depend_on_order_or_on_others():
    world = World(seed=3)
    indices = [5, 0, 17, 5, 2]
    forward = digests(world, indices)
    assert forward[0] == forward[3]
    assert digests(World(seed=3), indices[::-1]) == forward[::-1]
    assert digest(World(seed=4)[5]) != forward[0]


def test_a_clip_is_the_same_in_a_fresh_process():
    program = (
        "import hashlib, json; from internvideo.world import World; c = World(seed=3)[17];"
        "t = json.dumps(c.truth.to_dict(), sort_keys=True).encode();"
        "print(hashlib.sha256(c.frames.tobytes() + t).hexdigest())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == digest(World(seed=3)[17])


def test_a_spawned_process_gives_the_same_clips():
    world = World(seed=6, size=32)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        frames = pool.apply(world.clip, (4,)).frames
    np.testing.assert_array_equal(frames, world[4].frames)


def test_generation_does_not_depend_on_the_number_of_workers():
    world = World(seed=1, size=32)
    frames, scenes = generate(world, 70, start=3)
    parallel, parallel_scenes = generate(world, 70, start=3, workers=2)
    np.testing.assert_array_equal(frames, parallel)
    np.testing.assert_array_equal(frames[4], world[7].frames)
    assert [s.to_dict() for s in scenes] == [s.to_dict() for s in parallel_scenes]
    assert [scene.index for scene in scenes] == list(range(3, 73))


def _explode(world, indices):
    if 40 in indices:
        raise ConfigError("clip 40 is the last straw")
    return len(indices)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(workers):
    with pytest.raises(ConfigError, match="last straw"):
        list(map_clips(_explode, World(), range(200), workers=workers))


def test_a_world_is_its_settings():
    world = World(seed=9, actions=("bounce", "still"), objects=("star",), colors=("red", "blue"))
    assert pickle.loads(pickle.dumps(world)) == world
    for index in range(40):
        truth = world.scene(index)
        assert truth.action in world.actions
        assert {actor.name for actor in truth.actors} == {"star"}
        assert {actor.color for actor in truth.actors} <= {"red", "blue"}
        assert len({actor.color for actor in truth.actors}) == len(truth.actors)


def test_all_actions_occur_equally_often_and_half_of_the_single_actors_have_company():
    world = World(seed=0)
    scenes = [world.scene(index) for index in range(5600)]
    counts = [sum(scene.action == action for scene in scenes) for action in ACTIONS]
    assert min(counts) > 140
    assert max(counts) < 260
    single = [scene for scene in scenes if len(scene.events[0].actors) == 1]
    company = np.mean([len(scene.actors) == 2 for scene in single])
    assert 0.46 < company < 0.54
    # Two objects do not reveal by their size whether both of them act.
    radii = [
        [actor.radius for scene in scenes if len(scene.actors) == 2 for actor in scene.actors[:1]]
        for scenes in (single, [s for s in scenes if len(s.events[0].actors) == 2])
    ]
    assert abs(np.mean(radii[0]) - np.mean(radii[1])) < 0.002


def test_idle_objects_rest_and_keep_away_from_the_acting_one():
    world = World(seed=2, idle_objects=(1, 2))
    for index in range(60):
        scene = world.scene(index)
        acting = {number for event in scene.events for number in event.actors}
        for number, actor in enumerate(scene.actors):
            if number not in acting:
                assert all(np.ptp(getattr(actor, a)) == 0 for a in ("x", "y", "scale", "angle"))
        if len(scene.actors) == 2 and len(acting) == 1:
            first, other = scene.actors
            assert np.hypot(first.x - other.x, first.y - other.y).min() > 0.12


def test_a_timeline_holds_each_actor_before_and_after_its_turn():
    world = World(seed=8, num_frames=32, num_events=2)
    for index in range(30):
        scene = world.scene(index)
        first, second = scene.events
        assert (first.start, first.end, second.start, second.end) == (0, 16, 16, 32)
        assert not set(first.actors) & set(second.actors)
        for number in first.actors:
            assert np.ptp(scene.actors[number].x[15:]) == 0
        for number in second.actors:
            assert np.ptp(scene.actors[number].angle[:17]) == 0


def test_the_truth_is_plain_json_with_boxes_in_pixels():
    truth = World(seed=1, size=48).scene(3).to_dict()
    assert json.loads(json.dumps(truth)) == truth
    assert truth["size"] == 48
    for actor in truth["actors"]:
        assert len(actor["boxes"]) == 16
        assert all(0 <= side <= 48 for box in actor["boxes"] if box for side in box)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"actions": ("bounze",)}, UnknownNameError, "bounce"),
        ({"objects": ("stars",)}, UnknownNameError, "star"),
        ({"colors": ()}, ConfigError, "colors"),
        ({"size": 4}, ConfigError, "size"),
        ({"num_frames": 6, "num_events": 2}, ConfigError, "num_frames=6"),
        ({"digit_share": 1.5}, ConfigError, "digit_share"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"idle_objects": ()}, ConfigError, "idle_objects"),
    ],
)
def test_impossible_settings_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        World(**settings)


def test_impossible_requests_are_refused():
    with pytest.raises(IndexError, match="-1"):
        World()[-1]
    with pytest.raises(UnknownNameError, match="vanish"):
        World().clip(0, action="vanishes")
    with pytest.raises(ConfigError, match="workers"):
        generate(World(), 2, workers=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        World().seed = 3
