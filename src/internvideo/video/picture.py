"""From a decoded picture to upright 8-bit RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

__all__ = ["Geometry", "PictureConverter", "pixels_of"]

# Before PyAV 17 the conversion had no threads to switch off.
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size and orientation that all frames of a video are given in.

    Attributes:
        stored_size: height and width of the pictures in the file.
        turned: whether rows become columns.
        flip_rows: whether the upright picture then has its first row last.
        flip_columns: whether it has its first column last.
    """

    stored_size: tuple[int, int]
    turned: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of_frame(cls, frame: Any, stored_size: tuple[int, int]) -> Geometry:
        """Return the geometry that a frame's display matrix asks for.

        A stored pixel (x, y) is shown at (a x + c y, b x + d y).
        """
        try:
            matrix = next((d for d in frame.side_data if d.type.name == "DISPLAYMATRIX"), None)
        except ValueError:  # PyAV lists no side data when it has no name for one of them
            a, b = {0: (1, 0), 1: (0, -1), 2: (-1, 0), 3: (0, 1)}[round(frame.rotation / 90) % 4]
            c, d = -b, a
        else:
            if matrix is None:
                return cls(stored_size)
            a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(stored_size, turned=True, flip_rows=b < 0, flip_columns=c < 0)
        return cls(stored_size, flip_rows=d < 0, flip_columns=a < 0)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of the upright picture."""
        height, width = self.stored_size
        return (width, height) if self.turned else (height, width)

    @property
    def rotation(self) -> int:
        """Degrees clockwise (after a left-right mirroring, if there is one): 0, 90, 180 or 270."""
        if self.turned:
            return 270 if self.flip_rows else 90
        return 180 if self.flip_rows else 0

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Return a stored picture (height, width, 3) as it should be shown; a view."""
        if self.turned:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


class PictureConverter:
    """Converts decoded pictures with one reused scaler."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def convert(self, frame: Any, size: tuple[int, int]) -> Any:
        """Return the frame in RGB, with the same side data, as `frame.to_rgb()` has it.

        Args:
            frame: as decoded.
            size: stored height and width of the video, to which other sizes are scaled.
        """
        height, width = size
        return self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", **_ONE_THREAD
        )


def pixels_of(rgb: Any) -> np.ndarray:
    """Return an RGB frame as uint8 (height, width, 3); a view that is valid while it lives."""
    plane: Any = rgb.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: rgb.height]
    return rows[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)
