"""What a simulator must be able to do; everything above it is written once.

Space: y up, metres. A yaw turns counter-clockwise (to the left) about +y; yaw 0 looks to −z, so
that forward is (−sin yaw, 0, −cos yaw). A position is that of the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, UInt8

from internvideo.errors import DataError

__all__ = ["BODY", "VIEWS", "Backend", "Panorama", "Position", "Sensors", "scene_path"]

VIEWS = 12
BODY = 1.5  # height of an agent in metres

Position = Float[np.ndarray, "3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensors:
    """The cameras: `VIEWS` square pictures around the agent, each turned 30° further to the left.

    Attributes:
        rgb: side of the colour pictures in pixels; 0 has none.
        depth: side of the depth pictures in pixels; 0 has none.
        field_of_view: horizontal and vertical, in degrees.
        height: of the cameras above the feet, in metres.
        near: depth in metres that becomes 0.
        far: depth in metres that becomes 1; nothing further is told apart.
    """

    rgb: int = 224
    depth: int = 256
    field_of_view: float = 90.0
    height: float = 1.25
    near: float = 0.0
    far: float = 10.0

    def scaled(self, depth: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
        """Return metres as they are seen, 0 at `near` to 1 at `far`."""
        near, far = np.float32(self.near), np.float32(self.far)
        return ((np.clip(depth, near, far) - near) / (far - near)).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Panorama:
    """What the agent sees; view k is turned k·30° to the left.

    Attributes:
        rgb: colours.
        depth: distance along the axis of the view, 0 at `near` and 1 at `far`.
    """

    rgb: UInt8[np.ndarray, "views rgb rgb 3"]
    depth: Float32[np.ndarray, "views depth depth 1"]


class Backend(Protocol):
    """A simulator of one scene at a time."""

    def load(self, scene_id: str) -> None:
        """Open a scene; the one that is open already costs nothing. DataError: no such scene."""
        ...

    def render(self, position: Position, yaw: float, sensors: Sensors) -> Panorama:
        """Return what an agent sees."""
        ...

    def forward(self, position: Position, yaw: float, distance: float) -> tuple[Position, bool]:
        """Return where a step forward ends, and whether something was in the way."""
        ...

    def geodesic(self, start: Position, end: Position) -> float:
        """Return the length of the shortest way in metres; inf where there is none."""
        ...

    def shortest_path(self, start: Position, end: Position) -> Float[np.ndarray, "points 3"]:
        """Return the corners of the shortest way, both ends included; none where there is none."""
        ...

    def is_navigable(self, position: Position) -> bool:
        """Return whether an agent can stand there."""
        ...

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw a place where an agent can stand."""
        ...

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        ...


def scene_path(scene_id: str, folder: str) -> Path:
    """Return the file of a scene.

    Raises:
        DataError: there is none.
    """
    path = Path(folder) / scene_id.removeprefix("data/scene_datasets/")
    if not path.is_file():
        raise DataError(
            f"unknown scene '{scene_id}': no file {path}; give the folder of the scenes, or to the "
            "simulator 'rooms' a house made from a seed, such as 'rooms/1.json'"
        )
    return path
