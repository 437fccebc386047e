"""`write_video`: every codec, complete files only, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from internvideo.errors import ConfigError, VideoError
from internvideo.video import Video, write_video
from internvideo.video.writer import CODECS
from video.clips import number_of, pictures

ENDINGS = {"vp9": ".webm", "av1": ".mkv", "mpeg4": ".avi", "mjpeg": ".mov", "gif": ".gif"}


def _smooth(num_frames: int, height: int = 48, width: int = 64) -> torch.Tensor:
    rows, columns = np.mgrid[:height, :width]
    frames = [
        np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 9 * n)], -1)
        for n in range(num_frames)
    ]
    return torch.from_numpy(np.stack(frames).astype(np.uint8))


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_written_is_read_back(tmp_path: Path, codec: str) -> None:
    frames = _smooth(12)
    path = write_video(
        tmp_path / "new" / f"clip{ENDINGS.get(codec, '.mp4')}", frames, fps=10, codec=codec
    )
    video = Video(path)
    assert video.codec == codec
    assert (len(video), video.fps) == (12, pytest.approx(10))
    assert video.duration == pytest.approx(1.2)
    error = (video.frames(range(12)).float() - frames.float()).abs().mean()
    assert error < (12 if codec == "gif" else 4)  # gif: 256 colours for the whole clip
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "mpeg4", "mjpeg", "gif"])
def test_odd_sizes_are_kept(tmp_path: Path, codec: str) -> None:
    frames = _smooth(4, 47, 63)
    path = write_video(tmp_path / f"odd{ENDINGS.get(codec, '.mp4')}", frames, codec=codec)
    read = Video(path).frames(range(4))
    assert read.shape == frames.shape
    assert (read.float() - frames.float()).abs().mean() < (12 if codec == "gif" else 4)


def test_frames_may_come_one_by_one_and_as_arrays(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pictures(30), fps=30, quality=10)
    assert [number_of(frame.numpy()) for frame in Video(path)] == list(range(30))
    arrays = write_video(tmp_path / "b.mp4", np.stack(list(pictures(30))), fps=30, quality=10)
    tensors = write_video(
        tmp_path / "c.mp4", (torch.from_numpy(p) for p in pictures(30)), fps=30, quality=10
    )
    assert path.read_bytes() == arrays.read_bytes() == tensors.read_bytes()


@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg4"])
def test_quality_and_key_frames(tmp_path: Path, codec: str) -> None:
    ending = ENDINGS.get(codec, ".mp4")
    fine, coarse = (
        write_video(tmp_path / f"{q}{ending}", pictures(20), codec=codec, quality=q)
        for q in (4, 30)
    )
    assert fine.stat().st_size > 1.5 * coarse.stat().st_size
    every = write_video(tmp_path / f"k{ending}", pictures(20), codec=codec, key_frame_interval=5)
    video = Video(every)
    len(video)
    assert video._reader.index.key_ranks.tolist() == [0, 5, 10, 15]


def test_rates_that_are_fractions(tmp_path: Path) -> None:
    for fps in (0.5, 29.97, 30000 / 1001, 59.94):
        path = write_video(tmp_path / "clip.mp4", _smooth(6), fps=fps)
        assert Video(path).fps == pytest.approx(fps, rel=1e-4)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", _smooth(3))
    before = path.read_bytes()

    def breaks():
        yield _smooth(1)[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_video(path, breaks())
    with pytest.raises(VideoError, match=r"clip.mp4: frame 1 has shape \(48, 32, 3\), the first"):
        write_video(path, [_smooth(1)[0], _smooth(1, 48, 32)[0]])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"codec": "h265"}, "codec must be one of h264, hevc, .* Did you mean 'h264'"),
        ({"quality": 99}, "quality of h264 goes from 0 to 51, got 99"),
        ({"codec": "gif", "quality": 3}, "gif has no quality setting"),
        ({"fps": 0}, "fps must be between"),
        ({"fps": float("nan")}, "fps must be between"),
    ],
)
def test_impossible_options(tmp_path: Path, arguments: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        write_video(tmp_path / "clip.mp4", _smooth(2), **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "frames", "codec", "reason"),
    [
        ("a.xyz", _smooth(2), "h264", r"a.xyz: cannot be written as .* in '.xyz'"),
        ("a.mp4", _smooth(2), "gif", "a.mp4: cannot be written as gif"),
        ("a.mp4", _smooth(2, 47, 63), "av1", "a.mp4: this codec needs an even width and height"),
        ("a.mp4", _smooth(2)[:0], "h264", "a.mp4: no frames to write"),
        ("a.mp4", _smooth(2).float(), "h264", "frames must be uint8 of shape"),
        ("a.mp4", _smooth(2).permute(0, 3, 1, 2), "h264", "frames must be uint8 of shape"),
    ],
)
def test_refusals(tmp_path: Path, name: str, frames, codec: str, reason: str) -> None:
    with pytest.raises(VideoError, match=reason):
        write_video(tmp_path / name, frames, codec=codec)
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for codec in CODECS:
        write_video(tmp_path / f"a{ENDINGS.get(codec, '.mp4')}", _smooth(2), codec=codec)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
