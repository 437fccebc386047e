import pickle

import numpy as np
import pytest
import torch

from internvideo.data.clip_file import ClipFile, DecodedClip, write_clips
from internvideo.data.config import ClipFileData, open_data
from internvideo.data.world import WorldSource
from internvideo.errors import DataError
from internvideo.video.preprocessing import PRESETS
from internvideo.world import World

_NANO = PRESETS["nano"]


@pytest.fixture
def written(tmp_path):
    world = World(seed=3, objects=("star",))
    clips = [world[number] for number in range(6)]
    write_clips(
        tmp_path / "a" / "clips.safetensors",
        (
            DecodedClip(
                frames=_NANO.resize(torch.from_numpy(clip.frames)),
                key=f"clip-{number}",
                label=world.label_of(clip.truth),
                captions=world.captions(clip.truth, 3),
            )
            for number, clip in enumerate(clips)
        ),
        class_names=world.class_names,
        fps=8.0,
    )
    return tmp_path / "a" / "clips.safetensors", world


def test_a_model_sees_what_it_sees_of_the_clips_themselves(written):
    path, world = written
    file, source = ClipFile(path), WorldSource(world, num_clips=6)
    assert len(file) == 6
    assert file.class_names == source.class_names
    for index in range(6):
        views, label, key = file.read_views(index, _NANO)
        assert torch.equal(views, source.read_views(index, _NANO).views)
        assert label == source.label(index) == file.label(index)
        assert key == f"clip-{index}"
        sample = file.read(index, np.random.default_rng(0))
        assert np.array_equal(sample.frames, file.all_frames()[index].numpy())
        assert sample.caption in world.captions(index, 3) == file.captions(index)


def test_a_part_is_read_in_other_processes_too(written):
    path, _ = written
    part = open_data(ClipFileData(kind="clip-file", annotations=path, start=2, num_clips=3), _NANO)
    assert [part.key(index) for index in range(len(part))] == ["clip-2", "clip-3", "clip-4"]
    part.read(0, np.random.default_rng(0))
    again = pickle.loads(pickle.dumps(part))
    assert np.array_equal(
        again.read(1, np.random.default_rng(0)).frames, ClipFile(path).all_frames()[3].numpy()
    )


def test_what_cannot_be_used_is_named(written, tmp_path):
    path, _ = written
    with pytest.raises(DataError, match=r"clips\.safetensors holds 6 clips"):
        ClipFile(path, start=4, num_clips=3)
    with pytest.raises(DataError, match="clip-0"):
        ClipFile(path).check_labels(0)
    (tmp_path / "b.safetensors").write_bytes(b"no such thing")
    with pytest.raises(DataError, match=r"b\.safetensors"):
        ClipFile(tmp_path / "b.safetensors")
    with pytest.raises(DataError, match="no clips"):
        write_clips(tmp_path / "c.safetensors", [])
