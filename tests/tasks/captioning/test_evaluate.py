"""Captions of a model against the true ones, from the world and from a list of real files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from internvideo.results import CaptionedVideo, CaptioningReport

from internvideo.cli.application import run
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation import captioned_videos, captioned_world, measure_captioning
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.pipeline import load
from internvideo.tasks.captioning.report import Fact
from internvideo.video.preprocessing import PRESETS
from internvideo.world import Encoding, World, plain_caption, vocabulary, write_mp4
from internvideo.zoo import save_pretrained


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory):
    """A tiny model that writes nonsense, with the words of the world."""
    torch.manual_seed(0)
    words = vocabulary()
    text = CLIPTextConfig(
        vocab_size=len(words) + 4, context_length=8, width=64, depth=1, num_heads=1, embed_dim=16
    )
    vision = VideoViTConfig(
        image_size=32, num_frames=16, patch_size=16, tubelet_size=8, width=24, depth=1, num_heads=2
    )
    config = InternVideoMMConfig(
        vision=vision, text=text, embed_dim=16, decoder_depth=1, decoder_queries=2, vocabulary=words
    )
    directory = tmp_path_factory.mktemp("tiny") / "model"
    save_pretrained(InternVideoMM(config), directory, preprocessing=PRESETS["nano"])
    return directory


@pytest.fixture(scope="module")
def model(model_directory):
    return load(str(model_directory), device="cpu")


class _Knowing(torch.nn.Module):
    """Writes the true caption of every second clip."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.world = world
        self.asked = 0

    def caption(self, clips, **_):
        first, self.asked = self.asked, self.asked + len(clips)
        return [
            plain_caption(self.world.scene(index)) if index % 2 else "a dog"
            for index in range(first, self.asked)
        ]


def test_half_of_the_captions_of_the_world_are_right(model, monkeypatch):
    videos = captioned_world(20, seed=3)
    monkeypatch.setattr(model, "model", _Knowing(World(seed=3)))
    report = measure_captioning(model, videos, batch_size=8)
    assert report.exact == 50
    assert report.cider == pytest.approx(5, abs=0.01)
    assert report.named == {
        kind: (50.0, pytest.approx(count)) for kind, (_, count) in report.named.items()
    } or (report.named["action"][0] == pytest.approx(50))
    assert set(report.named) == {"action", "colour", "object"}
    assert report.videos[1].caption == report.videos[1].references[0]


def test_a_stopped_evaluation_goes_on(model, tmp_path):
    videos = captioned_world(6, seed=3)
    whole = measure_captioning(model, videos, directory=tmp_path / "whole")
    lines = (tmp_path / "whole" / "predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "predictions.jsonl").write_text("".join(lines[:4]))
    seen = []
    again = measure_captioning(
        model, videos, directory=tmp_path / "part", progress=lambda *at: seen.append(at)
    )
    assert seen[0] == (4, 6)
    assert [v.caption for v in again.videos] == [v.caption for v in whole.videos]
    assert json.loads((tmp_path / "part" / "report.json").read_text()) == whole.to_dict()


def test_a_list_of_captions_with_a_broken_video(model_directory, tmp_path, capsys):
    world = World(seed=1)
    for index in range(2):
        write_mp4(tmp_path / f"{index}.mp4", world[index].frames, Encoding())
    (tmp_path / "2.mp4").write_bytes(b"no video")
    rows = [f"{index}.mp4,A thing moves {index}." for index in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(["video,caption", *rows]) + "\n")
    arguments = ["evaluate", "captioning", str(model_directory), "-d", str(tmp_path / "list.csv")]
    plot = tmp_path / "plot.png"
    assert run([*arguments, "--json", "--plot", str(plot), "--num-beams", "2"]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert (report["num_videos"], report["num_failed"]) == (2, 1)
    assert report["captions"][1]["references"] == ["a thing moves 1"]
    assert "2.mp4" in told.err
    assert plot.stat().st_size > 1000
    assert run([*arguments, "--strict"]) == 1


def test_videos_without_captions_and_models_without_words_are_refused(model, tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\n")
    with pytest.raises(DataError, match=r"list.csv:1: .*a.mp4 has no caption"):
        captioned_videos(tmp_path / "list.csv", protocol=PRESETS["nano"], kind="kinetics")
    with pytest.raises(ConfigError, match="writes no captions"):
        measure_captioning(load("viclip-nano", device="cpu"), captioned_world(1))
    with pytest.raises(ConfigError, match="at least 1"):
        captioned_world(0)


def test_facts_are_whole_words():
    fact = Fact("object", ("digit one", "ring"))
    assert fact.is_named("a red ring")
    assert not fact.is_named("a red string")
    video = CaptionedVideo(video="a", caption="a ring", references=("b",), facts=(fact,))
    report = CaptioningReport(videos=(video,))
    assert report.named == {"object": (100.0, 1)}
    assert np.isclose(report.exact, 0)
