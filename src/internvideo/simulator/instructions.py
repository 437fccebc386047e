"""Episodes in procedural houses, with instructions made from the true path.

The path is the shortest one; what it passes is told in order: where to turn, which room to leave by
which door, and beside what to stop.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError
from internvideo.simulator.backend import Position
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.episodes import Episode, start_rotation, vector
from internvideo.simulator.houses import Door, Furniture, House

__all__ = ["make_episodes"]

LENGTHS = (5.0, 15.0)
BESIDE = 1.2  # metres from furniture to a goal at it

_FIRST = {
    "straight": ("Go straight", "Walk straight ahead"),
    "left": ("Turn left", "Take a left turn"),
    "right": ("Turn right", "Take a right turn"),
    "back": ("Turn around", "Turn back"),
}
_LEAVE = (
    "leave the {old} and enter the {new}",
    "walk out of the {old} into the {new}",
    "go through the door to the {new}",
)
_ON = {
    "straight": ("Continue straight", "Keep going straight"),
    "left": ("Turn left", "Then turn left"),
    "right": ("Turn right", "Then turn right"),
    "back": ("Turn around", "Then turn around"),
}
_STOP = (
    "Stop next to the {thing}.",
    "Wait by the {thing}.",
    "Walk to the {thing} and stop there.",
)


def make_episodes(
    scene_ids: Iterable[str],
    per_scene: int,
    *,
    seed: int = 0,
    lengths: tuple[float, float] = LENGTHS,
    brief: bool = False,
) -> list[Episode]:
    """Draw episodes that lead through a door at least; the same seed draws the same ones.

    Args:
        scene_ids: houses, `rooms/SEED.json`.
        per_scene: how many in each.
        seed: of the draws.
        lengths: least and greatest length of the way in metres.
        brief: tell the ways in few words, always the same: "Left to the blue studio, straight to
            the red gym, right to the white mat."

    Raises:
        DataError: a scene that is no house from a seed, or has no way of such a length.
    """
    backend = EmbeddedBackend()
    episodes: list[Episode] = []
    for place, scene_id in enumerate(scene_ids):
        backend.load(scene_id)
        house = backend.scene.house
        if house is None:
            raise DataError(f"{scene_id}: no plan to make instructions from; use rooms/SEED.json")
        rng = np.random.default_rng([seed, place, *scene_id.encode()])
        wanted = len(episodes) + per_scene
        for _ in range(200 * per_scene):
            if len(episodes) == wanted:
                break
            made = _draw(backend, house, scene_id, lengths, rng, len(episodes) + 1, brief)
            if made is not None:
                episodes.append(made)
        if len(episodes) < wanted:
            raise DataError(
                f"{scene_id}: found no {per_scene} ways of {lengths[0]:g} to {lengths[1]:g} m"
            )
    return episodes


def _draw(
    backend: EmbeddedBackend,
    house: House,
    scene_id: str,
    lengths: tuple[float, float],
    rng: np.random.Generator,
    number: int,
    brief: bool,
) -> Episode | None:
    piece = house.furniture[int(rng.integers(len(house.furniture)))]
    x, z = piece.centre
    middle = np.array([x, 0.0, z])
    goal = backend.snap(middle + rng.uniform(-BESIDE, BESIDE, 3) * (1, 0, 1))
    if house.room_at(goal[0], goal[2]) != piece.room:
        return None
    yaw = float(rng.integers(24)) * math.pi / 12
    for start in (backend.random_point(rng) for _ in range(10)):
        length = backend.geodesic(start, goal)
        elsewhere = house.room_at(start[0], start[2]) != piece.room
        if elsewhere and lengths[0] <= length <= lengths[1]:
            break
    else:
        return None
    way = backend.shortest_path(start, goal)
    passed = _doors_passed(house, way)
    points = [
        start,
        *(backend.snap(np.array([d.centre[0], 0, d.centre[1]])) for _, d in passed),
        goal,
    ]
    # The way over the doors' middles is what is told, so it must be about the shortest.
    legs = [backend.geodesic(a, b) for a, b in itertools.pairwise(points)]
    if not passed or sum(legs) > 1.15 * length + 0.5:
        return None
    return Episode(
        episode_id=str(number),
        trajectory_id=number,
        scene_id=scene_id,
        start_position=vector(start),
        start_rotation=start_rotation(yaw),
        instruction=_tell(backend, house, points, passed, yaw, piece, rng, brief),
        goal=vector(goal),
        reference_path=tuple(vector(point) for point in points),
        geodesic_distance=length,
    )


def _doors_passed(house: House, way: Float[np.ndarray, "points 3"]) -> list[tuple[int, Door]]:
    """Return the room that is entered and the door to it, in the order of the way."""
    passed: list[tuple[int, Door]] = []
    room = house.room_at(way[0, 0], way[0, 2])
    for a, b in itertools.pairwise(way):
        pieces = max(2, int(np.linalg.norm(b - a) / 0.05))
        for point in np.linspace(a, b, pieces):
            now = house.room_at(point[0], point[2])
            if now != room:
                shared = [d for d in house.doors if set(d.rooms) == {room, now}]
                if shared:
                    passed.append((now, shared[0]))
                room = now
    return passed


def _turn(before: float, after: float) -> str:
    left = math.degrees(math.remainder(after - before, 2 * math.pi))
    if abs(left) < 40:
        return "straight"
    if abs(left) > 140:
        return "back"
    return "left" if left > 0 else "right"


def _tell(
    backend: EmbeddedBackend,
    house: House,
    points: list[Position],
    passed: list[tuple[int, Door]],
    yaw: float,
    piece: Furniture,
    rng: np.random.Generator,
    brief: bool,
) -> str:
    """Return the instruction: a sentence for each door, and one for the end."""

    def pick(choices: tuple[str, ...]) -> str:
        return choices[int(rng.integers(len(choices)))]

    heading, sentences, legs = yaw, list[str](), list[str]()
    room = house.room_at(points[0][0], points[0][2])
    for number, (entered, _) in enumerate(passed):
        out, onto = _headings(backend, points[number], points[number + 1])
        turn = _turn(heading, out)
        words = pick((_ON if number else _FIRST)[turn])
        leave = pick(_LEAVE).format(old=house.rooms[room].name, new=house.rooms[entered].name)
        sentences.append(f"{words} and {leave}.")
        legs.append(f"{turn} to the {house.rooms[entered].name}")
        room, heading = entered, onto
    turn = _turn(heading, _headings(backend, points[-2], points[-1])[0])
    legs.append(f"{turn} to the {piece.colour} {piece.name}")
    if turn != "straight":
        sentences.append(f"{pick(_ON[turn])}.")
    sentences.append(pick(_STOP).format(thing=f"{piece.colour} {piece.name}"))
    return ", ".join(legs).capitalize() + "." if brief else " ".join(sentences)


def _headings(backend: EmbeddedBackend, start: Position, end: Position) -> tuple[float, float]:
    """Return in which direction one sets out on the shortest way, and in which one arrives."""
    way = backend.shortest_path(start, end)
    first, last = way[1] - way[0], way[-1] - way[-2]
    return math.atan2(-first[0], -first[2]), math.atan2(-last[0], -last[2])
