from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.errors import UnknownNameError
from internvideo.world import (
    ACTIONS,
    COLORS,
    OBJECTS,
    REVERSAL_PAIRS,
    TEXTURES,
    action_named,
    reversal_of,
    trajectory,
)

SEEDS = st.integers(0, 2**32 - 1)
RADII = st.tuples(st.floats(0.05, 0.2), st.floats(0.05, 0.2))


def motion_of(action: str, seed: int, num_frames: int = 16, radii=(0.15, 0.15)):
    return trajectory(action, np.random.default_rng(seed), num_frames, radii)


def test_the_table_has_enough_actions_and_its_pairs_are_mutual():
    assert len(ACTIONS) == len(set(ACTIONS)) >= 28
    assert len(REVERSAL_PAIRS) >= 9
    for first, second in REVERSAL_PAIRS:
        assert reversal_of(first) == second
        assert reversal_of(second) == first
    paired = {name for pair in REVERSAL_PAIRS for name in pair}
    assert all(reversal_of(name) is None for name in ACTIONS if name not in paired)


def test_every_action_has_its_own_words():
    phrases = [phrase for name in ACTIONS for phrase in action_named(name).phrases]
    assert len(phrases) == len(set(phrases))
    assert all(len(action_named(name).phrases) >= 3 for name in ACTIONS)
    words = {word for phrase in phrases for word in phrase.split()}
    assert not words & {*COLORS, *OBJECTS, *TEXTURES}, "a word means one thing"


@given(seed=SEEDS, num_frames=st.integers(2, 40), radii=RADII, pair=st.sampled_from(REVERSAL_PAIRS))
def test_the_second_of_a_pair_is_the_first_played_backwards(seed, num_frames, radii, pair):
    forward, backward = (motion_of(name, seed, num_frames, radii) for name in pair)
    for there, back in zip(forward.arrays(), backward.arrays(), strict=True):
        np.testing.assert_array_equal(there[:, ::-1], back)


@given(seed=SEEDS, num_frames=st.integers(2, 40), radii=RADII, action=st.sampled_from(ACTIONS))
def test_motions_are_finite_and_stay_near_the_frame(seed, num_frames, radii, action):
    motion = motion_of(action, seed, num_frames, radii)
    assert all(
        values.shape == (action_named(action).num_actors, num_frames) for values in motion.arrays()
    )
    assert all(np.isfinite(values).all() for values in motion.arrays())
    margin = 0.26 if action in ("enter", "leave") else 0.06
    assert min(motion.x.min(), motion.y.min()) >= -margin
    assert max(motion.x.max(), motion.y.max()) <= 1 + margin
    assert motion.alpha.min() >= 0
    assert motion.alpha.max() <= 1
    assert motion.scale.min() > 0.4


@pytest.mark.parametrize(
    ("action", "attribute", "sign"),
    [
        ("move right", "x", 1),
        ("move left", "x", -1),
        ("move down", "y", 1),
        ("move up", "y", -1),
        ("rotate clockwise", "angle", 1),
        ("rotate counterclockwise", "angle", -1),
        ("grow", "scale", 1),
        ("shrink", "scale", -1),
    ],
)
def test_directions_are_what_the_names_say(action, attribute, sign):
    for seed in range(20):
        steps = np.diff(getattr(motion_of(action, seed), attribute)[0]) * sign
        assert (steps > 0).all()
        least = {"x": 0.4, "y": 0.4, "angle": np.pi, "scale": 0.5}[attribute]
        assert steps.sum() >= least


def test_orbits_turn_the_way_they_say():
    for action, sign in (("orbit clockwise", 1), ("orbit counterclockwise", -1)):
        motion = motion_of(action, 3)
        points = motion.x[0] + 1j * motion.y[0]
        steps = np.diff(points)
        turns = np.angle(steps[1:] / steps[:-1])
        assert (np.sign(turns) == sign).all()


def test_two_actors_come_as_close_as_they_should():
    for seed in range(20):

        def gap(action, seed=seed):
            motion = motion_of(action, seed)
            return np.hypot(motion.x[0] - motion.x[1], motion.y[0] - motion.y[1])

        assert (np.diff(gap("separate")) > 0).all()
        assert gap("separate")[0] < 0.33
        assert gap("approach")[0] >= 0.56
        collision = gap("collide")
        assert 4 <= collision.argmin() <= 11
        assert collision.min() < 0.37
        assert min(collision[0], collision[-1]) > 0.5
        np.testing.assert_allclose(gap("follow"), gap("follow")[0])
        swap = motion_of("swap", seed)
        np.testing.assert_allclose(swap.x[:, 0], swap.x[::-1, -1])
        np.testing.assert_allclose(swap.y[:, 0], swap.y[::-1, -1])


def test_pauses_rest_and_visits_begin_outside():
    for seed in range(20):
        stop = motion_of("go then stop", seed)
        speed = np.hypot(np.diff(stop.x[0]), np.diff(stop.y[0]))
        assert (speed[:5] > 0.05).all()
        assert (speed[8:] == 0).all()
        enter = motion_of("enter", seed)
        start = np.array([enter.x[0, 0], enter.y[0, 0]])
        assert (np.minimum(start, 1 - start) < -0.15).any()
        appear = motion_of("appear", seed)
        assert appear.alpha[0, 0] == 0
        assert appear.alpha[0, -1] == 1
        assert motion_of("still", seed).x.std() == 0


@settings(max_examples=30)
@given(seed=SEEDS, pair=st.sampled_from(REVERSAL_PAIRS))
def test_the_set_of_frames_says_nothing_about_the_direction(seed, pair):
    def frames(action):
        motion = motion_of(action, seed)
        columns = np.concatenate(motion.arrays()).T
        return columns[np.lexsort(columns.T)]

    np.testing.assert_array_equal(frames(pair[0]), frames(pair[1]))


def test_an_unknown_action_is_told_with_the_nearest_names():
    with pytest.raises(UnknownNameError, match="move left"):
        action_named("move lefft")
