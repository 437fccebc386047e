from __future__ import annotations

import numpy as np
import pytest

from internvideo.errors import ConfigError
from internvideo.world import World
from internvideo.world.painting import render
from internvideo.world.untrimmed import UNTRIMMED_ACTIONS

WORLD = World(seed=4, size=32, num_frames=600, objects=("star", "circle"), untrimmed=True)
SCENES = [WORLD.scene(index) for index in range(40)]


def test_twenty_one_actions_of_one_performer():
    assert len(UNTRIMMED_ACTIONS) == 21
    assert "still" not in UNTRIMMED_ACTIONS
    assert WORLD.style.actions == UNTRIMMED_ACTIONS


def test_videos_are_of_many_lengths_and_some_actions_overlap():
    lengths = [scene.num_frames for scene in SCENES]
    assert 120 <= min(lengths) < 250 < 500 < max(lengths) <= 600
    assert {len(scene.actors) for scene in SCENES} == {1, 2, 3}
    overlaps = 0
    for scene in SCENES:
        for one in scene.events:
            for other in scene.events:
                if one is not other and one.start <= other.start < one.end:
                    assert one.actors != other.actors
                    overlaps += 1
    assert overlaps > 20


def test_performers_act_in_their_events_and_are_quiet_between_them():
    for scene in SCENES[:10]:
        assert [event.start for event in scene.events] == sorted(e.start for e in scene.events)
        for number, actor in enumerate(scene.actors):
            own = [event for event in scene.events if event.actors == (number,)]
            acting = np.zeros(scene.num_frames, bool)
            for event in own:
                acting[event.start : event.end] = True
            track = np.stack([actor.x, actor.y, actor.scale, actor.angle, actor.alpha])
            changes = np.abs(np.diff(track, axis=1)).max(axis=0) > 0
            quiet = ~acting[1:] & ~acting[:-1]
            # where a performer goes after an action it goes at once
            assert not changes[quiet].any()
            for event in own:
                assert np.ptp(track[:, event.start : event.end], axis=1).max() > 0


def test_scenes_are_the_same_again_and_painted_in_pieces():
    clip = WORLD[3]
    assert clip.truth.to_dict() == WORLD.scene(3).to_dict()
    whole = render(clip.truth)
    assert np.array_equal(clip.frames, whole)
    assert not np.array_equal(
        WORLD.scene(3).to_dict()["events"], WORLD.scene(4).to_dict()["events"]
    )


def test_sentences_tell_one_moment():
    for scene in SCENES[:10]:
        told = WORLD.moment_captions(scene)
        for event, sentence in zip(scene.events, told, strict=True):
            again = [
                e for e in scene.events if (e.action, e.actors) == (event.action, event.actors)
            ]
            assert bool(sentence) == (len(again) == 1)


def test_one_action_cannot_be_asked_for():
    with pytest.raises(ConfigError, match="many actions"):
        WORLD.scene(0, action="grow")
