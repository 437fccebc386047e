"""The optional TorchCodec backend: used when it works, a clear error when it does not."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from internvideo.errors import MissingExtraError, VideoError
from internvideo.video import FrameIndexError, Video
from internvideo.video import torchcodec_backend as backend
from video.clips import decode_in_order, encode

WORKS = backend.why_torchcodec_fails() is None


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", size=(64, 96))


@pytest.fixture
def asked_anew():
    backend.why_torchcodec_fails.cache_clear()
    yield
    backend.why_torchcodec_fails.cache_clear()


def test_auto_is_pyav(path: Path) -> None:
    video = Video(path)
    len(video)
    assert type(video._reader).__name__ == "PyAVReader"


def test_not_installed(path: Path, monkeypatch: pytest.MonkeyPatch, asked_anew: None) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'internvideo\[torchcodec\]'"):
        len(Video(path, backend="torchcodec"))


def test_installed_but_broken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        backend, "why_torchcodec_fails", lambda: "installed, but it finds no FFmpeg"
    )
    with pytest.raises(VideoError, match=r"clip.mp4: .*finds no FFmpeg; install FFmpeg, or use"):
        len(Video(path, backend="torchcodec"))


def test_the_search_is_quiet(asked_anew: None, capfd: pytest.CaptureFixture[str]) -> None:
    reason = backend.why_torchcodec_fails()
    assert reason is None or "\n" not in reason
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class _FakeDecoder:
    """What `torchcodec.decoders.VideoDecoder` promises, over frames in memory."""

    def __init__(self, source, *, dimension_order, num_ffmpeg_threads, seek_mode) -> None:
        assert (dimension_order, seek_mode, num_ffmpeg_threads) == ("NHWC", "exact", 3)
        path = source if isinstance(source, str) else None
        self._frames = torch.from_numpy(decode_in_order(path or source.name))
        self.metadata = type(
            "Metadata",
            (),
            {
                "codec": "h264",
                "average_fps": 25.0,
                "begin_stream_seconds": 0.5,
                "end_stream_seconds": 2.1,
                "rotation": None,
            },
        )

    def __len__(self) -> int:
        return len(self._frames)

    def get_frames_at(self, indices: list[int]):
        seconds = 0.5 + torch.tensor(indices, dtype=torch.float64) / 25
        return type("Batch", (), {"data": self._frames[indices], "pts_seconds": seconds})

    def get_frames_in_range(self, start: int, stop: int):
        return self.get_frames_at(list(range(start, stop)))


def test_against_its_interface(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = type(sys)("torchcodec.decoders")
    fake.VideoDecoder = _FakeDecoder
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", fake)
    monkeypatch.setattr(backend, "why_torchcodec_fails", lambda: None)
    _assert_reads(path, exactly=True)


@pytest.mark.skipif(not WORKS, reason="TorchCodec needs FFmpeg libraries on the machine")
def test_for_real(path: Path) -> None:
    _assert_reads(path, exactly=False)
    with pytest.raises(VideoError):
        len(Video(b"not a video", backend="torchcodec"))


def _assert_reads(path: Path, *, exactly: bool) -> None:
    expected = decode_in_order(path)
    video = Video(path, backend="torchcodec", threads=3)
    assert (len(video), video.fps, video.codec) == (40, 25, "h264")
    assert (video.height, video.width, video.rotation) == (64, 96, 0)
    assert video.duration == pytest.approx(1.6)
    assert video.timestamps([25, 0]).tolist() == pytest.approx([1, 0])
    wanted = [30, 2, 2, 17]
    for reader in (video, pickle.loads(pickle.dumps(video))):
        frames = reader.frames(wanted).numpy().astype(int)
        assert np.abs(frames - expected[wanted]).mean() <= (0 if exactly else 2)
    with pytest.raises(FrameIndexError):
        video.frames([40])
    video.close()
    assert video[3].shape == (64, 96, 3)
