from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.data.clips import VideoListSource
from internvideo.errors import ConfigError
from internvideo.recipe import load_recipe
from internvideo.recipe.inputs import build_source
from internvideo.world import ACTIONS, World, write_kinetics, write_msrvtt


def test_a_recipe_samples_the_frames_of_its_clips():
    sampling = 'sampling={"rule": "dense", "frame_stride": 1}'
    recipe = load_recipe("world_videomae-nano", ["data.start=5"])
    whole = build_source(recipe)
    part = build_source(
        load_recipe(
            "world_videomae-nano",
            ["data.start=5", sampling, 'preprocessing={"preset": "nano", "num_frames": 8}'],
        )
    )
    assert whole.key(0) == "world-0-5"
    frames = [source.read(0, np.random.default_rng(0)).frames for source in (whole, part)]
    assert [len(each) for each in frames] == [16, 8]
    assert whole.class_names == ACTIONS


def test_lists_of_videos_are_read_in_their_own_format(tmp_path):
    write_kinetics(tmp_path / "k", 6, world=World(), workers=1)
    write_msrvtt(tmp_path / "m", 6, world=World(), workers=1)
    kinetics = {"kind": "kinetics", "annotations": str(tmp_path / "k" / "train.csv")}
    (annotations,) = (tmp_path / "m").glob("*.json")
    msrvtt = {
        "kind": "msrvtt", "annotations": str(annotations), "videos": str(tmp_path / "m" / "videos"),
    }  # fmt: skip
    for data in (kinetics, msrvtt):
        recipe = load_recipe("world_videomae-nano", ["data=" + json.dumps(data)])
        source = build_source(recipe)
        assert isinstance(source, VideoListSource)
        sample = source.read(0, np.random.default_rng(0))
        assert sample.frames.shape[0] == 16
        assert (sample.caption is not None) == (data["kind"] == "msrvtt")


def test_an_unknown_kind_of_caption_is_named():
    recipe = load_recipe("world_viclip-nano", ["data.captions={colour: 1}"])
    with pytest.raises(ConfigError, match=r"unknown key 'colour'. Did you mean 'color'"):
        build_source(recipe)
