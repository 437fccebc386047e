from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.errors import ConfigError
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.windows import Resampled, Spans, sliding_windows, spans

PROTOCOL = Preprocessing(
    num_frames=4,
    sampling="dense",
    frame_stride=2,
    num_clips=3,
    num_crops=3,
    resize_size=16,
    crop_size=16,
)


class Frames:
    """A video that remembers which of its frames were decoded."""

    def __init__(self, num_frames: int, fps: float = 10.0) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (num_frames, 18, 24, 3)
        self.pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        self.num_frames, self.fps = num_frames, fps
        self.decoded: list[int] = []
        self.most = 0

    def frames(self, indices):
        self.decoded += list(indices)
        self.most = max(self.most, len(indices))
        return self.pixels[list(indices)]


@pytest.mark.parametrize(
    ("num_frames", "length", "stride", "starts"),
    [
        (10, 4, 2, [0, 2, 4, 6]),
        (11, 4, 2, [0, 2, 4, 6, 7]),  # the last one ends with the video
        (10, 4, 4, [0, 4, 6]),
        (10, 2, 5, [0, 5, 8]),
        (3, 3, 2, [0]),
    ],
)
def test_spans_cover_the_video_to_its_end(num_frames, length, stride, starts):
    windows = Spans(num_frames, length, stride)
    assert [windows.start(index) for index in range(windows.count)] == starts


@pytest.mark.parametrize(
    ("num_frames", "length", "stride", "starts"),
    [(10, 4, 2, [0, 2, 4, 6]), (11, 4, 2, [0, 2, 4, 6]), (7, 4, 4, [0]), (3, 3, 2, [0])],
)
def test_spans_of_whole_strides_leave_the_rest_out(num_frames, length, stride, starts):
    windows = Spans(num_frames, length, stride, covers_end=False)
    assert [windows.start(index) for index in range(windows.count)] == starts


def test_another_rate_shows_the_frame_of_each_moment():
    slow = Resampled(Frames(10, fps=10.0), 5.0)
    assert slow.num_frames == 5
    assert torch.equal(slow.frames([0, 1, 4]), slow.video.pixels[[0, 2, 8]])
    fast = Resampled(Frames(10, fps=10.0), 25.0)
    assert fast.num_frames == 25
    assert torch.equal(fast.frames([0, 2, 3, 24]), fast.video.pixels[[0, 0, 1, 9]])
    assert sorted(fast.video.decoded) == [0, 1, 9]


def test_windows_may_begin_in_the_middle():
    video = Frames(20)
    plan = Spans(20, 6, 3)
    every = list(sliding_windows(video, PROTOCOL, plan))
    video.decoded.clear()
    later = list(sliding_windows(video, PROTOCOL, plan, first=3))
    assert [each.start for each in later] == [each.start for each in every[3:]]
    assert all(torch.equal(a.clip, b.clip) for a, b in zip(later, every[3:], strict=True))
    assert min(video.decoded) >= 9


@pytest.mark.parametrize("sampling", ["dense", "middle", "per-second"])
@pytest.mark.parametrize(
    ("window", "stride"), [(8, 8), (8, 3), (8, 1), (6, 11), (40, 7), (37, 1), (1, 1)]
)
def test_windows_are_the_protocols_central_view_of_their_frames(sampling, window, stride):
    video = Frames(37)
    changed = {} if sampling == "dense" else {"frame_stride": 1, "num_clips": 1}
    protocol = replace(PROTOCOL, sampling=sampling, **changed)
    plan = spans(video, protocol, window=window, stride=stride, in_frames=True)
    windows = list(sliding_windows(video, protocol, plan))
    assert len(windows) == plan.count
    one = replace(protocol, num_clips=1, num_crops=1)
    for index, each in enumerate(windows):
        start = plan.start(index)
        part = Frames(0)
        part.pixels, part.num_frames = video.pixels[start : start + plan.length], plan.length
        torch.testing.assert_close(each.clip, one.load(part)[0], rtol=0, atol=0)
        assert (each.start, each.end) == (start / 10, (start + plan.length) / 10)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_every_frame_is_decoded_once_at_most_in_order_and_a_few_at_a_time(stride):
    video = Frames(200)
    plan = spans(video, PROTOCOL, window=64, stride=stride, in_frames=True)
    for _ in sliding_windows(video, PROTOCOL, plan):
        pass
    assert video.decoded == sorted(set(video.decoded))
    assert video.most <= 16


def test_seconds_and_defaults():
    video = Frames(100, fps=10)
    assert spans(video, PROTOCOL, window=2.5, stride=0.5) == Spans(100, 25, 5)
    assert spans(video, PROTOCOL) == Spans(100, 8, 8)  # 4 frames, every second one
    assert spans(video, replace(PROTOCOL, frame_rate=5.0)) == Spans(100, 16, 16)
    spread = replace(PROTOCOL, sampling="middle", frame_stride=1, num_clips=1)
    assert spans(video, spread) == Spans(100, 20, 20)  # two seconds
    timed = replace(spread, sampling="per-second")
    assert spans(video, timed) == Spans(100, 40, 40)  # four frames, one a second
    assert spans(video, replace(timed, frame_rate=2.0)) == Spans(100, 20, 20)
    assert spans(video, PROTOCOL, window=1e9) == Spans(100, 100, 100)
    assert spans(video, PROTOCOL, window=1e-9, stride=1e-9) == Spans(100, 1, 1)


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("stride", -1), ("window", np.nan)])
def test_impossible_numbers_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is .*; it must be positive"):
        spans(Frames(10), PROTOCOL, **{name: value})
