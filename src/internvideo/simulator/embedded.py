"""The embedded simulator: procedural houses, and a user's own scans, with nothing but wheels.

Scenes are called `rooms/SEED.json`, which no file stands behind, or are files that trimesh reads
(`.glb`, `.ply`, `.obj`), of any number of storeys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from internvideo.errors import DataError, require
from internvideo.simulator.backend import BODY, Panorama, Position, Sensors, scene_path
from internvideo.simulator.grid import CELL, CLIMB, Grid
from internvideo.simulator.houses import House, house_of
from internvideo.simulator.rendering import Caster, Surface, normals_of, panorama

__all__ = ["EmbeddedBackend", "Scene"]

_THRESHOLD = 0.1  # metres: what is lower in a house is walked over
_LEVEL = 0.7  # cosine of the slope that an agent can stand on: 45°
_APART = 0.01  # metres between surfaces that are told apart
_GREY = (128, 128, 128)
_ENDINGS = (".glb", ".gltf", ".ply", ".obj", ".off", ".stl")


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A scene that is open: its surface, its floor, and its plan where it was made from a seed."""

    caster: Caster
    grid: Grid
    house: House | None = None


class EmbeddedBackend:
    """trimesh and Embree behind the protocol of `backend.Backend`.

    Args:
        scenes: the folder below which the files of scenes lie.
        sliding: whether an agent that meets a wall at an angle slides along it.
        radius: of the agent in metres.
    """

    def __init__(self, *, scenes: str = "", sliding: bool = True, radius: float = 0.1) -> None:
        self._folder, self._sliding, self._radius = scenes, sliding, radius
        self._scene: Scene | None = None

    @property
    def scene(self) -> Scene:
        """The scene that is open."""
        if self._scene is None:
            raise DataError("no scene is open; load one first, such as 'rooms/1.json'")
        return self._scene

    def load(self, scene_id: str) -> None:
        """Open a scene; the last few stay open.

        Raises:
            DataError: no such scene, or a file that is none.
        """
        if scene_id.startswith("rooms/"):
            self._scene = _open_house(scene_id, self._radius)
        else:
            self._scene = _open_file(str(scene_path(scene_id, self._folder)), self._radius)

    def render(self, position: Position, yaw: float, sensors: Sensors) -> Panorama:
        """Return what an agent sees."""
        return panorama(self.scene.caster, position, yaw, sensors)

    def forward(self, position: Position, yaw: float, distance: float) -> tuple[Position, bool]:
        """Return where a step forward ends, and whether something was in the way."""
        return self.scene.grid.forward(position, yaw, distance, self._sliding)

    def geodesic(self, start: Position, end: Position) -> float:
        """Return the length of the shortest way in metres; inf where there is none."""
        return self.scene.grid.geodesic(start, end)

    def shortest_path(self, start: Position, end: Position) -> Float[np.ndarray, "points 3"]:
        """Return the corners of the shortest way; none where there is none."""
        return self.scene.grid.shortest_path(start, end)

    def is_navigable(self, position: Position) -> bool:
        """Return whether an agent can stand there: on a floor, away from what is solid."""
        return self.scene.grid.is_free(position)

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw a place where an agent can stand."""
        return self.scene.grid.random_point(rng)

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        return self.scene.grid.snap(position)


# ---------------------------------------------------------------- opening


@lru_cache(maxsize=8)
def _open_house(scene_id: str, radius: float) -> Scene:
    house = house_of(scene_id)
    side = math.ceil(house.side / CELL)
    solid = np.zeros((side, side), dtype=bool)
    for area, low, high, _ in house.boxes():
        if low < BODY and high > _THRESHOLD:
            x, z, to_x, to_z = (each / CELL for each in area)
            rows = slice(math.floor(z + 1e-6), math.ceil(to_z - 1e-6))
            solid[rows, math.floor(x + 1e-6) : math.ceil(to_x - 1e-6)] = True
    grid = Grid(np.where(solid, np.nan, 0.0)[None], (0.0, 0.0), radius)
    return Scene(Caster(house.surface()), grid, house)


@lru_cache(maxsize=2)
def _open_file(path: str, radius: float) -> Scene:
    trimesh: Any = require("trimesh", extra="navigation")
    try:
        if Path(path).suffix.lower() not in _ENDINGS:
            raise ValueError(f"expected one of {', '.join(_ENDINGS)}")
        loaded: Any = trimesh.load_scene(path)
        meshes = [each for each in loaded.dump() if hasattr(each, "faces") and len(each.faces)]
        if not meshes:
            raise ValueError("it has no triangles")
        surface = _surface(meshes)
        caster = Caster(surface)
        return Scene(caster, _floors(caster, surface, radius))
    except Exception as error:  # trimesh raises whatever its parsers meet
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot use the scene {path}: {reason}") from error


def _surface(meshes: list[Any]) -> Surface:
    """Join meshes; textures stay pictures, everything else becomes a colour a triangle.

    Scans such as those of Matterport3D have z up, against the standard of glTF: where half as much
    area again is level that way, the scene is laid down.
    """
    vertices: list[Float[np.ndarray, "v 3"]] = []
    faces: list[Any] = []
    colours: list[UInt8[np.ndarray, "f 3"]] = []
    textures: list[UInt8[np.ndarray, "h w 3"]] = []
    numbers: list[Any] = []
    uvs: list[Float32[np.ndarray, "f 3 2"]] = []
    offset = 0
    for mesh in meshes:
        visual = mesh.visual
        material = getattr(visual, "material", None)
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        uv = getattr(visual, "uv", None)
        number = -1
        if image is not None and uv is not None:
            number = len(textures)
            textures.append(np.asarray(image.convert("RGB")))
            uvs.append(np.asarray(uv, np.float32)[mesh.faces])
        else:
            uvs.append(np.zeros((len(mesh.faces), 3, 2), np.float32))
        plain: Any = visual.face_colors if number < 0 and material is None else None
        if plain is None:
            colour: Any = getattr(material, "main_color", None)
            plain = np.tile(_GREY if colour is None else colour, (len(mesh.faces), 1))
        colours.append(np.asarray(plain, np.uint8)[:, :3])
        numbers.append(np.full(len(mesh.faces), number))
        vertices.append(np.asarray(mesh.vertices, np.float64))
        faces.append(np.asarray(mesh.faces) + offset)
        offset += len(mesh.vertices)
    corners, triangles = np.concatenate(vertices), np.concatenate(faces)
    if _level_area(corners, triangles, 2) > 1.5 * _level_area(corners, triangles, 1):
        corners = corners[:, [0, 2, 1]] * (1, 1, -1)
    return Surface(
        corners,
        triangles,
        np.concatenate(colours),
        tuple(textures),
        np.concatenate(numbers),
        np.concatenate(uvs),
    )


def _level_area(vertices: Float[np.ndarray, "v 3"], faces: Any, up: int) -> float:
    facing, areas = normals_of(vertices[faces])
    return float(areas[np.abs(facing[:, up]) > 0.95].sum())


def _floors(caster: Caster, surface: Surface, radius: float) -> Grid:
    """Find every storey: what is level, with room for a body above, and nothing in the way."""
    trimesh: Any = require("trimesh", extra="navigation")
    facing = normals_of(surface.vertices[surface.faces])[0][:, 1]  # 1 floors, 0 walls, −1 ceilings
    level = facing > _LEVEL
    if not level.any():
        raise ValueError("it has no level floor; y must point up")
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    rows, columns = (int(np.ceil((high[axis] - low[axis]) / CELL)) + 1 for axis in (2, 0))
    above = np.empty((rows, columns, 3), np.float32)
    above[..., 0] = low[0] + (np.arange(columns) + 0.5) * CELL
    above[..., 1] = high[1] + 1
    above[..., 2] = (low[2] + (np.arange(rows) + 0.5) * CELL)[:, None]
    heights = _heights(caster, Caster(surface.part(level)), above.reshape(-1, 3))
    heights = heights.reshape(-1, rows, columns)

    steep = np.abs(facing) <= _LEVEL
    if steep.any():
        fine, used = trimesh.remesh.subdivide_to_size(
            surface.vertices, surface.faces[steep], max_edge=CELL, max_iter=16
        )
        corners = fine[np.unique(used)]
        row, column = (((corners[:, axis] - low[axis]) / CELL).astype(np.int64) for axis in (2, 0))
        over = corners[:, 1] - heights[:, row, column]
        storey, at = np.nonzero((over > CLIMB) & (over < BODY))
        heights[storey, row[at], column[at]] = np.nan
    return Grid(heights, (float(low[0]), float(low[2])), radius)


def _heights(
    caster: Caster, floors: Caster, above: Float32[np.ndarray, "n 3"]
) -> Float[np.ndarray, "storeys n"]:
    """Return the heights of floors under points that have room for a body; the lowest first."""
    found: list[Float[np.ndarray, " n"]] = []
    origins, active = above.copy(), np.arange(len(above))
    while len(active):
        to_floor, _ = floors.cast(origins[active], _vertical(-1, len(active)))
        active, to_floor = active[np.isfinite(to_floor)], to_floor[np.isfinite(to_floor)]
        origins[active, 1] -= to_floor
        standing = origins[active] + np.array([0, _APART, 0], np.float32)
        room, _ = caster.cast(standing, _vertical(1, len(active)))
        found.append(np.full(len(above), np.nan))
        found[-1][active] = np.where(room > BODY - _APART, origins[active, 1], np.nan)
        origins[active, 1] -= _APART
    stacked = np.sort(np.stack(found), axis=0)  # nan comes last
    return stacked[: max(1, int((~np.isnan(stacked)).sum(axis=0).max()))]


def _vertical(direction: int, rays: int) -> Float32[np.ndarray, "n 3"]:
    return np.tile(np.array([0, direction, 0], np.float32), (rays, 1))
