"""A folder of images is a video."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from internvideo.errors import VideoError
from internvideo.video import FrameIndexError, Video
from video.clips import pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clip_01"
    made.mkdir()
    for number, picture in enumerate(pictures(12)):
        Image.fromarray(picture).save(made / f"img_{number + 1}.png")
    return made


def test_frames_in_natural_order(folder: Path) -> None:
    expected = np.stack(list(pictures(12)))
    video = Video(folder)
    assert np.array_equal(video.frames(range(12)).numpy(), expected)
    assert np.array_equal(video.frames([11, 0, 11]).numpy(), expected[[11, 0, 11]])
    assert np.array_equal(video[-3].numpy(), expected[9])
    copy = pickle.loads(pickle.dumps(video))
    assert np.array_equal(copy[5].numpy(), expected[5])


def test_facts(folder: Path) -> None:
    video = Video(folder)
    assert (len(video), video.fps, video.duration) == (12, 25.0, 0.48)
    assert (video.height, video.width, video.rotation, video.codec) == (48, 64, 0, "images")
    assert (video.name, video.path) == ("clip_01", folder)
    assert Video(folder, fps=10).duration == 1.2
    assert Video(folder, fps=10).timestamps([3]).tolist() == [0.3]
    with pytest.raises(FrameIndexError, match="the video has 12 frames"):
        video.frames([12])


def test_only_images_count(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / ".img_99.png").write_bytes(b"")
    (folder / "sub.png").mkdir()
    assert len(Video(folder)) == 12


def test_two_sequences_need_a_pattern(folder: Path) -> None:
    for number in range(3):
        Image.new("L", (64, 48)).save(folder / f"flow_x_{number}.jpg")
    with pytest.raises(VideoError, match=r"several image sequences \(flow_x_#.jpg, img_#.png\)"):
        len(Video(folder))
    assert len(Video(folder, pattern="img_*.png")) == 12
    assert len(Video(folder, pattern="flow_x_*")) == 3
    with pytest.raises(VideoError, match=r"no images that match 'flow_y_\*'"):
        len(Video(folder, pattern="flow_y_*"))


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    grey16 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    Image.fromarray(grey16).save(tmp_path / "0.png")
    Image.new("L", (64, 48), 7).save(tmp_path / "1.png")
    Image.new("RGBA", (64, 48), (1, 2, 3, 100)).save(tmp_path / "2.png")
    Image.new("P", (64, 48)).save(tmp_path / "3.png")
    turned = Image.new("RGB", (48, 64), (9, 9, 9))
    exif = turned.getexif()
    exif[0x0112] = 6  # upright after a quarter turn
    turned.save(tmp_path / "4.png", exif=exif)
    frames = Video(tmp_path).frames(range(5))
    assert tuple(frames.shape) == (5, 48, 64, 3)
    assert np.array_equal(frames[0, ..., 1].numpy(), grey16 >> 8)
    assert frames[1].unique().tolist() == [7]
    assert torch.equal(frames[2, 0, 0], torch.tensor([1, 2, 3], dtype=torch.uint8))


def test_sizes_must_agree(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "img_13.png")
    with pytest.raises(VideoError, match=r"img_13.png: 32×32 pixels, .* 64×48"):
        Video(folder).frames([2, 12])
    assert Video(folder).frames([2]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_an_image_that_cannot_be_read(folder: Path, content: bytes | None) -> None:
    target = folder / "img_3.png"
    target.write_bytes(target.read_bytes()[:200] if content is None else content)
    with pytest.raises(VideoError, match=r"img_3.png: not an image that can be read"):
        Video(folder).frames([2])


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="a folder with no images; name a video file or"):
        len(Video(tmp_path))
