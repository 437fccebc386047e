"""The actions of the world: their names, their words, and which is which played backwards.

An action is a function from a random draw to the motion of one or two actors (`trajectories`) and
some ways to say it.

Nine actions have a time reversal, and it is literally that: `trajectory("move left", …)` is
`trajectory("move right", …)` of the same draw with its frames in the opposite order. Nothing but
the order of the frames tells the two apart, so a model that ignores time cannot beat a coin. The
other actions look the same in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from internvideo.errors import UnknownNameError, did_you_mean
from internvideo.world import trajectories
from internvideo.world.trajectories import Motion, Trajectory

__all__ = [
    "ACTIONS",
    "HELD_OUT_ACTIONS",
    "REVERSAL_PAIRS",
    "Action",
    "Motion",
    "action_named",
    "reversal_of",
    "trajectory",
]


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


def _pair(
    name: str,
    phrases: tuple[str, ...],
    reversal: str,
    reversal_phrases: tuple[str, ...],
    path: Trajectory,
    *,
    num_actors: int = 1,
) -> tuple[Action, Action]:
    """Return an action that plays this path, and the one that plays it backwards."""
    return (
        Action(name, num_actors, phrases, path, reversal),
        Action(reversal, num_actors, reversal_phrases, path, name, backwards=True),
    )


# The order is that of the class numbers, which weights and label files hold: append only.
_ALL: tuple[Action, ...] = (
    *_pair(
        "move right",
        ("moves to the right", "slides right", "travels rightwards", "heads right"),
        "move left",
        ("moves to the left", "slides left", "travels leftwards", "heads left"),
        trajectories.move_right,
    ),
    *_pair(
        "move down",
        ("moves down", "slides downwards", "travels to the bottom", "heads down"),
        "move up",
        ("moves up", "slides upwards", "travels to the top", "heads up"),
        trajectories.move_down,
    ),
    *_pair(
        "rotate clockwise",
        ("rotates clockwise", "turns clockwise", "spins clockwise", "twirls clockwise"),
        "rotate counterclockwise",
        (
            "rotates counterclockwise",
            "turns counterclockwise",
            "spins counterclockwise",
            "twirls counterclockwise",
        ),
        trajectories.rotate_clockwise,
    ),
    *_pair(
        "grow",
        ("grows", "gets bigger", "becomes larger", "expands"),
        "shrink",
        ("shrinks", "gets smaller", "becomes tiny", "contracts"),
        trajectories.grow,
    ),
    *_pair(
        "appear",
        ("appears", "shows up", "pops up from nowhere", "becomes visible"),
        "vanish",
        ("vanishes", "disappears", "fades away", "becomes invisible"),
        trajectories.appear,
    ),
    *_pair(
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
        trajectories.orbit_clockwise,
    ),
    *_pair(
        "separate",
        ("separate", "move away from each other", "drift apart", "get further apart"),
        "approach",
        ("approach each other", "move towards each other", "come together", "get closer"),
        trajectories.separate,
        num_actors=2,
    ),
    *_pair(
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
        trajectories.go_then_stop,
    ),
    *_pair(
        "enter",
        ("enters the picture", "comes in from outside", "moves into view", "slides into the frame"),
        "leave",
        ("leaves the picture", "goes away to the outside", "moves out of view", "exits the frame"),
        trajectories.enter,
    ),
    Action(
        "bounce",
        1,
        ("bounces up and down", "hops", "bounces", "jumps up and down"),
        trajectories.bounce,
    ),
    Action("shake", 1, ("shakes", "trembles", "wobbles quickly", "jitters"), trajectories.shake),
    Action(
        "collide",
        2,
        ("collide and rebound", "bump into each other", "crash", "hit and bounce off each other"),
        trajectories.collide,
    ),
    Action(
        "pass",
        2,
        ("pass each other", "go past each other", "move by each other", "move past one another"),
        trajectories.pass_by,
    ),
    Action(
        "follow",
        2,
        ("follow each other", "move one after the other", "travel in a row", "go along in a line"),
        trajectories.follow,
    ),
    Action(
        "swap",
        2,
        ("swap places", "trade positions", "change places", "exchange positions"),
        trajectories.swap,
    ),
    Action(
        "blink",
        1,
        ("blinks", "flashes on and off", "flickers", "keeps vanishing"),
        trajectories.blink,
    ),
    Action(
        "still",
        1,
        ("stays still", "does not move", "rests in place", "remains at its spot"),
        trajectories.stay_still,
    ),
    Action(
        "return",
        1,
        (
            "goes away and comes back",
            "moves there and returns",
            "travels there and back",
            "returns",
        ),
        trajectories.go_and_return,
    ),
    Action(
        "zigzag",
        1,
        ("zigzags", "moves in a zigzag", "weaves from side to side", "takes a zigzag path"),
        trajectories.zigzag,
    ),
)
_BY_NAME = {action.name: action for action in _ALL}

ACTIONS: tuple[str, ...] = tuple(_BY_NAME)
"""Names of all actions in the fixed order of their class numbers."""

REVERSAL_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (action.name, action.reversal) for action in _ALL if action.reversal and not action.backwards
)
"""(action, its time reversal), each pair once."""


HELD_OUT_ACTIONS: tuple[str, ...] = (
    "grow", "shrink", "orbit clockwise", "orbit counterclockwise", "collide", "swap", "blink",
    "zigzag",
)  # fmt: skip
"""Unknown in open-set tests; with an action its reversal, so that none is a known one backwards."""


def action_named(name: str) -> Action:
    """Return the action of this name.

    Raises:
        UnknownNameError: no such action; the message names the nearest ones.
    """
    if name not in _BY_NAME:
        raise UnknownNameError(
            f"the world has no action '{name}'; it has {len(ACTIONS)}, see "
            f"internvideo.world.ACTIONS.{did_you_mean(name, ACTIONS)}"
        )
    return _BY_NAME[name]


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

    Returns:
        Where the actors are, each array `(actors, num_frames)`.

    Raises:
        UnknownNameError: no such action.
    """
    entry = action_named(action)
    motion = entry.trajectory(rng, np.linspace(0.0, 1.0, num_frames), radii)
    return motion.reversed() if entry.backwards else motion
