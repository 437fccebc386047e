"""Asking a detector about a user's videos."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from internvideo.errors import ConfigError, VideoError
from internvideo.models.actionformer import ActionFormer
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.pipeline import load
from internvideo.recipe import load_recipe
from internvideo.world import Encoding, World, write_mp4
from internvideo.zoo import find_card, save_pretrained
from internvideo.zoo.kinds.actionformer import ACTIONFORMER
from tiny import save_classifier

_FPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a video of the world, one that is broken, and a detector with its encoder."""
    root = tmp_path_factory.mktemp("moments")
    clip = World(seed=3, num_frames=300, untrimmed=True)[0]
    write_mp4(root / "film.mp4", clip.frames, Encoding(fps=_FPS))
    truth = [(each.start / _FPS, each.end / _FPS, each.action) for each in clip.truth.events]
    (root / "truth.json").write_text(json.dumps(truth))
    (root / "broken.mp4").write_bytes(b"no video")
    encoder = save_classifier(root / "encoder")
    torch.manual_seed(0)
    config = replace(
        ACTIONFORMER.tiny["window"],
        input_dims=(32,),
        origin=FeatureOrigin(model=str(encoder), window=4, stride=2),
    )
    labels = ("run", "jump", "a/b")
    save_pretrained(ActionFormer(config), root / "detector", labels=labels)
    return root


def test_moments_come_in_the_order_of_time_and_a_broken_video_ends_nothing(folder):
    model = load(folder / "detector", device="cpu")
    videos = [folder / "broken.mp4", folder / "film.mp4"]
    broken, answer = model.predict("moments", iter(videos), threshold=0.0, top_k=7)
    assert isinstance(broken, VideoError)
    assert len(answer.moments) == 7
    assert {each.label for each in answer.moments} <= {"run", "jump", "a/b"}
    starts = [each.start for each in answer.moments]
    assert starts == sorted(starts)
    assert all(0 <= each.start < each.end <= answer.duration for each in answer.moments)
    assert "windows of 4 frames, every 2, by " in answer.protocol
    (sure,) = model.predict("moments", [folder / "film.mp4"], threshold=1.0)
    assert sure.moments == ()


def test_the_command_shows_draws_and_cuts(folder, call, tmp_path):
    code, out, err = call(
        "predict", "moments", folder / "film.mp4", folder / "broken.mp4", "-m", folder / "detector",
        "--threshold", 0, "-k", 3, "--plot", tmp_path / "plots", "--cut", tmp_path / "clips",
    )  # fmt: skip
    assert code == 1
    assert "broken.mp4" in err
    assert "what" in out
    assert (tmp_path / "plots" / "film.png").stat().st_size > 5000
    assert len(list((tmp_path / "clips" / "film").iterdir())) == 3


def test_moments_of_the_default_model_are_those_of_the_world(folder, call, tmp_path):
    code, out, err = call("predict", "moments", folder / "film.mp4", "--json")
    assert code == 0
    assert "procedural world" in err  # nobody should believe it about other videos
    found = json.loads(out)["moments"]
    truth = json.loads((folder / "truth.json").read_text())
    assert len(found) <= 2 * len(truth)
    hits = [
        any(
            each["label"].lower() == action.replace(" ", "")
            and _overlap((each["start"], each["end"]), (start, end)) >= 0.5
            for each in found
        )
        for start, end, action in truth
    ]
    assert sum(hits) >= 0.7 * len(hits)


def test_the_embedded_detector_names_the_recipe_that_made_it():
    card = find_card("moments-nano")
    [step] = card.provenance["steps"]
    assert step["recipe_sha256"] == load_recipe(step["recipe"]).fingerprint()
    assert (card.directory / "model.safetensors").stat().st_size <= 3_000_000


def test_a_model_must_be_a_detector_that_knows_its_features(folder):
    with pytest.raises(ConfigError, match="finds no moments"):
        load(folder / "encoder", device="cpu").predict("moments", [folder / "film.mp4"])
    model = load(folder / "detector", device="cpu")
    kept = model.model.config
    for origin, named in (
        (None, "which encoder"), (replace(kept.origin, weights_sha256="abc"), "other weights"),
    ):  # fmt: skip
        model.model.config = replace(kept, origin=origin)
        with pytest.raises(ConfigError, match=named):
            list(model.predict("moments", [folder / "film.mp4"]))


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(shared, 0.0) / (max(one[1], other[1]) - min(one[0], other[0]))
