"""The embedded simulator: procedural houses, and a user's own scans, with nothing but wheels.

Scenes are called `rooms/SEED.json`, which no file stands behind, or are files that trimesh reads
(`.glb`, `.ply`, `.obj`), of one storey: the floor of largest area.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from internvideo.errors import DataError, require
from internvideo.simulator.backend import Panorama, Position, Sensors
from internvideo.simulator.grid import CELL, Grid
from internvideo.simulator.houses import House, house_of
from internvideo.simulator.rendering import Caster, Surface, panorama

__all__ = ["EmbeddedBackend", "Scene", "scene_path"]

BODY = (0.1, 1.5)  # an agent walks over what is lower and under what is higher
_GREY = (128, 128, 128)
_ENDINGS = (".glb", ".gltf", ".ply", ".obj", ".off", ".stl")


class Scene:
    """A scene that is open: its surface, its floor, and its plan where it was made from a seed."""

    def __init__(self, caster: Caster, grid: Grid, house: House | None = None) -> None:
        self.caster, self.grid, self.house = caster, grid, house


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
        """Return whether an agent can stand there: on this floor, away from what is solid."""
        grid = self.scene.grid
        level = abs(float(position[1]) - grid.floor) < 0.5
        return level and grid.is_free(float(position[0]), float(position[2]))

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw a place where an agent can stand."""
        return self.scene.grid.random_point(rng)

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        return self.scene.grid.snap(position)


def scene_path(scene_id: str, folder: str) -> Path:
    """Return the file of a scene.

    Raises:
        DataError: there is none.
    """
    relative = scene_id.removeprefix("data/scene_datasets/")
    path = Path(folder) / relative
    if not path.is_file():
        raise DataError(
            f"unknown scene '{scene_id}': no file {path}; give the folder of the scenes, or a "
            "house made from a seed, such as 'rooms/1.json'"
        )
    return path


# ---------------------------------------------------------------- opening


@lru_cache(maxsize=8)
def _open_house(scene_id: str, radius: float) -> Scene:
    house = house_of(scene_id)
    side = math.ceil(house.side / CELL)
    solid = np.zeros((side, side), dtype=bool)
    for area, low, high, _ in house.boxes():
        if low < BODY[1] and high > BODY[0]:
            x, z, to_x, to_z = (each / CELL for each in area)
            rows = slice(math.floor(z + 1e-6), math.ceil(to_z - 1e-6))
            solid[rows, math.floor(x + 1e-6) : math.ceil(to_x - 1e-6)] = True
    grid = Grid(solid, (0.0, 0.0), 0.0, radius)
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
        return Scene(caster, _floor(caster, surface, radius))
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


def _crosses(triangles: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, "f 3"]:
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _level_area(vertices: Float[np.ndarray, "v 3"], faces: Any, up: int) -> float:
    cross = np.abs(_crosses(vertices[faces]))
    area = np.linalg.norm(cross, axis=1)
    return float(area[cross[:, up] > 0.95 * area].sum())


def _floor(caster: Caster, surface: Surface, radius: float) -> Grid:
    """Find the largest level floor, where it lies free, and what stands on it."""
    trimesh: Any = require("trimesh", extra="navigation")
    triangles = surface.vertices[surface.faces]
    cross = _crosses(triangles)
    area = np.linalg.norm(cross, axis=1)
    level = cross[:, 1] > 0.95 * area  # facing up
    if not level.any():
        raise ValueError("it has no level floor; y must point up")
    heights = triangles[level, :, 1].mean(axis=1)
    bins = np.round(heights / 0.1).astype(np.int64)
    sizes = np.bincount(bins - bins.min(), weights=area[level])
    floor = float(np.median(heights[bins == np.argmax(sizes) + bins.min()]))

    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    shape = tuple(int(np.ceil((high[axis] - low[axis]) / CELL)) + 1 for axis in (2, 0))
    rows, columns = np.indices(shape)
    origins = np.empty((rows.size, 3), np.float32)
    origins[:, 0] = low[0] + (columns.ravel() + 0.5) * CELL
    origins[:, 1] = floor + BODY[0]
    origins[:, 2] = low[2] + (rows.ravel() + 0.5) * CELL
    down = np.broadcast_to(np.array([0, -1, 0], np.float32), origins.shape).copy()
    below, _ = caster.cast(origins, down)
    origins[:, 1] = floor + BODY[1]
    above, _ = caster.cast(origins, down)  # inside of what is closed lies no floor
    solid: Bool[np.ndarray, "z x"] = ((below > 2 * BODY[0]) | (above < BODY[1] - BODY[0])).reshape(
        shape
    )

    spans = triangles[:, :, 1].min(axis=1), triangles[:, :, 1].max(axis=1)
    body = (spans[0] < floor + BODY[1]) & (spans[1] > floor + BODY[0])
    if body.any():
        fine: Any = trimesh.remesh.subdivide_to_size(
            surface.vertices, surface.faces[body], max_edge=CELL, max_iter=16
        )[0]
        within = (fine[:, 1] > floor + BODY[0]) & (fine[:, 1] < floor + BODY[1])
        row = ((fine[within, 2] - low[2]) / CELL).astype(np.int64)
        column = ((fine[within, 0] - low[0]) / CELL).astype(np.int64)
        solid[row, column] = True
    return Grid(solid, (float(low[0]), float(low[2])), floor, radius)
