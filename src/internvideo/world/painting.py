"""Painting a scene, fast, in plain NumPy.

Frames have four channels while they are painted (red, green, blue, nothing), so that a sample of a
sprite is one 32-bit word: an object costs two table look-ups and three flat operations over a small
window around it, vectorised over the frames.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import UInt8

from internvideo.world.scene import Actor, Background, Scene
from internvideo.world.sprites import CELL, TILE, background_tile, sprite

__all__ = ["paint", "render"]

_REFERENCE_SIDE = 64
_FRACTION_BITS = 8
_PIECE = 64


def render(
    scene: Scene, start: int = 0, stop: int | None = None
) -> UInt8[np.ndarray, "frames size size 3"]:
    """Paint the frames start … stop - 1 of a scene (all by default).

    Frames smaller than 64 pixels are painted at a multiple of their size and averaged.

    Returns:
        uint8 RGB of shape (frames, size, size, 3).
    """
    frames = slice(start, scene.num_frames if stop is None else stop)
    factor = -(-_REFERENCE_SIDE // scene.size)
    side = scene.size * factor
    canvas = _paint_background(scene.background, range(*frames.indices(scene.num_frames)), side)
    for actor in reversed(scene.actors):
        if actor.alpha[frames].any():
            _paint_actor_(canvas, actor, frames)
    return _finish(canvas, factor)


def paint(scene: Scene) -> UInt8[np.ndarray, "frames size size 3"]:
    """Paint a whole scene, a long one in pieces, in which absent actors cost nothing."""
    starts = range(0, scene.num_frames, _PIECE)
    parts = [render(scene, start, min(start + _PIECE, scene.num_frames)) for start in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _finish(canvas: np.ndarray, factor: int) -> np.ndarray:
    """Drop the fourth channel and average blocks of factor x factor pixels."""
    if factor > 1:
        total = functools.reduce(
            np.add,
            (
                canvas[:, row::factor, column::factor].astype(np.uint16)
                for row in range(factor)
                for column in range(factor)
            ),
        )
        canvas = ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    out = np.empty((*canvas.shape[:3], 3), np.uint8)
    for channel in range(3):
        out[..., channel] = canvas[..., channel]
    return out


def _paint_background(background: Background, frames: range, side: int) -> np.ndarray:
    """Return a canvas uint8 (frames, side, side, 4) with the drifting texture."""
    times = np.asarray(frames)
    corners = []
    for offset, drift in zip(background.offset, background.drift, strict=True):
        corners.append(np.round((offset + drift * times) * side).astype(int))
    x, y = corners
    left, top = int(x.min()), int(y.min())
    # One periodic texture covers two sides, whatever the size of the frame.
    step = TILE / (2 * side)
    columns = (np.arange(left, int(x.max()) + side) * step).astype(int) % TILE
    rows = (np.arange(top, int(y.max()) + side) * step).astype(int) % TILE
    tile = background_tile(background.kind, background.variant).view(np.uint32)[..., 0]
    plane = tile[rows[:, None], columns[None, :]]
    canvas = np.empty((len(times), side, side), np.uint32)
    for frame, (column, row) in enumerate(zip(x - left, y - top, strict=True)):
        canvas[frame] = plane[row : row + side, column : column + side]
    return canvas.view(np.uint8).reshape(*canvas.shape, 4)


def _paint_actor_(canvas: np.ndarray, actor: Actor, frames: slice) -> None:
    """Paint one actor over the canvas (in place)."""
    side = canvas.shape[1]
    x, y, alpha = actor.x[frames] * side, actor.y[frames] * side, actor.alpha[frames]
    radius = actor.radius * actor.scale[frames] * side
    window = min(side, int(np.ceil(2.3 * float(radius.max()))) + 3)
    left = np.clip(np.round(x - window / 2), 0, side - window).astype(int)
    top = np.clip(np.round(y - window / 2), 0, side - window).astype(int)
    samples = _sample_numbers(x - left, y - top, radius, actor.angle[frames], window)

    light, veil = sprite(actor.name, actor.variant, actor.texture, actor.color)
    shine = np.take(light.view(np.uint32).ravel(), samples).view(np.uint8)
    cover = np.take(veil.view(np.uint32).ravel(), samples).view(np.uint8)
    shape = (len(x), window, window * 4)
    shine, cover = shine.reshape(shape), cover.reshape(shape)
    if alpha.min() < 1.0:
        opacity = np.round(alpha * 128).astype(np.uint16)[:, None, None]
        shine = (shine * opacity >> 7).astype(np.uint8)
        cover = (128 - ((128 - cover) * opacity >> 7)).astype(np.uint8)

    flat = canvas.reshape(len(canvas), side, side * 4)
    behind = np.empty(shape, np.uint16)
    places = list(enumerate(zip(top.tolist(), (left * 4).tolist(), strict=True)))
    for frame, (row, column) in places:
        behind[frame] = flat[frame, row : row + window, column : column + window * 4]
    np.multiply(behind, cover, out=behind)
    np.right_shift(behind, 7, out=behind)
    np.add(behind, shine, out=behind)
    for frame, (row, column) in places:
        flat[frame, row : row + window, column : column + window * 4] = behind[frame]


def _sample_numbers(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, angle: np.ndarray, window: int
) -> np.ndarray:
    """Return which sample of the flat sprite each pixel of the windows reads.

    Args:
        x: the object's centre in its window, pixels, shape (frames,).
        y: the same, vertically.
        radius: pixels, shape (frames,).
        angle: radians, shape (frames,).
        window: side of the windows in pixels.

    Returns:
        integers of shape (frames, window * window); CELL * CELL where a pixel is outside the cell.
    """
    pixels = np.arange(window) + 0.5
    unit = (1 << _FRACTION_BITS) * (CELL / 2) / np.maximum(radius, 1e-3)
    dx, dy = pixels[None, :] - x[:, None], pixels[None, :] - y[:, None]
    cos, sin = (np.cos(angle) * unit)[:, None], (np.sin(angle) * unit)[:, None]
    centre = (1 << _FRACTION_BITS) * (CELL // 2)
    limit = 1 << 24
    u_x, u_y = np.clip(cos * dx + centre, -limit, limit), np.clip(sin * dy, -limit, limit)
    v_x, v_y = np.clip(centre - sin * dx, -limit, limit), np.clip(cos * dy, -limit, limit)
    u = u_x.astype(np.int32)[:, None, :] + u_y.astype(np.int32)[:, :, None]
    v = v_x.astype(np.int32)[:, None, :] + v_y.astype(np.int32)[:, :, None]
    u >>= _FRACTION_BITS
    v >>= _FRACTION_BITS
    # Seen as unsigned numbers, what is left of 0 is larger than what is right of the cell.
    outside = np.maximum(u.view(np.uint32), v.view(np.uint32)) >= CELL
    v *= CELL
    v += u
    v[outside] = CELL * CELL
    return v.reshape(len(x), -1)
