"""From a decoded picture to upright 8-bit RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np

__all__ = ["Geometry", "PictureConverter"]

# Before PyAV 17 the conversion had no threads to switch off.
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size and orientation that all frames of a video are given in.

    Attributes:
        stored_size: height and width of the pictures in the file.
        quarter_turns: quarter turns clockwise that make them upright.
    """

    stored_size: tuple[int, int]
    quarter_turns: int

    @classmethod
    def of_frame(cls, frame: Any, stored_size: tuple[int, int]) -> Geometry:
        """Return the geometry that a frame's display matrix asks for."""
        counterclockwise = getattr(frame, "rotation", 0)
        return cls(stored_size, round(-counterclockwise / 90) % 4)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of the upright picture."""
        height, width = self.stored_size
        return (width, height) if self.quarter_turns % 2 else (height, width)

    @property
    def rotation(self) -> int:
        """Degrees clockwise: 0, 90, 180 or 270."""
        return 90 * self.quarter_turns


class PictureConverter:
    """Converts decoded pictures with one reused scaler."""

    def __init__(self) -> None:
        self._reformatter = av.video.reformatter.VideoReformatter()

    def convert(self, frame: Any, geometry: Geometry) -> np.ndarray:
        """Return uint8 (height, width, 3); a view that is valid while `frame` lives.

        The colours are those of `frame.to_ndarray(format="rgb24")`. A picture of another size than
        the video's is scaled to it.
        """
        height, width = geometry.stored_size
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", **_ONE_THREAD
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height]
        upright = rows[:, : 3 * width].reshape(height, width, 3)
        return np.rot90(upright, -geometry.quarter_turns) if geometry.quarter_turns else upright
