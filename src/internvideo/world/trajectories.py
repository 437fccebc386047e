"""How actors move: one pure function for each path, from a random draw to a `Motion`.

Each takes the source of its draw, the times (frames,) from 0 to 1, and the radius of each actor.
Lengths are fractions of the frame's side, x grows to the right and y downwards, angles are radians
and grow clockwise on the screen. What a path is called in words, and what it is when played
backwards, is the matter of `internvideo.world.actions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

__all__ = [
    "Motion",
    "Trajectory",
    "appear",
    "blink",
    "bounce",
    "collide",
    "enter",
    "follow",
    "go_and_return",
    "go_then_stop",
    "grow",
    "move_down",
    "move_right",
    "orbit_clockwise",
    "pass_by",
    "rotate_clockwise",
    "separate",
    "shake",
    "stay_still",
    "swap",
    "zigzag",
]


@dataclass(frozen=True, eq=False, slots=True)
class Motion:
    """Where the actors of one action are; each array has shape (actors, frames).

    Attributes:
        x: centre, fraction of the frame's width.
        y: centre, fraction of the frame's height, downwards.
        scale: factor on the actor's radius.
        angle: radians, clockwise on the screen.
        alpha: opacity, 0 (not there) to 1.
    """

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    alpha: np.ndarray

    def reversed(self) -> Motion:
        """Return the motion played backwards."""
        return Motion(*(values[:, ::-1] for values in self.arrays()))

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return x, y, scale, angle and alpha."""
        return self.x, self.y, self.scale, self.angle, self.alpha


Trajectory: TypeAlias = Callable[[np.random.Generator, np.ndarray, Sequence[float]], Motion]
"""From a draw, the times (frames,) and the radius of each actor to the motion."""


def move_right(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight along x."""
    length = rng.uniform(0.42, 0.6)
    x, y = _along(_centre(rng, length / 2), np.array([1.0, 0.0]), length * (time - 0.5))
    return _motion(x, y)


def move_down(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight along y."""
    length = rng.uniform(0.42, 0.6)
    x, y = _along(_centre(rng, 0.0, length / 2), np.array([0.0, 1.0]), length * (time - 0.5))
    return _motion(x, y)


def rotate_clockwise(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Turn on the spot by 0.6 to 0.9 of a circle."""
    turn = rng.uniform(1.2, 1.8) * np.pi
    x, y = _centre(rng)
    return _motion(x, y, angle=turn * (time - 0.5))


def grow(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Grow on the spot at a constant rate, from below full size to above it."""
    factor = rng.uniform(1.33, 1.52)
    x, y = _centre(rng)
    return _motion(x, y, scale=0.95 * factor ** (2.0 * time - 1.0))


def appear(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Be hidden first, then there and at rest."""
    start = rng.uniform(0.3, 0.6)
    x, y = _centre(rng)
    return _motion(x, y, alpha=np.clip((time - start) / 0.08, 0.0, 1.0))


def orbit_clockwise(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Go about once around a point that is not drawn."""
    distance = rng.uniform(0.22, 0.3)
    phase = rng.uniform(0.0, 2 * np.pi) + rng.uniform(1.7, 2.3) * np.pi * (time - 0.5)
    centre = _centre(rng, distance, distance)
    return _motion(centre[0] + distance * np.cos(phase), centre[1] + distance * np.sin(phase))


def go_then_stop(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight in the first half of the time, then rest."""
    direction, length = _direction(rng), rng.uniform(0.5, 0.65)
    gone = np.clip(time / rng.uniform(0.4, 0.5), 0.0, 1.0)
    centre = _centre(rng, *(direction * length / 2))
    x, y = _along(centre, direction, length * (gone - 0.5))
    return _motion(x, y)


def enter(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight into the frame, over any of its four edges."""
    end = _centre(rng)
    outside = -radii[0] - 0.05
    inwards = outside + (end[0] - outside) * time
    match rng.integers(4):
        case 0:
            return _motion(inwards, end[1])
        case 1:
            return _motion(1.0 - inwards, end[1])
        case 2:
            return _motion(end[1], inwards)
        case _:
            return _motion(end[1], 1.0 - inwards)


def separate(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move two actors away from each other at a constant speed."""
    near, far = sum(radii) + 0.02, rng.uniform(0.56, 0.72)
    return _two_on_a_line(rng, near + (far - near) * time)


def collide(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Let two actors meet about half way through the time, and rebound."""
    near, far = 0.92 * sum(radii), rng.uniform(0.56, 0.72)
    away = np.abs(time - rng.uniform(0.45, 0.55)) / 0.5
    return _two_on_a_line(rng, near + (far - near) * away)


def pass_by(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move two actors past each other, side by side in the middle."""
    direction, length = _direction(rng), rng.uniform(0.48, 0.62)
    side = np.array([-direction[1], direction[0]]) * 0.52 * sum(radii) * rng.choice([-1.0, 1.0])
    reach = np.abs(direction) * length / 2 + np.abs(side)
    centre = _centre(rng, reach[0], reach[1])
    way = length * (time - 0.5)
    paths = [_along(centre + side, direction, way), _along(centre - side, direction, -way)]
    x, y = np.stack(paths, axis=1)
    return _motion(x, y)


def follow(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move two actors along one line, at a constant distance."""
    direction, length = _direction(rng), rng.uniform(0.38, 0.48)
    half_gap = _half_gap(rng, radii)
    reach = np.abs(direction) * (length / 2 + half_gap)
    centre = _centre(rng, reach[0], reach[1])
    way = length * (time - 0.5)
    paths = [_along(centre, direction, way - half_gap), _along(centre, direction, way + half_gap)]
    x, y = np.stack(paths, axis=1)
    return _motion(x, y)


def swap(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Let two actors change places, each on half a circle."""
    half = _half_gap(rng, radii)
    turn = rng.choice([-1.0, 1.0]) * np.pi * np.clip((time - 0.1) / 0.8, 0.0, 1.0)
    phase = rng.uniform(0.0, 2 * np.pi) + np.stack([turn, turn + np.pi])
    centre = _centre(rng, half, half)
    return _motion(centre[0] + half * np.cos(phase), centre[1] + half * np.sin(phase))


def bounce(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Hop on the spot, with rounded tops and sharp landings."""
    height, hops = rng.uniform(0.3, 0.42), rng.uniform(2.0, 2.6)
    centre = _centre(rng, 0.0, height / 2)
    rise = np.abs(np.sin(np.pi * (hops * time + rng.uniform(0.0, 1.0))))
    return _motion(centre[0], centre[1] + height * (2 / np.pi - rise))


def shake(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Swing fast along a short line."""
    direction, size = _direction(rng), rng.uniform(0.06, 0.09)
    swing = np.sin(2 * np.pi * (rng.uniform(3.2, 4.2) * time + rng.uniform(0.0, 1.0)))
    x, y = _along(_centre(rng), direction, size * swing)
    return _motion(x, y)


def blink(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Vanish and come back, two or three times."""
    wave = np.sin(2 * np.pi * (rng.uniform(2.3, 3.2) * time + rng.uniform(0.0, 1.0)))
    x, y = _centre(rng)
    return _motion(x, y, alpha=np.clip(0.5 + 5.0 * wave, 0.0, 1.0))


def stay_still(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Rest in one place."""
    x, y = _centre(rng)
    return _motion(np.full_like(time, x), y)


def go_and_return(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight to a place and back again."""
    direction, length = _direction(rng), rng.uniform(0.45, 0.6)
    centre = _centre(rng, *(direction * length / 2))
    x, y = _along(centre, direction, 0.5 * length * _triangle(time))
    return _motion(x, y)


def zigzag(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    """Move straight, with a triangle wave across."""
    direction, length, width = _direction(rng), rng.uniform(0.5, 0.62), rng.uniform(0.13, 0.17)
    centre = _centre(rng, *(direction * length / 2))
    wave = width * _triangle(rng.uniform(2.2, 2.8) * time + rng.uniform(0.0, 1.0))
    side = np.array([-direction[1], direction[0]])
    x, y = _along(centre, direction, length * (time - 0.5)) + side[:, None] * wave
    return _motion(x, y)


def _two_on_a_line(rng: np.random.Generator, distance: np.ndarray) -> Motion:
    """Return two actors at a varying distance from each other, in a random direction."""
    direction, half = _direction(rng), distance / 2
    reach = np.abs(direction) * float(np.max(half))
    centre = _centre(rng, reach[0], reach[1])
    x, y = np.stack([_along(centre, direction, -half), _along(centre, direction, half)], axis=1)
    return _motion(x, y)


def _half_gap(rng: np.random.Generator, radii: Sequence[float]) -> float:
    """Draw half the constant distance of two actors.

    It ranges over the distances at which actors who approach or collide are seen too: a typical
    distance would give an action away in a single frame.
    """
    return rng.uniform(0.52 * sum(radii), max(0.3, 0.6 * sum(radii)))


def _motion(
    x: np.ndarray,
    y: np.ndarray,
    *,
    scale: np.ndarray | float = 1.0,
    angle: np.ndarray | float = 0.0,
    alpha: np.ndarray | float = 1.0,
) -> Motion:
    """Broadcast to (actors, frames); one-dimensional arrays are one actor."""
    arrays = np.broadcast_arrays(*(np.atleast_2d(value) for value in (x, y, scale, angle, alpha)))
    return Motion(*arrays)


def _centre(rng: np.random.Generator, reach_x: float = 0.0, reach_y: float = 0.0) -> np.ndarray:
    """Draw the centre of a path that reaches so far from it.

    Objects on long and on short paths, and those at rest, are found over the same range of places:
    the place of something must not give away what it does. A path may end at the frame's edge.
    """
    slack = np.clip(0.45 - np.abs([reach_x, reach_y]), 0.07, 0.27)
    return 0.5 + slack * rng.uniform(-1.0, 1.0, 2)


def _direction(rng: np.random.Generator) -> np.ndarray:
    """Draw a unit vector."""
    angle = rng.uniform(0.0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _along(centre: np.ndarray, direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return x and y, shape (2, frames), of a straight path through the centre."""
    return centre[:, None] + direction[:, None] * distance


def _triangle(phase: np.ndarray) -> np.ndarray:
    """Return a triangle wave of period 1 between -1 and 1, with -1 at phase 0."""
    return 1.0 - np.abs(2.0 * (phase % 1.0) - 1.0) * 2.0
