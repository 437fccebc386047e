"""Panoramas written down the plain way, as a yardstick: a ray for every pixel of every view."""

from __future__ import annotations

import math

import numpy as np

from internvideo.simulator.backend import VIEWS, Panorama, Position, Sensors
from internvideo.simulator.rendering import Caster


def plain_panorama(caster: Caster, position: Position, yaw: float, sensors: Sensors) -> Panorama:
    """Return what an agent sees; of two sizes the greater is cast, and pixels are left out."""
    size = max(sensors.rgb, sensors.depth)
    half = math.tan(math.radians(sensors.field_of_view) / 2)
    x = (((np.arange(size) + 0.5) * 2 / size - 1) * half).astype(np.float32)
    right, up = np.broadcast_to(x[None], (size, size)), np.broadcast_to(-x[:, None], (size, size))
    eye = (position + np.array([0.0, sensors.height, 0.0])).astype(np.float32)
    eyes = np.tile(eye, (size * size, 1))
    rgb = np.empty((VIEWS, sensors.rgb, sensors.rgb, 3), np.uint8)
    depth = np.empty((VIEWS, sensors.depth, sensors.depth, 1), np.float32)
    kept = {
        side: np.ix_(*[(2 * np.arange(side) + 1) * size // (2 * side)] * 2)
        for side in (sensors.rgb, sensors.depth)
        if side
    }
    for view in range(VIEWS):
        angle = yaw + view * 2 * math.pi / VIEWS
        sine, cosine = math.sin(angle), math.cos(angle)
        directions = np.stack((right * cosine - sine, up, -right * sine - cosine), axis=-1)
        directions = np.ascontiguousarray(directions.reshape(-1, 3), np.float32)
        distance, hits = caster.cast(eyes, directions)
        if sensors.rgb:
            shaded = caster.shade(directions, hits).reshape(size, size, 3)
            rgb[view] = shaded[kept[sensors.rgb]]
        if sensors.depth:
            metres = distance.reshape(size, size, 1)[kept[sensors.depth]]
            depth[view] = sensors.scaled(metres)
    return Panorama(rgb, depth)
