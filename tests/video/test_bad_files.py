"""What is no video is refused in one line that names the file, the reason and a way out."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from internvideo.errors import VideoError
from internvideo.video import Video
from video.clips import encode, remux


def _error(path: Path) -> str:
    with pytest.raises(VideoError) as info:
        Video(path).frames([0])
    with pytest.raises(VideoError):
        len(Video(path))
    message = str(info.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_a_missing_file_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(
        VideoError, match=r"holliday.mp4: no such file.* Did you mean 'holiday.mp4'"
    ):
        Video(tmp_path / "holliday.mp4")
    with pytest.raises(VideoError, match="no such file"):
        Video(tmp_path / "nowhere" / "a.mp4")
    with pytest.raises(VideoError, match="null"):
        Video("a\0b.mp4")


def test_an_empty_file_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty.mp4: the file is empty \(0 bytes\)"):
        Video(tmp_path / "empty.mp4")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"This is a text file, not a video.\n" * 50, "a text file"),
        ("Ein Text mit Umlauten: äöü\n".encode() * 9, "a text file"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n", "a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a playlist"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(4096), "filled with zeros"),
        (bytes(np.random.default_rng(0).integers(0, 256, 4096, np.uint8)), "not a video"),
        (b"PK\x03\x04" + bytes(200), "not a video"),
    ],
)
def test_other_files_named_mp4(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert reason in _error(path)
    with pytest.raises(VideoError, match=reason):
        Video(content).frames([0])


def test_an_mp4_cut_off_before_its_index(tmp_path: Path) -> None:
    data = encode(tmp_path / "whole.mp4").read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    path = tmp_path / "cut.mp4"
    for length in (40, len(data) // 2, data.index(b"moov") - 4):
        path.write_bytes(data[:length])
        assert "cut off before its index ('moov')" in _error(path)


def test_an_index_cut_off_in_the_middle(tmp_path: Path) -> None:
    data = encode(tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: data.index(b"moov") + 200])
    _error(path)


def _sound(path: Path, *, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        picture = None
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = Disposition.attached_pic.value
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(frame) + picture.encode(None))
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_sound_without_pictures(tmp_path: Path) -> None:
    assert "no video in this file (only audio)" in _error(_sound(tmp_path / "song.mp4"))
    with_cover = _sound(tmp_path / "album.mp4", cover=True)
    assert "no video in this file" in _error(with_cover)


def test_a_video_stream_without_frames(tmp_path: Path) -> None:
    source = encode(tmp_path / "full.mp4")
    for ending in ("mp4", "mkv", "avi"):
        path = remux(source, tmp_path / f"hollow.{ending}", keep=slice(0, 0))
        assert re.search("no frames|no streams", _error(path))


def test_a_stream_that_never_has_a_key_frame(tmp_path: Path) -> None:
    source = encode(tmp_path / "full.mp4", gop=40, options={"x264-params": "scenecut=0"})
    path = remux(source, tmp_path / "keyless.ts", keep=slice(1, None))
    assert "no frames that can be decoded" in _error(path)


def test_an_unknown_codec(tmp_path: Path) -> None:
    data = encode(tmp_path / "known.mp4").read_bytes()
    path = tmp_path / "unknown.mp4"
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))
    assert "no decoder for the codec" in _error(path)


@pytest.mark.parametrize("size", [b"W30000 H30000", b"W2000000000 H2000000000", b"W0 H0"])
def test_absurd_dimensions(tmp_path: Path, size: bytes) -> None:
    path = tmp_path / "absurd.y4m"
    path.write_bytes(b"YUV4MPEG2 " + size + b" F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(4608))
    _error(path)


def test_a_folder_named_like_a_video(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    assert "a folder with no images" in _error(tmp_path / "clip.mp4")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "secret.mp4", num_frames=2)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in _error(path)
