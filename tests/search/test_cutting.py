from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny
from internvideo.errors import VideoError
from internvideo.search.cutting import Span, decode_spans, spans_of, thumbnail
from internvideo.search.records import Cut
from internvideo.search.shots import cuts_among, find_cuts, frame_differences
from internvideo.video import Video
from internvideo.video.frames import FramesInMemory, Window
from search_films import SHOT, scene, write_film


class Length:
    """A video of which nothing but the length is asked."""

    def __init__(self, num_frames: int, fps: float) -> None:
        self.num_frames, self.fps = num_frames, fps

    def frames(self, indices):
        raise AssertionError("no frame is needed to cut into windows")


@given(
    num_frames=st.integers(1, 2000),
    fps=st.floats(1, 120),
    window=st.floats(0.05, 20),
    stride=st.none() | st.floats(0.05, 20),
)
def test_windows_cover_a_video_from_end_to_end(num_frames, fps, window, stride):
    spans = spans_of(Length(num_frames, fps), Cut(window=window, stride=stride))
    length = min(max(round(window * fps), 1), num_frames)
    assert spans[0].first == 0
    assert spans[-1].end == num_frames
    assert {span.num_frames for span in spans} == {length}
    firsts = [span.first for span in spans]
    assert firsts == sorted(set(firsts))
    if stride is None or stride <= window:
        gaps = [later.first - span.end for span, later in pairwise(spans)]
        assert max(gaps, default=0) <= max(round((stride or 0) * fps) - length, 0)


def test_shots_are_cut_where_the_picture_changes(tmp_path):
    with Video(write_film(tmp_path / "film.mp4", 1, num_shots=5)) as video:
        assert find_cuts(video) == [SHOT * number for number in range(1, 5)]
        spans = spans_of(video, Cut(kind="shots"))
    assert spans == [Span(SHOT * number, SHOT) for number in range(5)]


def test_a_long_shot_is_divided_evenly_and_a_short_one_is_no_shot():
    rng = np.random.default_rng(0)
    film = np.concatenate([scene(rng, 120), scene(rng, 8), scene(rng, 60)])
    video = FramesInMemory(film, fps=25)
    assert find_cuts(video) == [120, 128]
    spans = spans_of(video, Cut(kind="shots", window=1))  # 50 frames at most
    assert spans[:3] == [Span(0, 40), Span(40, 40), Span(80, 40)]
    assert spans[3:] == [Span(120, 34), Span(154, 34)]  # eight frames are no shot


@pytest.mark.parametrize(
    ("differences", "cuts"),
    [
        ([0, 1, 2, 1, 40, 1, 2, 1, 1], [4]),
        ([0, 20, 22, 25, 24, 30, 28, 25, 20], []),  # a camera that turns
        ([0, 1, 1, 1, 60, 60, 1, 1, 1], []),  # a flash
        ([0, 0, 0, 0, 7, 0, 0, 0, 0], []),  # too little
        ([0, 30, 1, 1, 1, 1, 1, 1, 25], [1, 8]),
        ([0], []),
    ],
)
def test_what_is_a_cut(differences, cuts):
    assert cuts_among(np.array(differences, float)) == cuts


def test_differences_do_not_depend_on_how_many_frames_are_decoded_together():
    film = np.concatenate([scene(np.random.default_rng(seed), 35) for seed in range(2)])
    differences = frame_differences(FramesInMemory(film))
    assert differences.shape == (70,)
    assert differences[0] == 0
    assert int(differences.argmax()) == 35
    tiny_picture = np.zeros((3, 2, 1, 3), np.uint8)
    tiny_picture[1:] = 50
    np.testing.assert_allclose(frame_differences(FramesInMemory(tiny_picture)), [0, 50, 0])


class Counted:
    """A video that notes which frames are decoded."""

    def __init__(self, video) -> None:
        self.video, self.decoded = video, []
        self.num_frames, self.fps = video.num_frames, video.fps

    def frames(self, indices):
        self.decoded += indices
        return self.video.frames(indices)


@pytest.mark.parametrize(
    "protocol", [tiny.PROTOCOL, tiny.MULTI_VIEW, replace(tiny.PROTOCOL, num_frames=40)]
)
@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, 8), Span(8, 8), Span(16, 8)],
        [Span(0, 12), Span(4, 12), Span(8, 12), Span(12, 12)],
        [Span(3, 1), Span(3, 20), Span(22, 2)],
    ],
)
def test_spans_look_as_they_would_alone_and_each_frame_is_decoded_once(protocol, spans):
    generator = torch.Generator().manual_seed(0)
    film = torch.randint(0, 256, (24, 40, 50, 3), generator=generator, dtype=torch.uint8)
    video = FramesInMemory(film, fps=10)
    counted = Counted(video)
    for span, (views, middle) in zip(spans, decode_spans(counted, protocol, spans), strict=True):
        torch.testing.assert_close(views, protocol.load(Window(video, *span)), rtol=0, atol=0)
        assert any(torch.equal(middle, film[frame]) for frame in range(span.first, span.end))
    assert counted.decoded == sorted(set(counted.decoded))


def test_the_spans_before_a_damaged_frame_are_given():
    class Broken(Counted):
        def frames(self, indices):
            if max(indices) >= 16:
                raise VideoError("damaged")
            return super().frames(indices)

    video = Broken(FramesInMemory(torch.zeros(24, 32, 32, 3, dtype=torch.uint8)))
    decoded = decode_spans(video, tiny.PROTOCOL, [Span(0, 8), Span(8, 8), Span(16, 8)])
    assert next(decoded)
    assert next(decoded)
    with pytest.raises(VideoError, match="damaged"):
        next(decoded)


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (1000, 300), (30, 40), (1, 1)])
def test_thumbnails_are_small_and_keep_their_shape(height, width):
    frame = torch.full((height, width, 3), 90, dtype=torch.uint8)
    picture = Image.open(io.BytesIO(thumbnail(frame)))
    assert max(picture.size) <= 192
    assert picture.size[0] / picture.size[1] == pytest.approx(width / height, rel=0.02)
    assert np.abs(np.asarray(picture).astype(int) - 90).max() <= 2
