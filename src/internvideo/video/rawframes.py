"""Images as a video: a folder ("rawframes", one jpg or png a frame) or one file, moving or not."""

# ruff: noqa: D102 - the methods are documented in `reader.Reader`
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from internvideo.errors import VideoError

if TYPE_CHECKING:
    from PIL.Image import Image

    from internvideo.video.sources import Source

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFileReader",
    "RawFramesReader",
    "is_animated_webp",
    "list_frames",
    "load_picture",
    "natural_key",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts `img_2.jpg` before `img_10.jpg`."""
    parts = _DIGITS.split(name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def list_frames(folder: Path, pattern: str | None = None) -> list[Path]:
    """Return the images directly in a folder, in natural order.

    Args:
        folder: the folder.
        pattern: a file-name pattern such as `img_*.jpg` where a folder holds more than one
            sequence (optical flow beside the pictures, say).

    Raises:
        VideoError: there are none, or several numbered sequences and no pattern.
    """
    try:
        files = [
            path
            for path in folder.glob(pattern or "*")
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        ]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror})") from error
    if not files:
        what = f"no images that match '{pattern}'" if pattern else "no images"
        raise VideoError(f"{folder}: a folder with {what}; name a video file or a folder of frames")
    if pattern is None:
        _refuse_mixtures(folder, files)
    return sorted(files, key=lambda path: natural_key(path.name))


def _refuse_mixtures(folder: Path, files: list[Path]) -> None:
    sequences = Counter(_DIGITS.sub("#", path.name) for path in files)
    long = sorted(name for name, count in sequences.items() if "#" in name and count > 1)
    if len(long) > 1:
        raise VideoError(
            f"{folder}: holds several image sequences ({', '.join(long)}); "
            f"choose one with pattern='{long[0].replace('#', '*')}'"
        )


class RawFramesReader:
    """Reads a folder of images; the images stay on disk until they are asked for.

    Args:
        folder: the folder.
        fps: frames per second that the images were taken at; folders do not say.
        pattern: see `list_frames`.
    """

    codec = "images"
    rotation = 0

    def __init__(self, folder: Path, *, fps: float, pattern: str | None = None) -> None:
        self._folder = folder
        self._files = list_frames(folder, pattern)
        self._size: tuple[int, int] | None = None
        self.fps = fps

    @property
    def num_frames(self) -> int:
        return len(self._files)

    @property
    def duration(self) -> float:
        return len(self._files) / self.fps

    @property
    def size(self) -> tuple[int, int]:
        if self._size is None:
            self._size = load_picture(self._files[0]).shape[:2]
        return self._size

    def seconds(self) -> np.ndarray:
        return np.arange(len(self._files)) / self.fps

    def read(self, wanted: list[int]) -> np.ndarray:
        height, width = self.size
        frames = np.empty((len(wanted), height, width, 3), np.uint8)
        for position, rank in enumerate(wanted):
            picture = load_picture(self._files[rank])
            if picture.shape[:2] != (height, width):
                raise VideoError(
                    f"{self._files[rank]}: {picture.shape[1]}×{picture.shape[0]} pixels, but the "
                    f"frames before have {width}×{height}; a video has frames of one size"
                )
            frames[position] = picture
        return frames

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class ImageFileReader:
    """Reads an image file through Pillow: the frames of an animated WebP, or one upright picture.

    Args:
        source: where the bytes are.
    """

    codec = "images"
    rotation = 0

    def __init__(self, source: Source) -> None:
        import PIL.Image

        self._file = source.open()
        self._image = PIL.Image.open(self._file)
        # Other files of several pictures hold pages, thumbnails or depth, not time.
        self.num_frames = getattr(self._image, "n_frames", 1) if self._image.format == "WEBP" else 1
        self._durations: np.ndarray | None = None

    @property
    def durations(self) -> np.ndarray:
        """Seconds that each frame stays; all are decoded to know."""
        if self._durations is None:
            milliseconds = []
            for rank in range(self.num_frames):
                self._image.seek(rank)
                self._image.load()
                milliseconds.append(self._image.info.get("duration") or 40)
            self._durations = np.array(milliseconds) / 1000
        return self._durations

    @property
    def fps(self) -> float:
        return self.num_frames / self.duration

    @property
    def duration(self) -> float:
        return float(self.durations.sum())

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.read([0]).shape[1:3]
        return height, width

    def seconds(self) -> np.ndarray:
        return np.cumsum(self.durations) - self.durations

    def read(self, wanted: list[int]) -> np.ndarray:
        pictures = []
        for rank in wanted or [0]:
            self._image.seek(rank)
            pictures.append(_upright_rgb(self._image))
        return np.stack(pictures)[: len(wanted)]

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        pass


def is_animated_webp(path: Path) -> bool:
    """Return whether a file is a WebP image that moves."""
    try:
        with path.open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    # The extended format has a byte of flags; the bit is that of an animation.
    return head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def load_picture(source: Path | IO[bytes], *, name: str | None = None) -> np.ndarray:
    """Return an image file as uint8 RGB "h w 3", upright.

    Args:
        source: a path, or the opened file.
        name: what messages call it.

    Raises:
        VideoError: it is no image, or a broken one.
    """
    from PIL import Image

    try:
        with Image.open(source) as opened:
            return _upright_rgb(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # About an opened file, the message would speak of a Python object.
        reason = error if name is None else type(error).__name__
        raise VideoError(f"{name or source}: not an image that can be read ({reason})") from error


def _upright_rgb(image: Image) -> np.ndarray:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # 16-bit grey: keep the upper eight bits
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))
