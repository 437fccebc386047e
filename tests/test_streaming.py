"""`VideoModel.stream_actions`: windows, memory, damaged and in-memory videos."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.timeline import ActionTimeline
from internvideo.pipeline import VideoModel, load
from internvideo.video import Video, opening, write_video
from internvideo.video.windows import Spans, window_protocol
from video.clips import encode, repeat

MINUTES = 20
FPS = 10
GROUP = 50


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> VideoModel:
    return load(tiny.save_classifier(tmp_path_factory.mktemp("model")), device="cpu")


def noise(num_frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 40, 48, 3), generator=generator, dtype=torch.uint8)


def long_video(folder: Path) -> tuple[Path, int]:
    """Repeat one group of pictures for twenty minutes; return the path and the frames."""
    group = encode(folder / "group.mp4", num_frames=GROUP, size=(64, 96), gop=GROUP, rate=FPS)
    num_frames = MINUTES * 60 * FPS
    return repeat(group, folder / "long.mp4", num_frames // GROUP), num_frames


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_length_of_the_video(classifier, tmp_path):
    path, num_frames = long_video(tmp_path)
    with Video(path) as video:
        answers = classifier.stream_actions(video, window=64, stride=32, in_frames=True, top_k=1)
        for _ in range(16):  # the decoder, the index and the model are there
            next(answers)
        gc.collect()
        before, most, ends = resident_bytes(), 0, []
        for answer in answers:
            ends.append(answer.end)
            if len(ends) % 16 == 0:
                most = max(most, resident_bytes() - before)
        decoded = video._reader.frames_decoded
    assert len(ends) + 16 == Spans(num_frames, 64, 32).count
    assert ends[-1] == pytest.approx(MINUTES * 60)
    assert decoded <= num_frames + GROUP  # once, without going back
    assert most < 48 << 20, f"{most >> 20} MiB more; all frames would take 221"


def test_answers_are_those_of_the_windows_central_view(classifier):
    frames = noise(60)
    answers = list(classifier.stream_actions(frames, window=20, stride=15, in_frames=True))
    one = classifier.with_preprocessing(window_protocol(tiny.MULTI_VIEW))
    assert [(a.start, a.end) for a in answers] == [
        (start / 30, (start + 20) / 30) for start in (0, 15, 30, 40)
    ]
    for answer, start in zip(answers, (0, 15, 30, 40), strict=True):
        expected = one.classify(frames[start : start + 20])
        assert answer.labels == expected.labels
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_answers_come_before_the_video_is_decoded(classifier):
    class Counting:
        num_frames, fps = 4000, 10.0
        decoded = 0

        def frames(self, indices):
            Counting.decoded += len(indices)
            return noise(len(indices))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "FramesInMemory", lambda _: Counting())
        answers = classifier.stream_actions(noise(1), window=20, in_frames=True)
        next(answers)
        assert Counting.decoded < 200
        answers.close()


def test_a_video_that_breaks_off_gives_what_came_before(classifier, tmp_path):
    path = write_video(tmp_path / "whole.mp4", noise(64), fps=8, key_frame_interval=8)
    fine = len(list(classifier.stream_actions(path, window=8, in_frames=True)))
    assert fine == 8

    class Breaking(Video):
        def frames(self, indices):
            if max(indices) >= 44:
                raise VideoError("whole.mp4: broken at 44")
            return super().frames(indices)

    seen = []
    with pytest.raises(VideoError, match="broken at 44"):
        seen.extend(classifier.stream_actions(Breaking(path), window=8, in_frames=True))
    assert [answer.start for answer in seen] == [0, 1, 2, 3, 4]
    assert ActionTimeline(video="v", windows=tuple(seen)).segments[-1].end == 5


def test_bad_input_is_told(classifier, tmp_path):
    with pytest.raises(ConfigError, match="top_k"):
        classifier.stream_actions(noise(8), top_k=0)
    with pytest.raises(ConfigError, match=r"stride.* 0"):
        next(classifier.stream_actions(noise(8), stride=0))
    with pytest.raises(VideoError, match="no such file"):
        next(classifier.stream_actions(tmp_path / "gone.mp4"))
    with pytest.raises(VideoError, match="uint8"):
        next(classifier.stream_actions(np.zeros((4, 8, 8, 3))))
