from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from internvideo.data import write_world
from internvideo.data.build import open_list, read_list
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.world import WorldSource
from internvideo.errors import DataError
from internvideo.video.preprocessing import PRESETS
from internvideo.world import ACTIONS, World, is_held_out

NANO = PRESETS["nano"]


def test_world_clips_are_the_same_whenever_they_are_read():
    source = WorldSource(World(seed=3), num_clips=5)
    first = source.read(2, np.random.default_rng(0))
    again = source.read(2, np.random.default_rng(0))
    assert first.caption == again.caption
    assert not is_held_out(first.caption)
    np.testing.assert_array_equal(first.frames, again.frames)


def test_world_clips_begin_where_they_are_told_and_know_their_action():
    world = World(seed=3)
    source = WorldSource(world, num_clips=5, start=100)
    assert len(source) == 5
    sample = source.read(2, np.random.default_rng(0))
    np.testing.assert_array_equal(sample.frames, world[102].frames)
    assert ACTIONS[sample.label] == world.scene(102).action
    assert sample.key == source.key(2) == "world-3-102"
    views, label, key = source.read_views(2, NANO)
    assert (label, key) == (sample.label, sample.key)
    assert label == source.label(2)
    frames = torch.from_numpy(sample.frames)
    torch.testing.assert_close(views[0], NANO.transform(frames), rtol=0, atol=0)


def test_world_clips_may_be_sampled():
    sampling = ClipSampling(rule="dense", clip_length=4, frame_stride=2)
    source = WorldSource(World(seed=3), num_clips=5, sampling=sampling)
    sample = source.read(0, np.random.default_rng(5))
    wanted = sampling.indices(16, 8.0, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    source.world.caption(0, rng)
    wanted = sampling.indices(16, 8.0, rng)
    np.testing.assert_array_equal(sample.frames, World(seed=3)[0].frames[wanted])


def test_the_head_must_hold_the_actions_of_the_world():
    source = WorldSource(World(), num_clips=5)
    source.check_labels(28)
    with pytest.raises(DataError, match="28 actions, but the model's head only 10"):
        source.check_labels(10)


def test_msrvtt_files_written_by_the_world_are_read_back(tmp_path):
    write_world(tmp_path, 8, kind="msrvtt", world=World(seed=1))
    annotations = tmp_path / "MSRVTT_data.json"
    source = open_list(
        "msrvtt", annotations, root=tmp_path / "videos", split="train", protocol=NANO
    )
    assert len(source) == 6
    sample = source.read(0, np.random.default_rng(0))
    known = {s["caption"] for s in json.loads(annotations.read_text())["sentences"]}
    assert sample.caption in known
    assert sample.frames.shape[0] == 16
    assert len(read_list("msrvtt", annotations, split="test")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "x.json:1: not json"),
        ('{"videos": []}', "not an MSR-VTT json"),
        ('{"videos": [], "sentences": []}', "lists no clips"),
    ],
)
def test_a_broken_msrvtt_json_is_a_clear_error(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_list("msrvtt", path, root=tmp_path, split="train")


def test_the_public_names_are_there():
    import internvideo.data as room

    assert sorted(room.__all__) == room.__all__
    for name in room.__all__:
        assert getattr(room, name) is not None
    assert set(room.__all__) <= set(dir(room))
    with pytest.raises(AttributeError, match="nothing"):
        _ = room.nothing
