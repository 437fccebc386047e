"""Asking about a user's videos, by similarity and by a model that was trained on windows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.cli.application import run
from internvideo.errors import ConfigError, VideoError
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import GivenTextConfig
from internvideo.pipeline import load
from internvideo.world import Encoding, World, write_mp4
from internvideo.zoo import save_pretrained
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.kinds.vslnet import VSLNET
from tiny import save_viclip

SENTENCES = ("a red star moves left", "when does it vanish?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a video of 4 s, a two-tower model, and a model that was trained on its windows."""
    root = tmp_path_factory.mktemp("ask")
    world = World(seed=4, size=32, num_frames=16)
    frames = np.concatenate([world[number].frames for number in range(6)])
    write_mp4(root / "long.mp4", frames, Encoding(fps=24, scale=1))
    (root / "broken.mp4").write_bytes(b"no video")
    towers = save_viclip(root / "towers")
    torch.manual_seed(0)
    config = replace(
        VSLNET.tiny["given"],
        video_width=16,
        text=GivenTextConfig(width=16, model=str(towers)),
        origin=FeatureOrigin(model=str(towers), window=16, stride=8),
    )
    save_pretrained(VSLNet(config), root / "trained", architectures=ARCHITECTURES)
    return root


@pytest.mark.parametrize("name", ["towers", "trained"])
def test_spans_of_each_sentence_come_best_first(folder, name):
    model = load(folder / name, device="cpu")
    videos = [folder / "long.mp4", folder / "broken.mp4"]
    answer, broken = model.predict("language-queries", iter(videos), query=SENTENCES, top_k=3)
    assert isinstance(broken, VideoError)
    assert answer.duration == pytest.approx(4.0)
    assert [query for query, _ in answer.found] == list(SENTENCES)
    for _, spans in answer.found:
        assert 1 <= len(spans.times) <= 3
        assert all(0 <= start < end <= 4.0 for start, end in spans.times)
        assert list(spans.scores) == sorted(spans.scores, reverse=True)
    assert "windows of 16 frames, every 8" in answer.protocol


def test_a_plain_sentence_is_asked_by_the_command(folder, capsys, tmp_path):
    picture = tmp_path / "when.png"
    code = run(
        ["predict", "query", str(folder / "long.mp4"), SENTENCES[0], "-m", str(folder / "towers"),
         "--json", "--plot", str(picture), "--window", "16", "--stride", "16"]
    )  # fmt: skip
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    [found] = answer["queries"]
    assert found["query"] == SENTENCES[0]
    assert found["spans"]
    assert picture.stat().st_size > 5000
    code = run(
        ["predict", "language-queries", str(folder / "long.mp4"), "-q", SENTENCES[0],
         "-q", SENTENCES[1], "-m", str(folder / "trained")]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0
    assert all(sentence in printed for sentence in SENTENCES)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("query", "long.mp4", "?", "-m", "towers"), "no words"),
        (("language-queries", "long.mp4", "-m", "towers"), "no query"),
        (("query", "long.mp4", "a star", "-m", "trained", "--window", "8"), "of its own"),
        (("query", "long.mp4", "a star", "-m", "videomae-nano"), "finds nothing by words"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder, capsys, monkeypatch, arguments, named):
    monkeypatch.chdir(folder)
    assert run(["predict", *arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_model_must_say_what_made_its_features(folder):
    trained = load(folder / "trained", device="cpu")
    network = trained.model
    kept = network.config
    try:
        for origin, named in (
            (None, "which encoder"),
            (replace(kept.origin, weights_sha256="abc"), "other weights"),
        ):
            network.config = replace(kept, origin=origin)
            with pytest.raises(ConfigError, match=named):
                trained.predict("language-queries", [folder / "long.mp4"], query=["a star"])
    finally:
        network.config = kept
