from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from internvideo.data import write_world
from internvideo.data.clips import VideoListSource
from internvideo.errors import ConfigError
from internvideo.formats import find_format
from internvideo.recipe import find_recipe, load_recipe
from internvideo.recipe.building import build_source
from internvideo.world import ACTIONS, World


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
    write_world(tmp_path / "k", 6, world=World(), workers=1)
    write_world(tmp_path / "m", 6, kind="msrvtt", world=World(), workers=1)
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
    with pytest.raises(ConfigError, match=r"'colour'.*'color'"):
        build_source(recipe)


def test_a_recipe_names_its_data_set():
    recipe = load_recipe("k400_videomae-b", ["data.dataset=k600", "data.root=/videos"])
    assert (recipe.data.annotations.as_posix(), recipe.data.root) == (
        "data/k600/train.csv",
        "/videos",
    )
    assert recipe.evaluation.data.annotations.as_posix() == "data/k600/val.csv"
    assert recipe.model["num_classes"] == 600
    with pytest.raises(ConfigError, match=r"'k60'.*k600"):
        load_recipe("k400_videomae-b", ["data.dataset=k60"])


def test_one_file_holds_the_recipes_of_several_data_sets(tmp_path):
    names = ("k400_umt-b_from-k710", "k600_umt-b_from-k710")
    one, other = map(load_recipe, names)
    assert (one.name, other.name) == names
    assert find_recipe(names[0]) == find_recipe(names[1])
    assert one.init_labels == "kinetics-400/authors"
    assert other.init_labels == "kinetics-600/authors"
    assert "Kinetics-600" in other.description
    assert other.model == {**one.model, "num_classes": 600}
    assert load_recipe(find_recipe(names[1])).name == names[0]  # the first, where none is named
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: k600_umt-b_from-k710\ndata: {dataset: ssv2, root: /videos}\n")
    changed = load_recipe(mine)
    assert (changed.data.kind, changed.model["num_classes"]) == ("something-something", 174)
    assert changed.data.root == "/videos"
    assert changed.evaluation.data.root == "data/ssv2"


@pytest.mark.parametrize(
    ("dataset", "kind", "clips"),
    [
        ("msrvtt", "msrvtt", (16, 1)),
        ("msrvtt-1ka", "msrvtt", (18, 1)),
        ("msvd", "msvd", (16, 1)),
        ("lsmdc", "lsmdc", (8, 1)),
        ("didemo", "didemo", (8, 1)),
        ("anet-captions", "activitynet-captions", (8, 2)),
        ("vatex", "vatex", (16, 2)),
    ],
)
def test_the_retrieval_sets_have_names_for_their_files(tmp_path, monkeypatch, dataset, kind, clips):
    """The files that the world writes are those that the table names."""
    monkeypatch.chdir(tmp_path)
    world = World(size=16, num_frames=4, objects=("star",))
    captions = min(find_format(kind).layout.captions, 2)
    folder = find_recipe("k400_videomae-b").parents[1]
    table = yaml.safe_load((folder / "_datasets.yaml").read_text())
    directory = Path(table[dataset]["train"]["annotations"]).parent
    write_world(directory, 10, kind=kind, world=world, captions=captions)
    recipe = load_recipe("world_viclip-nano", [f"data.dataset={dataset}"])
    held = load_recipe("world_viclip-nano", ["data=" + json.dumps(table[dataset]["val"])])
    sources = [build_source(each) for each in (recipe, held)]
    assert tuple(map(len, sources)) == clips
    for source in sources:
        assert source.read(0, np.random.default_rng(0)).caption
    assert all(len(clip.captions) == 1 for clip in sources[0].clips)
