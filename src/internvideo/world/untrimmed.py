"""Untrimmed videos: some performers, each of which acts now and then, in frames that go on.

    performer 0   ─ grows ────── moves left ───────────── vanishes ──► absent ──── …
    performer 1   absent ─── zigzags ─── rests ──── zigzags ─────────── …

A performer is one object for the whole video. Between two actions it rests where the last one left
it, or is absent. Actions of different performers overlap; those of one do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from internvideo.world.actions import ACTIONS, action_named, trajectory
from internvideo.world.scene import (
    Actor,
    Event,
    Scene,
    SceneStyle,
    draw_background,
    draw_looks,
)

__all__ = ["UNTRIMMED_ACTIONS", "Pace", "draw_untrimmed"]

UNTRIMMED_ACTIONS: tuple[str, ...] = tuple(
    name for name in ACTIONS if name != "still" and action_named(name).num_actors == 1
)
"""What a performer can do: rest is no action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How much happens in an untrimmed video.

    Attributes:
        performers: numbers of performers to draw from.
        action_frames: shortest and longest action.
        pause_frames: shortest and longest pause of a performer.
        resting: probability that a performer rests in a pause, where it could be absent.
        shortest: least length of a video, as a share of the longest.
    """

    performers: tuple[int, ...] = (1, 2, 3)
    action_frames: tuple[int, int] = (12, 32)
    pause_frames: tuple[int, int] = (16, 96)
    resting: float = 0.5
    shortest: float = 0.2


_PACE = Pace()


def draw_untrimmed(
    style: SceneStyle,
    *,
    seed: int,
    index: int,
    num_frames: int,
    size: int,
    pace: Pace = _PACE,
) -> Scene:
    """Draw untrimmed video `index` of the world `seed`.

    Args:
        style: what may occur; of the actions, those of `UNTRIMMED_ACTIONS`.
        seed: of the world.
        index: number of the video; videos do not depend on each other.
        num_frames: length of the longest video.
        size: side of the frames in pixels.
        pace: how much happens.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    actions = [name for name in style.actions if name in UNTRIMMED_ACTIONS]
    length = int(rng.integers(round(pace.shortest * num_frames), num_frames + 1))
    length = max(length, pace.pause_frames[0] + pace.action_frames[1])
    background = draw_background(rng, style)
    count = pace.performers[rng.integers(len(pace.performers))]
    looks = draw_looks(rng, style, count)
    radii = rng.uniform(*style.radius_together, count).tolist()
    actors: list[Actor] = []
    events: list[Event] = []
    for number, (name, color, texture, variant) in enumerate(looks):
        # x, y, scale, angle, alpha in every frame; absent before its first action
        track = np.zeros((5, length))
        track[:3] = np.array([0.5, 0.5, 1.0])[:, None]
        frame = int(rng.integers(pace.pause_frames[0] // 2, pace.pause_frames[1]))
        turn = rng.uniform(0.0, 2 * np.pi)
        while True:
            duration = int(rng.integers(pace.action_frames[0], pace.action_frames[1] + 1))
            end = frame + duration
            if end > length:
                break
            action = actions[rng.integers(len(actions))]
            motion = trajectory(action, rng, duration, [radii[number]])
            track[:, frame:end] = np.stack([values[0] for values in motion.arrays()])
            events.append(Event(action, (number,), frame, end))
            pause = int(rng.integers(pace.pause_frames[0], pace.pause_frames[1] + 1))
            rest = rng.random() < pace.resting
            track[:, end:] = track[:, end - 1 : end]
            if not rest:
                track[4, end:] = 0.0
            frame = end + pause
        x, y, scale, angle, alpha = track
        actors.append(
            Actor(name, color, texture, variant, radii[number], x, y, scale, angle + turn, alpha)
        )
    if not events:
        return draw_untrimmed(
            style, seed=seed, index=index, num_frames=2 * num_frames, size=size, pace=pace
        )
    events.sort(key=lambda event: (event.start, event.actors))
    return Scene(seed, index, length, size, background, tuple(actors), tuple(events))
