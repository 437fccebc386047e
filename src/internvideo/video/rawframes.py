"""Images as a video: a folder ("rawframes", one jpg or png a frame) or one file, moving or not."""

# ruff: noqa: D102 - the methods are documented in `reader.Reader`
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from internvideo.errors import VideoError
from internvideo.video.sources import Source, is_url

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "AnimatedWebPReader",
    "FrameFiles",
    "RawFramesReader",
    "StillReader",
    "is_animated_webp",
    "is_image",
    "list_frames",
    "load_picture",
    "natural_key",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})

_IMAGE_ENDINGS = tuple(IMAGE_SUFFIXES)
_DIGITS = re.compile(r"(\d+)")


def is_image(path: str) -> bool:
    """Return whether a path or address has the ending of a still image."""
    return (path.partition("?")[0] if is_url(path) else path).lower().endswith(_IMAGE_ENDINGS)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameFiles:
    """The names of frame files that are known, so that the folder need not be listed.

    Frame `i` is the file `template.format(first + i)`. A folder may hold more files than are
    counted (lists cut long films into clips this way).

    Attributes:
        template: name of a frame file, such as `img_{:05d}.jpg`.
        first: number in the name of frame 0.
        count: number of frames.

    Raises:
        VideoError: no frames are counted.
    """

    template: str
    first: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise VideoError(f"the annotation counts {self.count} frames {self.template}")

    def name(self, index: int) -> str:
        """Return the name of a frame's file."""
        return self.template.format(self.first + index)

    def check(self, folder: Path) -> None:
        """Look whether all frames are there, without reading one.

        Raises:
            VideoError: some are not; the message names the first.
        """
        held = set(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
        for index in range(self.count):
            if self.name(index) not in held:
                raise VideoError(
                    f"{folder / self.name(index)}: no such frame; the annotation counts "
                    f"{self.count} frames from {self.name(0)} on, the folder holds {len(held)} "
                    "files; extract the frames again, or correct the list"
                )


class RawFramesReader:
    """Reads a folder of images; the images stay on disk until they are asked for.

    Args:
        folder: the folder.
        fps: frames per second that the images were taken at; folders do not say.
        pattern: the frames' names, or a pattern, see `list_frames`.
    """

    codec = "images"
    rotation = 0

    def __init__(
        self, folder: Path, *, fps: float, pattern: str | FrameFiles | None = None
    ) -> None:
        self._folder, self.fps = folder, fps
        self._named = pattern if isinstance(pattern, FrameFiles) else None
        self._files = () if isinstance(pattern, FrameFiles) else list_frames(folder, pattern)
        self._size: tuple[int, int] | None = None

    @property
    def num_frames(self) -> int:
        return len(self._files) if self._named is None else self._named.count

    @property
    def duration(self) -> float:
        return self.num_frames / self.fps

    @property
    def size(self) -> tuple[int, int]:
        if self._size is None:
            self._size = self._picture(0).shape[:2]
        return self._size

    def seconds(self) -> np.ndarray:
        return np.arange(self.num_frames) / self.fps

    def read(self, wanted: list[int]) -> np.ndarray:
        pictures = [self._picture(rank) for rank in wanted]
        height, width = self._size = self._size or (pictures[0].shape[:2] if wanted else self.size)
        for rank, picture in zip(wanted, pictures, strict=True):
            if picture.shape[:2] != (height, width):
                raise VideoError(
                    f"{self._path(rank)}: {picture.shape[1]}×{picture.shape[0]} pixels, but the "
                    f"frames before have {width}×{height}; a video has frames of one size"
                )
        return np.stack(pictures) if wanted else np.empty((0, height, width, 3), np.uint8)

    def _path(self, rank: int) -> Path:
        return self._files[rank] if self._named is None else self._folder / self._named.name(rank)

    def _picture(self, rank: int) -> np.ndarray:
        path = self._path(rank)
        if self._named is not None and not path.is_file():
            self._named.check(self._folder)
        return load_picture(path)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class StillReader:
    """Reads an image as a video of one frame, which lasts a second.

    Args:
        source: where its bytes come from.
    """

    codec = "images"
    rotation = 0
    num_frames = 1
    fps = duration = 1.0

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def size(self) -> tuple[int, int]:
        return self._picture.shape[:2]

    def seconds(self) -> np.ndarray:
        return np.zeros(1)

    def read(self, wanted: Sequence[int]) -> np.ndarray:
        return np.repeat(self._picture[None], len(wanted), axis=0)

    @cached_property
    def _picture(self) -> np.ndarray:
        with self._source.open() as file:
            return load_picture(file, name=self._source.name)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class AnimatedWebPReader:
    """Reads an animated WebP, which FFmpeg does not, through Pillow.

    Args:
        source: where its bytes come from.
    """

    codec = "images"
    rotation = 0

    def __init__(self, source: Source) -> None:
        import PIL.Image

        self._file = source.open()
        self._image = PIL.Image.open(self._file)
        self.num_frames = getattr(self._image, "n_frames", 1)
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


def is_animated_webp(source: Source) -> bool:
    """Return whether a file is a WebP image that moves."""
    with source.open() as file:
        head = file.read(21)
    # The extended format has a byte of flags; the bit is that of an animation.
    return head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)


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
