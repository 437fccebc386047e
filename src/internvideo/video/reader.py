"""What a decoding backend offers to `Video`, and how its errors are told."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from internvideo.errors import VideoError

__all__ = ["FrameIndexError", "Reader", "describe_error"]


class FrameIndexError(VideoError, IndexError):
    """A frame number that the video does not have."""


def describe_error(error: BaseException) -> str:
    """Return the reason in an error of the system or of a decoder, in one line."""
    reason = getattr(error, "strerror", None)
    if not isinstance(reason, str):
        reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return reason.partition("\n")[0].rstrip(": ")


class Reader(Protocol):
    """One opened video; not safe for use by several threads at once (`Video` locks it)."""

    @property
    def codec(self) -> str:
        """Name of the codec, as FFmpeg calls it (`h264`, `hevc`, `vp9`, …)."""
        ...

    @property
    def num_frames(self) -> int:
        """How many frames decoding the whole video would give."""
        ...

    @property
    def fps(self) -> float:
        """Average frames per second."""
        ...

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that `read` gives, after rotation."""
        ...

    @property
    def rotation(self) -> int:
        """Degrees clockwise that stored frames were turned to be upright: 0, 90, 180 or 270."""
        ...

    def seconds(self) -> np.ndarray:
        """Return the time of every frame, in seconds after the first one."""
        ...

    def read(self, wanted: list[int]) -> np.ndarray:
        """Return frames as uint8 (n, height, width, 3), RGB.

        Args:
            wanted: frame numbers, ascending, without repeats, all in the video.
        """
        ...

    def close(self) -> None:
        """Release files and decoders."""
        ...

    def abandon(self) -> None:
        """Forget files and decoders that another process still uses, without closing them."""
        ...
