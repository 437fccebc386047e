"""Reading through TorchCodec, an optional package that uses the FFmpeg of the machine."""

# ruff: noqa: D102 - the methods are documented in `reader.Reader`
from __future__ import annotations

import functools
import logging
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from internvideo.errors import MissingExtraError, VideoError

if TYPE_CHECKING:
    from internvideo.video.sources import Source

__all__ = ["TorchCodecReader", "why_torchcodec_fails"]

logger = logging.getLogger(__name__)


@functools.cache
def why_torchcodec_fails() -> str | None:
    """Return None when TorchCodec works here, else the reason in one line; found out once."""
    try:
        from torchcodec.decoders import VideoDecoder  # pyright: ignore

        VideoDecoder(b"not a video")  # its libraries are loaded only when a decoder is made
    except ImportError:
        return "not installed"
    except (RuntimeError, ValueError, OSError) as error:
        if "load libtorchcodec" in str(error):
            logger.debug("torchcodec does not load: %s", error)
            return "installed, but finds no FFmpeg libraries that it can use on this machine"
    return None


class TorchCodecReader:
    """Reads one video through `torchcodec.decoders.VideoDecoder` in its exact mode.

    Args:
        source: where the bytes are.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        MissingExtraError: TorchCodec is not installed.
        VideoError: it is installed but does not load, or it refuses the file.
    """

    def __init__(self, source: Source, *, threads: int) -> None:
        reason = why_torchcodec_fails()
        if reason == "not installed":
            raise MissingExtraError(
                "backend='torchcodec' needs the package 'torchcodec'; "
                "install it with: pip install 'internvideo[torchcodec]'"
            )
        if reason is not None:
            raise VideoError(
                f"{source.name}: backend='torchcodec' does not work here: it is {reason}; "
                "install FFmpeg, or use backend='pyav', which brings its own"
            )
        from torchcodec.decoders import VideoDecoder  # pyright: ignore

        source.check()
        self._name = source.name
        self._size: tuple[int, int] | None = None
        self._file: IO[bytes] | None = None
        target: Any = str(source.path)
        if source.path is None:
            target = self._file = source.open()
        try:
            self._decoder: Any = VideoDecoder(
                target, dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="exact"
            )
        except (RuntimeError, ValueError, AssertionError) as error:
            self.close()
            raise self._refusal(source.name, error) from error
        if not len(self._decoder):
            raise VideoError(f"{source.name}: the video stream has no frames")

    @property
    def codec(self) -> str:
        return str(self._decoder.metadata.codec or "unknown")

    @property
    def num_frames(self) -> int:
        return len(self._decoder)

    @property
    def fps(self) -> float:
        return float(self._decoder.metadata.average_fps or 25.0)

    @property
    def duration(self) -> float:
        metadata = self._decoder.metadata
        return float(metadata.end_stream_seconds - metadata.begin_stream_seconds)

    @property
    def size(self) -> tuple[int, int]:
        if self._size is None:  # after rotation: only a frame tells in every version
            height, width = self.read([0]).shape[1:3]
            self._size = (height, width)
        return self._size

    @property
    def rotation(self) -> int:
        counterclockwise = getattr(self._decoder.metadata, "rotation", None) or 0
        return 90 * (round(-counterclockwise / 90) % 4)

    def seconds(self) -> np.ndarray:
        return self._seconds

    @functools.cached_property
    def _seconds(self) -> np.ndarray:
        """The times of all frames; TorchCodec tells them only together with the pictures."""
        count = len(self._decoder)
        parts = [
            self._decoder.get_frames_in_range(start, min(start + 16, count)).pts_seconds.numpy()
            for start in range(0, count, 16)
        ]
        pts = np.concatenate(parts)
        return pts - pts[:1]

    def read(self, wanted: list[int]) -> np.ndarray:
        try:
            return self._decoder.get_frames_at(wanted).data.numpy()
        except (RuntimeError, IndexError) as error:
            raise self._refusal(self._name, error) from error

    @staticmethod
    def _refusal(name: str, error: Exception) -> VideoError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return VideoError(f"{name}: TorchCodec cannot read it ({reason}); try backend='pyav'")

    def close(self) -> None:
        self._decoder = None
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        _abandoned.append((self._decoder, self._file))
        self._decoder = self._file = None


_abandoned: list[Any] = []
