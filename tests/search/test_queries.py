from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from internvideo.errors import ConfigError, VideoError
from internvideo.pipeline import VideoModel, load
from internvideo.search.queries import Moment, embed_text
from internvideo.search.records import Cut
from internvideo.video import Video
from internvideo.video.frames import Window
from internvideo.zoo.hub import LoadedModel
from search_films import SHOT, write_film


@pytest.fixture(scope="module")
def reader(model) -> VideoModel:
    return load(model, device="cpu")


@pytest.fixture(scope="module")
def clip_reader() -> VideoModel:
    """A model that reads any words, by CLIP's tokenizer."""
    from internvideo.models.clip_text import CLIPTextConfig
    from internvideo.models.viclip import ViCLIP, ViCLIPConfig
    from internvideo.models.vit import VideoViTConfig

    torch.manual_seed(0)
    encoder = VideoViTConfig(
        image_size=32, num_frames=4, patch_size=16, tubelet_size=2, width=32, depth=1, num_heads=2
    )
    text = CLIPTextConfig(
        vocab_size=49408, context_length=32, width=32, depth=1, num_heads=2, embed_dim=16
    )
    config = ViCLIPConfig(vision=encoder, text=text, embed_dim=16)
    return VideoModel(tiny.with_protocol(LoadedModel(ViCLIP(config)), tiny.PROTOCOL))


def test_a_text_becomes_a_unit_vector(reader, caplog):
    vector = embed_text(reader, "a star moves to the left")
    assert vector.shape == (16,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "  \n", "\t"])
def test_a_text_without_words_is_refused(reader, text):
    with pytest.raises(ConfigError, match="the text to search for is empty"):
        embed_text(reader, text)


@pytest.mark.parametrize("text", ["ein Hund fängt einen Ball", "狗接住一个球", "?!"])
def test_words_that_a_small_model_does_not_know(reader, text):
    with pytest.raises(ConfigError, match=r"knows none of the words of .* 232 words|knows none"):
        embed_text(reader, text)


def test_a_text_of_two_thousand_words(reader, clip_reader, caplog):
    long = " ".join(["a star moves to the left"] * 340)
    for model in (reader, clip_reader):
        caplog.clear()
        vector = embed_text(model, long)
        assert np.isfinite(vector).all()
        assert "reads the first 30 tokens of the text, which has 2040" in caplog.text


def test_another_script_is_told(clip_reader, caplog):
    embed_text(clip_reader, "a dog catches a ball, café")
    assert not caplog.records
    embed_text(clip_reader, "собака ловит мяч")
    assert "has learnt English" in caplog.text


@pytest.mark.parametrize(
    ("text", "seconds"), [("a.mp4@12.5", 12.5), ("a@b.mp4@0", 0.0), ("s3://x/a.mp4@3", 3.0)]
)
def test_moments(text, seconds):
    moment = Moment.parse(text)
    assert moment.seconds == seconds
    assert moment.path.endswith(text.rpartition("@")[0])


@pytest.mark.parametrize(
    "text", ["a.mp4", "a.mp4@", "@3", "a.mp4@x", "a.mp4@-1", "a.mp4@nan", "a@inf"]
)
def test_what_is_no_moment(text):
    with pytest.raises(ConfigError, match="FILE@SECONDS"):
        Moment.parse(text)


def test_a_moment_is_the_window_around_it(reader, tmp_path):
    path = write_film(tmp_path / "film.mp4", 3)
    moment = Moment.parse(f"{path}@1.5")
    vector = moment.embed(reader.loaded, Cut(window=1.0))
    with Video(path) as video:
        views = tiny.PROTOCOL.load(Window(video, SHOT, SHOT))
    with torch.no_grad():
        right = reader.model.embed(views)[0].numpy()
    np.testing.assert_allclose(vector, right, atol=1e-5)
    whole = Moment.parse(f"{path}@0").embed(reader.loaded, Cut(window=100.0))
    np.testing.assert_allclose(whole, reader.embed_video(path)[0], atol=1e-5)


def test_a_moment_behind_the_end(reader, tmp_path):
    path = write_film(tmp_path / "film.mp4", 3)
    with pytest.raises(ConfigError, match=r"over after 3\.0 s"):
        Moment.parse(f"{path}@3").embed(reader.loaded, Cut())
    with pytest.raises(VideoError, match="no such file"):
        Moment.parse(f"{tmp_path}/gone.mp4@1").embed(reader.loaded, Cut())
