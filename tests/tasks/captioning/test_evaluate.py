"""Captions of a model against the true ones, from the world and from a list of real files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.cli.application import run
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.captioning.evaluate import CaptionedVideos, evaluate, open_captioned
from internvideo.tasks.captioning.predict import CaptionStyle
from internvideo.tasks.captioning.report import CaptionedVideo, CaptioningReport, Fact
from internvideo.video.preprocessing import PRESETS
from internvideo.world import Encoding, World, plain_caption, vocabulary, write_mp4
from internvideo.zoo import load_model, save_pretrained


def world_clips(num_clips: int, seed: int | None = None) -> CaptionedVideos:
    data = AnnotatedData(path="world", num_clips=num_clips, seed=seed)
    return open_captioned(data, PRESETS["nano"])


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
    return load_model(model_directory)


class _Knowing(torch.nn.Module):
    """Writes the true caption of every second clip."""

    capabilities = frozenset({"captions"})

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
    monkeypatch.setattr(model, "model", _Knowing(World(seed=3)))
    report = evaluate(model, world_clips(20, seed=3), loop=EvalLoop(batch_size=8))
    assert report.exact == 50
    assert report.cider == pytest.approx(5, abs=0.01)
    assert report.named == {
        kind: (50.0, pytest.approx(count)) for kind, (_, count) in report.named.items()
    } or (report.named["action"][0] == pytest.approx(50))
    assert set(report.named) == {"action", "colour", "object"}
    assert report.videos[1].caption == report.videos[1].references[0]


def test_a_stopped_evaluation_goes_on_with_equal_numbers(model, tmp_path):
    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    videos, seen = world_clips(6, seed=3), []
    loop = EvalLoop(batch_size=1, directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, videos, loop=replace(loop, progress=stop))
    told = replace(loop, progress=lambda *at: seen.append(at))
    whole = evaluate(model, videos, loop=EvalLoop(batch_size=1))
    assert evaluate(model, videos, loop=told) == whole
    assert seen == [(5, 6), (6, 6)]
    with pytest.raises(ConfigError, match="style"):
        evaluate(model, videos, loop=loop, num_beams=2)
    with pytest.raises(ConfigError, match="style"):
        evaluate(model, videos, loop=loop, style=CaptionStyle(max_length=3))


def test_nothing_readable_is_an_error(model, tmp_path):
    (tmp_path / "0.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text("video,caption\n0.mp4,a star\n")
    videos = open_captioned(AnnotatedData(path=str(tmp_path / "list.csv")), model.protocol)
    with pytest.raises(DataError, match=r"0\.mp4"):
        evaluate(model, videos, loop=EvalLoop())


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
    data = AnnotatedData(path=str(tmp_path / "list.csv"), format="kinetics")
    with pytest.raises(DataError, match=r"list\.csv:1: .*a\.mp4"):
        open_captioned(data, PRESETS["nano"])
    with pytest.raises(ConfigError, match="mm-nano"):
        evaluate(load_model("viclip-nano"), world_clips(1), loop=EvalLoop())
    with pytest.raises(ConfigError, match="at least 1"):
        world_clips(0)


def test_facts_are_whole_words():
    fact = Fact("object", ("digit one", "ring"))
    assert fact.is_named("a red ring")
    assert not fact.is_named("a red string")
    video = CaptionedVideo(video="a", caption="a ring", references=("b",), facts=(fact,))
    report = CaptioningReport(videos=(video,))
    assert report.named == {"object": (100.0, 1)}
    assert np.isclose(report.exact, 0)
