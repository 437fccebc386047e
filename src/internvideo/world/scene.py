"""A scene: the complete truth about one clip, drawn from a seed, before a pixel is painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from internvideo.world.actions import Motion, action_named, trajectory
from internvideo.world.sprites import BACKGROUNDS, COLORS, DIGIT_VARIANTS, SHAPES, TEXTURES, outline

__all__ = [
    "Actor",
    "Background",
    "Event",
    "Scene",
    "SceneStyle",
    "draw_background",
    "draw_looks",
    "draw_scene",
]

_VISIBLE_ALPHA = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class Actor:
    """One object and where it is in every frame; lengths are fractions of the frame's side.

    Attributes:
        name: "star" or "digit four".
        color: one of `COLORS`.
        texture: one of `TEXTURES`.
        variant: which handwriting (0 for shapes).
        radius: of the object at scale 1.
        x: centre in every frame, shape (frames,).
        y: centre in every frame, downwards.
        scale: factor on the radius in every frame.
        angle: radians, clockwise on the screen, in every frame.
        alpha: opacity in every frame.
    """

    name: str
    color: str
    texture: str
    variant: int
    radius: float
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    alpha: np.ndarray

    @property
    def kind(self) -> str:
        """Return "shape" or "digit"."""
        return "shape" if self.name in SHAPES else "digit"

    def boxes(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the box of the object in every frame, whether another one covers it or not.

        Args:
            size: side of the frame in pixels.

        Returns:
            boxes: float (frames, 4), x0, y0, x1, y1 in pixels, clipped to the frame; zeros where
                the object is not visible.
            visible: bool (frames,), whether the object is there and at least partly in the frame.
        """
        points = outline(self.name, self.variant) * self.radius
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        xs = self.x[:, None] + self.scale[:, None] * (cos * points[:, 0] - sin * points[:, 1])
        ys = self.y[:, None] + self.scale[:, None] * (sin * points[:, 0] + cos * points[:, 1])
        boxes = np.stack([xs.min(1), ys.min(1), xs.max(1), ys.max(1)], axis=1) * size
        boxes = np.clip(boxes, 0.0, size)
        seen = (boxes[:, 2] - boxes[:, 0] >= 1.0) & (boxes[:, 3] - boxes[:, 1] >= 1.0)
        visible = seen & (self.alpha >= _VISIBLE_ALPHA)
        return np.where(visible[:, None], boxes, 0.0), visible


@dataclass(frozen=True, slots=True)
class Background:
    """A periodic texture that drifts; offset and drift in frames' sides (per frame)."""

    kind: str
    variant: int
    offset: tuple[float, float]
    drift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Event:
    """What happens when: an action of some actors in frames start … end - 1."""

    action: str
    actors: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """The truth about one clip.

    Attributes:
        seed: seed of the world.
        index: number of the clip in that world.
        num_frames: length.
        size: side of the rendered frames in pixels.
        background: what is behind everything.
        actors: all objects; those that act come first, idle ones after them.
        events: the timeline, in order of their start.
    """

    seed: int
    index: int
    num_frames: int
    size: int
    background: Background
    actors: tuple[Actor, ...]
    events: tuple[Event, ...]

    @property
    def action(self) -> str:
        """Return the action of the (first) event."""
        return self.events[0].action

    def actors_of(self, event: Event) -> tuple[Actor, ...]:
        """Return the actors of an event."""
        return tuple(self.actors[number] for number in event.actors)

    def moment(self, number: int) -> Scene:
        """Return the scene as if one of its events were the only one, with its own actors alone."""
        event = self.events[number]
        alone = replace(event, actors=tuple(range(len(event.actors))))
        return replace(self, actors=self.actors_of(event), events=(alone,))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, boxes in pixels of the rendered frames."""
        return {
            "seed": self.seed,
            "index": self.index,
            "num_frames": self.num_frames,
            "size": self.size,
            "action": self.action,
            "background": {
                "kind": self.background.kind,
                "variant": self.background.variant,
                "offset": list(self.background.offset),
                "drift": list(self.background.drift),
            },
            "actors": [_actor_to_dict(actor, self.size) for actor in self.actors],
            "events": [
                {
                    "action": event.action,
                    "actors": list(event.actors),
                    "start": event.start,
                    "end": event.end,
                }
                for event in self.events
            ],
        }


def _actor_to_dict(actor: Actor, size: int) -> dict[str, Any]:
    boxes, visible = actor.boxes(size)
    track = {
        name: [round(float(value), 4) for value in getattr(actor, name)]
        for name in ("x", "y", "scale", "angle", "alpha")
    }
    return {
        "name": actor.name,
        "kind": actor.kind,
        "color": actor.color,
        "texture": actor.texture,
        "variant": actor.variant,
        "radius": round(actor.radius, 4),
        "track": track,
        "boxes": [
            [round(float(side), 2) for side in box] if seen else None
            for box, seen in zip(boxes, visible, strict=True)
        ],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneStyle:
    """What may occur in a scene.

    Attributes:
        actions: names to draw from.
        objects: shapes and digits to draw from.
        colors: colours to draw from; two objects of a scene never share one if there are several.
        digit_share: probability that an object is a digit, where both kinds are allowed.
        num_events: actions one after the other, each by its own actors.
        idle_objects: numbers of idle bystanders to draw from when a scene has one acting object.
        radius_alone: range of the radius (fraction of the side) of an object that is alone.
        radius_together: the same where there are several.
        drift: largest speed of the background, sides per frame.
    """

    actions: tuple[str, ...]
    objects: tuple[str, ...]
    colors: tuple[str, ...] = tuple(COLORS)
    digit_share: float = 0.3
    num_events: int = 1
    idle_objects: tuple[int, ...] = (0, 1)
    radius_alone: tuple[float, float] = (8.5 / 64, 14 / 64)
    radius_together: tuple[float, float] = (8 / 64, 11.5 / 64)
    drift: float = 0.5 / 64


def _spans(num_frames: int, num_events: int) -> list[tuple[int, int]]:
    """Cut the frames into as many parts of equal length as there are events."""
    edges = [round(part * num_frames / num_events) for part in range(num_events + 1)]
    return list(pairwise(edges))


def draw_background(rng: np.random.Generator, style: SceneStyle) -> Background:
    """Draw what is behind everything."""
    return Background(
        BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        int(rng.integers(12)),
        tuple(rng.uniform(0.0, 1.0, 2).tolist()),
        tuple((style.drift * rng.uniform(-1.0, 1.0, 2)).tolist()),
    )


def draw_looks(
    rng: np.random.Generator, style: SceneStyle, count: int
) -> list[tuple[str, str, str, int]]:
    """Draw name, colour, texture and variant of each object."""
    shapes = [name for name in style.objects if name in SHAPES]
    digits = [name for name in style.objects if name not in SHAPES]
    palette = list(rng.permutation(len(style.colors)))
    looks = []
    for number in range(count):
        is_digit = bool(digits) and (not shapes or rng.random() < style.digit_share)
        names = digits if is_digit else shapes
        name = names[rng.integers(len(names))]
        color = style.colors[palette[number % len(palette)]]
        texture = TEXTURES[rng.integers(len(TEXTURES))]
        variant = int(rng.integers(DIGIT_VARIANTS)) if is_digit else 0
        looks.append((name, color, texture, variant))
    return looks


def _hold(values: np.ndarray, start: int, num_frames: int) -> np.ndarray:
    """Extend the motion of an event over the clip: before and after it nothing changes."""
    return values[np.clip(np.arange(num_frames) - start, 0, len(values) - 1)]


def _free_place(
    rng: np.random.Generator, xs: np.ndarray, ys: np.ndarray, distance: float
) -> tuple[float, float]:
    """Draw a place that keeps its distance from the given points, or the farthest of 24 draws."""
    places = rng.uniform(0.14, 0.86, (24, 2))
    gaps = np.hypot(places[:, :1] - xs, places[:, 1:] - ys).min(axis=1)
    far_enough = gaps >= distance
    chosen = int(far_enough.argmax()) if far_enough.any() else int(gaps.argmax())
    return float(places[chosen, 0]), float(places[chosen, 1])


def draw_scene(
    style: SceneStyle,
    *,
    seed: int,
    index: int,
    num_frames: int,
    size: int,
    action: str | None = None,
) -> Scene:
    """Draw scene `index` of the world `seed`.

    Args:
        style: what may occur.
        seed: of the world.
        index: number of the scene; scenes do not depend on each other.
        num_frames: length of the clip.
        size: side of the frames in pixels.
        action: play this action (with the draw of this scene) in place of the drawn one.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    drawn = rng.integers(len(style.actions), size=style.num_events)
    names = [style.actions[number] for number in drawn]
    if action is not None:
        names = [action, *names[1:]]
    idle_choice = style.idle_objects[rng.integers(len(style.idle_objects))]
    background = draw_background(rng, style)
    num_acting = sum(action_named(name).num_actors for name in names)
    num_idle = idle_choice if num_acting == 1 else 0
    count = num_acting + num_idle
    looks = draw_looks(rng, style, count)
    low, high = style.radius_alone if count == 1 else style.radius_together
    radii = rng.uniform(low, high, count).tolist()
    start_angles = rng.uniform(0.0, 2 * np.pi, count)

    tracks: list[tuple[np.ndarray, ...]] = []
    events: list[Event] = []
    for name, (start, end) in zip(names, _spans(num_frames, style.num_events), strict=True):
        numbers = range(len(tracks), len(tracks) + action_named(name).num_actors)
        motion = trajectory(name, rng, end - start, [radii[number] for number in numbers])
        tracks += _tracks(motion, start, num_frames)
        events.append(Event(name, tuple(numbers), start, end))
    while len(tracks) < count:
        xs, ys = (np.concatenate([track[axis] for track in tracks]) for axis in (0, 1))
        place = _free_place(rng, xs, ys, 2.0 * high)
        still = (place[0], place[1], 1.0, 0.0, 1.0)
        tracks.append(tuple(np.full(num_frames, value) for value in still))

    actors = []
    for look, radius, turn, (x, y, scale, angle, alpha) in zip(
        looks, radii, start_angles, tracks, strict=True
    ):
        name, color, texture, variant = look
        actors.append(
            Actor(name, color, texture, variant, radius, x, y, scale, angle + turn, alpha)
        )
    return Scene(seed, index, num_frames, size, background, tuple(actors), tuple(events))


def _tracks(motion: Motion, start: int, num_frames: int) -> list[tuple[np.ndarray, ...]]:
    """Split the motion into one tuple (x, y, scale, angle, alpha) per actor, over all frames."""
    return [
        tuple(_hold(values[number], start, num_frames) for values in motion.arrays())
        for number in range(len(motion.x))
    ]
