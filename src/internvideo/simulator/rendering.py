"""Panoramas by ray casting on the processor: no display, no OpenGL.

The twelve views overlap three times. Rays are therefore cast once for a band around the agent, of
as many rows as a view has, and every view is looked up in it. In the band, columns are equal angles
of azimuth and rows equal slopes. A pixel has the colour of the nearest ray; its depth is where its
own ray meets the plane of the triangle that this one has hit, which is exact on surfaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from internvideo.errors import require
from internvideo.simulator.backend import VIEWS, Panorama, Position, Sensors

__all__ = ["Caster", "Surface", "normals_of", "panorama"]


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles and how they look.

    Attributes:
        vertices: corners in metres.
        faces: three corners a triangle.
        colours: of the triangles.
        textures: pictures, "h w 3" uint8.
        texture_of: for every triangle the number of its picture; −1 has the plain colour.
        uv: where the corners of a triangle lie in its picture, 0 to 1 from the lower left.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: UInt8[np.ndarray, "f 3"]
    textures: tuple[UInt8[np.ndarray, "h w 3"], ...] = ()
    texture_of: Int[np.ndarray, " f"] | None = None
    uv: Float32[np.ndarray, "f 3 2"] | None = None

    def part(self, chosen: Bool[np.ndarray, " f"]) -> Surface:
        """Return some of the triangles, in their plain colours."""
        return Surface(self.vertices, self.faces[chosen], self.colours[chosen])


class Caster:
    """Embree on a surface."""

    def __init__(self, surface: Surface) -> None:
        scenes: Any = require("embreex.rtcore_scene", extra="navigation")
        meshes: Any = require("embreex.mesh_construction", extra="navigation")
        self.surface = surface
        self._scene = scenes.EmbreeScene()
        corners = surface.vertices.astype(np.float32)
        self._mesh = meshes.TriangleMesh(self._scene, corners, surface.faces.astype(np.int32))
        self._normals = normals_of(corners[surface.faces])[0]
        self._corners = corners[surface.faces[:, 0]]

    def cast(
        self, origins: Float32[np.ndarray, "n 3"], directions: Float32[np.ndarray, "n 3"]
    ) -> tuple[Float32[np.ndarray, " n"], dict[str, Any]]:
        """Return the distances in lengths of the directions, inf where nothing is hit; and hits."""
        hits: dict[str, Any] = self._scene.run(origins, directions, output=1)
        missed = hits["primID"] < 0
        return np.where(missed, np.float32(np.inf), hits["tfar"]), hits

    def shade(
        self, directions: Float32[np.ndarray, "n 3"], hits: dict[str, Any]
    ) -> UInt8[np.ndarray, "n 3"]:
        """Return the colours of hits, darker where a surface is seen at a slant; misses are 0."""
        face = hits["primID"]
        surface = self.surface
        colours = surface.colours[face]
        if surface.texture_of is not None and surface.uv is not None:
            texture = np.where(face < 0, -1, surface.texture_of[face])
            for number in np.unique(texture[texture >= 0]).tolist():
                at = np.flatnonzero(texture == number)
                colours[at] = _texels(surface.textures[number], surface.uv[face[at]], hits, at)
        cosine = np.abs(np.einsum("nk,nk->n", self._normals[face], directions))
        light = 0.55 + 0.45 * cosine / np.sqrt(np.einsum("nk,nk->n", directions, directions))
        light[face < 0] = 0.0
        return (colours * light[:, None]).astype(np.uint8)

    def planes(
        self, eye: Float32[np.ndarray, "3"], yaw: float
    ) -> tuple[Float32[np.ndarray, " f+1"], ...]:
        """Return the planes of the triangles as an eye with a heading sees them.

        A ray (right, up, back) meets a plane at 1 over its product with it, in lengths of the ray.
        The last plane is never met: it stands behind rays that hit nothing.
        """
        offset = np.einsum("nk,nk->n", self._normals, self._corners - eye)
        offset = np.where(np.abs(offset) < 1e-6, np.float32(1e-6), offset)
        x, y, z = (self._normals / offset[:, None]).T
        sine, cosine = math.sin(yaw), math.cos(yaw)
        turned = (x * cosine - z * sine, y, x * sine + z * cosine)
        return tuple(np.append(each, 0).astype(np.float32) for each in turned)


def normals_of(
    triangles: Float[np.ndarray, "f 3 3"],
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f 1"]]:
    """Return where triangles face, and twice their areas."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    areas = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(areas, 1e-12), areas


def _texels(
    texture: UInt8[np.ndarray, "h w 3"],
    uv: Float32[np.ndarray, "n 3 2"],
    hits: dict[str, Any],
    at: Int[np.ndarray, " n"],
) -> UInt8[np.ndarray, "n 3"]:
    u, v = hits["u"][at, None], hits["v"][at, None]
    place = uv[:, 0] * (1 - u - v) + uv[:, 1] * u + uv[:, 2] * v
    height, width = texture.shape[:2]
    column = (place[:, 0] * width).astype(np.int64) % width
    row = ((1 - place[:, 1]) * height).astype(np.int64) % height
    return texture[row, column]


# ---------------------------------------------------------------- the band


@dataclass(frozen=True, slots=True)
class _Band:
    azimuth: Float[np.ndarray, " columns"]  # to the left of the heading
    slope: Float32[np.ndarray, " rows"]  # from the top


@lru_cache(maxsize=8)
def _band(size: int, field_of_view: float) -> _Band:
    """Return a band whose pixels are as far apart as those in the middle of a view."""
    half = math.tan(math.radians(field_of_view) / 2)
    columns = VIEWS * math.ceil(math.pi * size / half / VIEWS)
    azimuth = (np.arange(columns) + 0.5) * (2 * math.pi / columns)
    slope = (1 - (np.arange(size) + 0.5) * 2 / size) * half
    return _Band(azimuth, slope.astype(np.float32))


@lru_cache(maxsize=8)
def _lookup(
    size: int, band: int, field_of_view: float
) -> tuple[Int[np.ndarray, "views n"], tuple[Float32[np.ndarray, "views n"], ...]]:
    """Return for each pixel of each view its place in the band, and where its own ray goes.

    A ray is right of, above and behind the agent, of length 1 along the axis of its view.
    """
    columns = len(_band(band, field_of_view).azimuth)
    half = math.tan(math.radians(field_of_view) / 2)
    x = ((np.arange(size) + 0.5) * 2 / size - 1) * half
    right, up = np.meshgrid(x, -x)
    reach = np.hypot(1, right)
    azimuth = np.arange(VIEWS)[:, None, None] * (2 * math.pi / VIEWS) - np.arctan(right)
    column = np.floor(azimuth * (columns / (2 * math.pi))).astype(np.int64) % columns
    slope = up / reach
    row = np.clip(np.floor((1 - slope / half) / 2 * band).astype(np.int64), 0, band - 1)
    ray = (-np.sin(azimuth) * reach, np.broadcast_to(up, azimuth.shape), -np.cos(azimuth) * reach)
    index = (row * columns + column).astype(np.int32).reshape(VIEWS, -1)
    return index, tuple(each.astype(np.float32).reshape(VIEWS, -1) for each in ray)


def panorama(caster: Caster, position: Position, yaw: float, sensors: Sensors) -> Panorama:
    """Return what an agent sees, from one cast of a band."""
    rgb = np.empty((VIEWS, sensors.rgb, sensors.rgb, 3), np.uint8)
    depth = np.empty((VIEWS, sensors.depth, sensors.depth, 1), np.float32)
    size = max(sensors.rgb, sensors.depth)
    if not size:
        return Panorama(rgb, depth)
    band = _band(size, sensors.field_of_view)
    azimuth = band.azimuth + yaw
    directions = np.empty((size, len(azimuth), 3), np.float32)
    directions[..., 0] = -np.sin(azimuth)
    directions[..., 1] = band.slope[:, None]
    directions[..., 2] = -np.cos(azimuth)
    directions = directions.reshape(-1, 3)
    eye = (position + np.array([0.0, sensors.height, 0.0])).astype(np.float32)
    _, hits = caster.cast(np.tile(eye, (len(directions), 1)), directions)
    if sensors.rgb:
        index, _ = _lookup(sensors.rgb, size, sensors.field_of_view)
        np.take(caster.shade(directions, hits), index, axis=0, out=rgb.reshape(VIEWS, -1, 3))
    if sensors.depth:
        index, ray = _lookup(sensors.depth, size, sensors.field_of_view)
        face = hits["primID"].astype(np.int32)[index]
        planes = caster.planes(eye, yaw)
        nearness = sum(planes[axis][face] * ray[axis] for axis in range(3))
        depth = sensors.scaled(1 / np.maximum(nearness, 1 / sensors.far)).reshape(depth.shape)
    return Panorama(rgb, depth)
