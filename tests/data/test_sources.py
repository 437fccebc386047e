from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.data.sources import KineticsSource, MSRVTTSource, WorldSource
from internvideo.errors import DataError
from internvideo.video.preprocessing import PRESETS
from internvideo.world import CaptionMix, World, is_held_out, write_kinetics, write_msrvtt

NANO = PRESETS["nano"]


def test_world_clips_are_the_same_whenever_they_are_read():
    source = WorldSource(World(seed=3), num_clips=5, captions=CaptionMix())
    first = source.read(2, np.random.default_rng(0))
    again = source.read(2, np.random.default_rng(0))
    assert first.caption == again.caption
    assert not is_held_out(first.caption)
    np.testing.assert_array_equal(first.frames, again.frames)


def test_kinetics_files_written_by_the_world_are_read_back(tmp_path):
    write_kinetics(tmp_path, 8, world=World(seed=1))
    source = KineticsSource(next(tmp_path.rglob("train.csv")), NANO)
    sample = source.read(0, np.random.default_rng(0))
    assert sample.frames.shape[0] == 16
    assert sample.frames.dtype == np.uint8
    assert sample.label is not None


def test_msrvtt_files_written_by_the_world_are_read_back(tmp_path):
    write_msrvtt(tmp_path, 8, world=World(seed=1))
    annotations = next(tmp_path.rglob("*.json"))
    videos = next(tmp_path.rglob("*.mp4")).parent
    source = MSRVTTSource(annotations, NANO, videos=videos, split="train")
    sample = source.read(0, np.random.default_rng(0))
    known = {s["caption"] for s in json.loads(annotations.read_text())["sentences"]}
    assert sample.caption in known
    assert sample.frames.shape[0] == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "lists no clips"), ("a.mp4 3\nb.mp4,4\n", r":2: expected 'path label'")],
)
def test_a_broken_kinetics_list_says_where(tmp_path, content, message):
    path = tmp_path / "train.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        KineticsSource(path, NANO)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not an MSR-VTT json"),
        ('{"videos": []}', "not an MSR-VTT json"),
        ('{"videos": [], "sentences": []}', "lists no clips"),
    ],
)
def test_a_broken_msrvtt_json_is_a_clear_error(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        MSRVTTSource(path, NANO, videos=tmp_path, split="train")


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match="no annotation file"):
        KineticsSource(tmp_path / "none.csv", NANO)
