"""A map of a walk: the scene from above, the true path and the walked one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from internvideo.simulator.backend import Backend, Position

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from internvideo.simulator.houses import House

__all__ = ["draw_map"]

_SQUARE, _MARGIN = 0.1, 1.5  # metres: what is looked at for one square, and beyond the paths
_FREE, _SOLID = (250, 250, 248), (96, 98, 104)
_TRUE, _WALKED, _GOAL = (40, 150, 70), (30, 90, 220), (210, 50, 40)
_INK = (32, 33, 36)

Path = Float[np.ndarray, "points 3"]


def draw_map(
    backend: Backend,
    walked: Path | Sequence[Position],
    *,
    reference: Path | Sequence[Position] = (),
    goal: Position | None = None,
    house: House | None = None,
    size: int = 720,
) -> Image:
    """Return a picture of the scene that is open, seen from above, with -z at the top.

    The true path is green, the walked one blue with a dot at its start and an arrow at its end, the
    goal a red ring of the three metres that count as there. White is the floor of every storey that
    they pass, all else is gray.

    Args:
        backend: knows where one can stand.
        walked: positions, the start first; without any, `house` must be given.
        reference: the true path.
        goal: where it ends.
        house: the plan of a procedural house, which adds colours and names of its rooms.
        size: the longer side in pixels.
    """
    from PIL import Image, ImageDraw

    points = [*walked, *reference, *(() if goal is None else (goal,))]
    if house is not None:
        left, top, right, bottom = 0.0, 0.0, house.side, house.side
    else:
        xs, zs = [float(at[0]) for at in points], [float(at[2]) for at in points]
        left, right = min(xs) - _MARGIN, max(xs) + _MARGIN
        top, bottom = min(zs) - _MARGIN, max(zs) + _MARGIN
    scale = size / max(right - left, bottom - top)

    def place(at: Position) -> tuple[float, float]:
        return (float(at[0]) - left) * scale, (float(at[2]) - top) * scale

    storeys: list[float] = []
    for height in sorted(float(at[1]) for at in points) or [0.0]:
        if not storeys or height > storeys[-1] + 1:
            storeys.append(height)
    free = _free(backend, (left, top, right, bottom), storeys)
    floor = np.where(free[..., None], np.array(_FREE, np.uint8), np.array(_SOLID, np.uint8))
    shape = (round((right - left) * scale), round((bottom - top) * scale))
    picture = Image.fromarray(floor).resize(shape, Image.Resampling.NEAREST)
    if house is not None:
        _draw_rooms(picture, house, scale)
    pen = ImageDraw.Draw(picture)
    if goal is not None:
        pen.circle(place(goal), 3.0 * scale, outline=_GOAL, width=2)
    for path, colour, width in ((reference, _TRUE, 6), (walked, _WALKED, 3)):
        if len(path) > 1:
            pen.line([place(at) for at in path], colour, width, joint="curve")
    if goal is not None:
        pen.circle(place(goal), 5, fill=_GOAL, outline=_FREE)
    if len(walked):
        pen.circle(place(walked[0]), 6, fill=_WALKED, outline=_FREE)
        _draw_arrow(pen, [place(at) for at in walked])
    return picture


def _free(
    backend: Backend, area: tuple[float, float, float, float], heights: Sequence[float]
) -> Bool[np.ndarray, "z x"]:
    left, top, right, bottom = area
    columns = np.arange(left + _SQUARE / 2, right, _SQUARE)
    rows = np.arange(top + _SQUARE / 2, bottom, _SQUARE)
    free = np.zeros((len(rows), len(columns)), bool)
    for row, z in enumerate(rows):
        for column, x in enumerate(columns):
            free[row, column] = any(backend.is_navigable(np.array([x, y, z])) for y in heights)
    return free


def _draw_rooms(picture: Image, house: House, scale: float) -> None:
    """Tint the rooms with the colours of their walls, draw the furniture, and write the names."""
    from PIL import Image, ImageDraw, ImageFont

    from internvideo.simulator.houses import PALETTE

    tint = Image.new("RGB", picture.size, _FREE)
    pen = ImageDraw.Draw(tint)
    for room in house.rooms:
        pen.rectangle([side * scale for side in room.area], PALETTE[room.colour])
    picture.paste(Image.blend(picture, tint, 0.25))
    pen = ImageDraw.Draw(picture)
    for one in house.furniture:
        pen.rectangle([side * scale for side in one.area], PALETTE[one.colour], _INK)
    for named, size in ((house.furniture, 11), (house.rooms, 14)):
        font = ImageFont.load_default(size)
        for one in named:
            x, z = one.centre
            middle = (x * scale, z * scale)
            pen.text(middle, one.name, _INK, font, "mm", stroke_width=2, stroke_fill=_FREE)


def _draw_arrow(pen: ImageDraw, path: list[tuple[float, float]]) -> None:
    """Draw a triangle at the end of a path, in the direction in which it was reached."""
    end = path[-1]
    before = next((at for at in reversed(path) if math.dist(at, end) > 1), (end[0], end[1] + 1))
    angle = math.atan2(end[1] - before[1], end[0] - before[0])
    corners = [
        (end[0] + reach * math.cos(angle + turn), end[1] + reach * math.sin(angle + turn))
        for turn, reach in ((0.0, 12.0), (2.4, 9.0), (-2.4, 9.0))
    ]
    pen.polygon(corners, fill=_WALKED, outline=_FREE)
