"""The actions of the world as pure trajectories.

An action is a function from a random draw to the motion of one or two actors. Lengths are fractions
of the frame's side, x grows to the right and y downwards, angles are radians and grow clockwise on
the screen, time runs from 0 to 1.

Nine actions have a time reversal, and it is literally that: `trajectory("move left", …)` is
`trajectory("move right", …)` of the same draw with its frames in the opposite order. Nothing but
the order of the frames tells the two apart, so a model that ignores time cannot beat a coin. The
other actions look the same in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from internvideo.errors import UnknownNameError, did_you_mean

__all__ = [
    "ACTIONS",
    "REVERSAL_PAIRS",
    "Action",
    "Motion",
    "action_named",
    "reversal_of",
    "trajectory",
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


Trajectory = Callable[[np.random.Generator, np.ndarray, Sequence[float]], Motion]


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the table of actions.

    Attributes:
        name: as in `ACTIONS` and in the files of labels.
        num_actors: 1 or 2.
        phrases: what the actors do, in words (third person singular for one actor, plural for two).
        trajectory: draw → motion, before any reversal.
        reversal: the action that is this one played backwards, if it is another one.
        backwards: whether this action plays `trajectory` from its end to its start.
    """

    name: str
    num_actors: int
    phrases: tuple[str, ...]
    trajectory: Trajectory
    reversal: str | None = None
    backwards: bool = False


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
    where something is must not tell what it does. The ends of a path may lie at the frame's edge.
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


def _right(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    length = rng.uniform(0.42, 0.6)
    x, y = _along(_centre(rng, length / 2), np.array([1.0, 0.0]), length * (time - 0.5))
    return _motion(x, y)


def _down(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    length = rng.uniform(0.42, 0.6)
    x, y = _along(_centre(rng, 0.0, length / 2), np.array([0.0, 1.0]), length * (time - 0.5))
    return _motion(x, y)


def _rotate(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    turn = rng.uniform(1.2, 1.8) * np.pi
    x, y = _centre(rng)
    return _motion(x, y, angle=turn * (time - 0.5))


def _grow(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    factor = rng.uniform(1.33, 1.52)
    x, y = _centre(rng)
    return _motion(x, y, scale=0.95 * factor ** (2.0 * time - 1.0))


def _appear(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    start = rng.uniform(0.3, 0.6)
    x, y = _centre(rng)
    return _motion(x, y, alpha=np.clip((time - start) / 0.08, 0.0, 1.0))


def _orbit(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    distance = rng.uniform(0.22, 0.3)
    phase = rng.uniform(0.0, 2 * np.pi) + rng.uniform(1.7, 2.3) * np.pi * (time - 0.5)
    centre = _centre(rng, distance, distance)
    return _motion(centre[0] + distance * np.cos(phase), centre[1] + distance * np.sin(phase))


def _separate(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    near, far = sum(radii) + 0.02, rng.uniform(0.56, 0.72)
    return _two_on_a_line(rng, near + (far - near) * time)


def _collide(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    near, far = 0.92 * sum(radii), rng.uniform(0.56, 0.72)
    away = np.abs(time - rng.uniform(0.45, 0.55)) / 0.5
    return _two_on_a_line(rng, near + (far - near) * away)


def _two_on_a_line(rng: np.random.Generator, distance: np.ndarray) -> Motion:
    """Return two actors at a varying distance from each other, in a random direction."""
    direction, half = _direction(rng), distance / 2
    reach = np.abs(direction) * float(np.max(half))
    centre = _centre(rng, reach[0], reach[1])
    x, y = np.stack([_along(centre, direction, -half), _along(centre, direction, half)], axis=1)
    return _motion(x, y)


def _go_stop(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, length = _direction(rng), rng.uniform(0.5, 0.65)
    gone = np.clip(time / rng.uniform(0.4, 0.5), 0.0, 1.0)
    centre = _centre(rng, *(direction * length / 2))
    x, y = _along(centre, direction, length * (gone - 0.5))
    return _motion(x, y)


def _enter(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
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


def _bounce(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    height, hops = rng.uniform(0.3, 0.42), rng.uniform(2.0, 2.6)
    centre = _centre(rng, 0.0, height / 2)
    rise = np.abs(np.sin(np.pi * (hops * time + rng.uniform(0.0, 1.0))))
    return _motion(centre[0], centre[1] + height * (2 / np.pi - rise))


def _shake(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, size = _direction(rng), rng.uniform(0.06, 0.09)
    swing = np.sin(2 * np.pi * (rng.uniform(3.2, 4.2) * time + rng.uniform(0.0, 1.0)))
    x, y = _along(_centre(rng), direction, size * swing)
    return _motion(x, y)


def _half_gap(rng: np.random.Generator, radii: Sequence[float]) -> float:
    """Draw half the constant distance of two actors.

    It ranges over the distances at which actors who approach or collide are seen too: a typical
    distance would give an action away in a single frame.
    """
    return rng.uniform(0.52 * sum(radii), max(0.3, 0.6 * sum(radii)))


def _pass(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, length = _direction(rng), rng.uniform(0.48, 0.62)
    side = np.array([-direction[1], direction[0]]) * 0.52 * sum(radii) * rng.choice([-1.0, 1.0])
    reach = np.abs(direction) * length / 2 + np.abs(side)
    centre = _centre(rng, reach[0], reach[1])
    way = length * (time - 0.5)
    paths = [_along(centre + side, direction, way), _along(centre - side, direction, -way)]
    x, y = np.stack(paths, axis=1)
    return _motion(x, y)


def _follow(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, length = _direction(rng), rng.uniform(0.38, 0.48)
    half_gap = _half_gap(rng, radii)
    reach = np.abs(direction) * (length / 2 + half_gap)
    centre = _centre(rng, reach[0], reach[1])
    way = length * (time - 0.5)
    paths = [_along(centre, direction, way - half_gap), _along(centre, direction, way + half_gap)]
    x, y = np.stack(paths, axis=1)
    return _motion(x, y)


def _swap(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    half = _half_gap(rng, radii)
    turn = rng.choice([-1.0, 1.0]) * np.pi * np.clip((time - 0.1) / 0.8, 0.0, 1.0)
    phase = rng.uniform(0.0, 2 * np.pi) + np.stack([turn, turn + np.pi])
    centre = _centre(rng, half, half)
    return _motion(centre[0] + half * np.cos(phase), centre[1] + half * np.sin(phase))


def _blink(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    wave = np.sin(2 * np.pi * (rng.uniform(2.3, 3.2) * time + rng.uniform(0.0, 1.0)))
    x, y = _centre(rng)
    return _motion(x, y, alpha=np.clip(0.5 + 5.0 * wave, 0.0, 1.0))


def _still(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    x, y = _centre(rng)
    return _motion(np.full_like(time, x), y)


def _return(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, length = _direction(rng), rng.uniform(0.45, 0.6)
    centre = _centre(rng, *(direction * length / 2))
    x, y = _along(centre, direction, 0.5 * length * _triangle(time))
    return _motion(x, y)


def _zigzag(rng: np.random.Generator, time: np.ndarray, radii: Sequence[float]) -> Motion:
    direction, length, width = _direction(rng), rng.uniform(0.5, 0.62), rng.uniform(0.13, 0.17)
    centre = _centre(rng, *(direction * length / 2))
    wave = width * _triangle(rng.uniform(2.2, 2.8) * time + rng.uniform(0.0, 1.0))
    side = np.array([-direction[1], direction[0]])
    x, y = _along(centre, direction, length * (time - 0.5)) + side[:, None] * wave
    return _motion(x, y)


# (first, its phrases, second, its phrases, actors, trajectory of the first)
_PAIRS: tuple[tuple[str, tuple[str, ...], str, tuple[str, ...], int, Trajectory], ...] = (
    (
        "move right",
        ("moves to the right", "slides right", "travels rightwards", "heads right"),
        "move left",
        ("moves to the left", "slides left", "travels leftwards", "heads left"),
        1,
        _right,
    ),
    (
        "move down",
        ("moves down", "slides downwards", "travels to the bottom", "heads down"),
        "move up",
        ("moves up", "slides upwards", "travels to the top", "heads up"),
        1,
        _down,
    ),
    (
        "rotate clockwise",
        ("rotates clockwise", "turns clockwise", "spins clockwise", "twirls clockwise"),
        "rotate counterclockwise",
        (
            "rotates counterclockwise",
            "turns counterclockwise",
            "spins counterclockwise",
            "twirls counterclockwise",
        ),
        1,
        _rotate,
    ),
    (
        "grow",
        ("grows", "gets bigger", "becomes larger", "expands"),
        "shrink",
        ("shrinks", "gets smaller", "becomes tiny", "contracts"),
        1,
        _grow,
    ),
    (
        "appear",
        ("appears", "shows up", "pops up from nowhere", "becomes visible"),
        "vanish",
        ("vanishes", "disappears", "fades away", "becomes invisible"),
        1,
        _appear,
    ),
    (
        "orbit clockwise",
        (
            "circles clockwise",
            "orbits clockwise",
            "travels around clockwise",
            "goes around clockwise",
        ),
        "orbit counterclockwise",
        (
            "circles counterclockwise",
            "orbits counterclockwise",
            "travels around counterclockwise",
            "goes around counterclockwise",
        ),
        1,
        _orbit,
    ),
    (
        "separate",
        ("separate", "move away from each other", "drift apart", "get further apart"),
        "approach",
        ("approach each other", "move towards each other", "come together", "get closer"),
        2,
        _separate,
    ),
    (
        "go then stop",
        (
            "moves and then stops",
            "goes first and then halts",
            "travels and then rests",
            "comes to a halt",
        ),
        "pause then go",
        (
            "waits and then moves",
            "rests first and then goes",
            "pauses before it sets off",
            "sets off late",
        ),
        1,
        _go_stop,
    ),
    (
        "enter",
        ("enters the picture", "comes in from outside", "moves into view", "slides into the frame"),
        "leave",
        ("leaves the picture", "goes away to the outside", "moves out of view", "exits the frame"),
        1,
        _enter,
    ),
)

_SYMMETRIC: tuple[tuple[str, tuple[str, ...], int, Trajectory], ...] = (
    ("bounce", ("bounces up and down", "hops", "bounces", "jumps up and down"), 1, _bounce),
    ("shake", ("shakes", "trembles", "wobbles quickly", "jitters"), 1, _shake),
    (
        "collide",
        ("collide and rebound", "bump into each other", "crash", "hit and bounce off each other"),
        2,
        _collide,
    ),
    (
        "pass",
        ("pass each other", "go past each other", "move by each other", "move past one another"),
        2,
        _pass,
    ),
    (
        "follow",
        ("follow each other", "move one after the other", "travel in a row", "go along in a line"),
        2,
        _follow,
    ),
    (
        "swap",
        ("swap places", "trade positions", "change places", "exchange positions"),
        2,
        _swap,
    ),
    ("blink", ("blinks", "flashes on and off", "flickers", "keeps vanishing"), 1, _blink),
    ("still", ("stays still", "does not move", "rests in place", "remains at its spot"), 1, _still),
    (
        "return",
        (
            "goes away and comes back",
            "moves there and returns",
            "travels there and back",
            "returns",
        ),
        1,
        _return,
    ),
    (
        "zigzag",
        ("zigzags", "moves in a zigzag", "weaves from side to side", "takes a zigzag path"),
        1,
        _zigzag,
    ),
)


def _table() -> dict[str, Action]:
    table: dict[str, Action] = {}
    for first, phrases, second, other_phrases, actors, path in _PAIRS:
        table[first] = Action(first, actors, phrases, path, second, False)
        table[second] = Action(second, actors, other_phrases, path, first, True)
    for name, phrases, actors, path in _SYMMETRIC:
        table[name] = Action(name, actors, phrases, path)
    return table


_TABLE = _table()

ACTIONS: tuple[str, ...] = tuple(_TABLE)
"""Names of all actions in the fixed order of their class numbers."""

REVERSAL_PAIRS: tuple[tuple[str, str], ...] = tuple((pair[0], pair[2]) for pair in _PAIRS)
"""(action, its time reversal), each pair once."""


def action_named(name: str) -> Action:
    """Return the action of this name.

    Raises:
        UnknownNameError: there is none; the message names the nearest ones.
    """
    if name not in _TABLE:
        raise UnknownNameError(
            f"the world has no action '{name}'; it has {len(ACTIONS)}, see "
            f"internvideo.world.ACTIONS.{did_you_mean(name, ACTIONS)}"
        )
    return _TABLE[name]


def reversal_of(action: str) -> str | None:
    """Return the action that is this one played backwards, None if that is the action itself."""
    return action_named(action).reversal


def trajectory(
    action: str, rng: np.random.Generator, num_frames: int, radii: Sequence[float]
) -> Motion:
    """Draw the motion of an action.

    Args:
        action: one of `ACTIONS`.
        rng: source of the draw; the same state gives an action and its reversal the same path.
        num_frames: length of the motion, at least 2.
        radii: radius of each actor, fraction of the frame's side.
    """
    entry = action_named(action)
    motion = entry.trajectory(rng, np.linspace(0.0, 1.0, num_frames), radii)
    return motion.reversed() if entry.backwards else motion
