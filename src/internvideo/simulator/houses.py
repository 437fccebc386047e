"""Furnished houses from a seed: rooms by recursive splitting, doors between them, named furniture.

A house is one storey with its floor at y = 0, from (0, 0) to (side, side) in x and z. Each room has
a colour of its walls, which together with its kind names it ("the blue kitchen").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from internvideo.errors import DataError
from internvideo.simulator.rendering import Surface

__all__ = ["PALETTE", "Door", "Furniture", "House", "Rectangle", "Room", "build_house", "house_of"]

Rectangle = tuple[float, float, float, float]
"""Least x and z, greatest x and z."""

PALETTE = {
    "red": (196, 48, 44),
    "orange": (232, 134, 38),
    "yellow": (232, 208, 66),
    "green": (64, 150, 70),
    "turquoise": (64, 190, 180),
    "blue": (52, 88, 190),
    "purple": (126, 66, 158),
    "pink": (236, 146, 182),
    "brown": (128, 84, 48),
    "gray": (132, 132, 132),
    "white": (236, 236, 230),
    "black": (44, 44, 48),
}
_FLOORS = ((158, 120, 82), (196, 178, 150), (120, 110, 104), (176, 152, 118), (206, 202, 196))
_HEIGHT, _LINTEL = 2.5, 2.1  # of the ceiling, of doors
_THICKNESS = 0.05  # of a room's half of a wall
_MIN_ROOM, _MAX_ROOM = 3.0, 6.2  # sides; in half the least one there is room for a door
_KINDS: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    # name, length along the wall, depth into the room, height
    "kitchen": (("fridge", 0.7, 0.7, 1.8), ("stove", 0.6, 0.6, 0.9), ("counter", 1.6, 0.6, 0.9)),
    "bedroom": (("bed", 1.5, 2.0, 0.5), ("wardrobe", 1.2, 0.6, 2.0), ("nightstand", 0.4, 0.4, 0.5)),
    "bathroom": (("bathtub", 1.6, 0.7, 0.6), ("sink", 0.6, 0.5, 0.85), ("cabinet", 0.5, 0.4, 1.6)),
    "living room": (
        ("sofa", 1.8, 0.8, 0.8),
        ("bookshelf", 1.0, 0.4, 2.0),
        ("armchair", 0.8, 0.8, 0.9),
    ),
    "dining room": (
        ("table", 1.4, 0.8, 0.75),
        ("sideboard", 1.4, 0.45, 0.9),
        ("chair", 0.5, 0.5, 0.9),
    ),
    "office": (("desk", 1.4, 0.7, 0.75), ("shelf", 0.9, 0.4, 1.8), ("printer", 0.5, 0.5, 1.0)),
    "laundry": (
        ("washing machine", 0.6, 0.6, 0.9),
        ("dryer", 0.6, 0.6, 0.9),
        ("basket", 0.5, 0.4, 0.6),
    ),
    "studio": (("piano", 1.4, 0.6, 1.2), ("easel", 0.6, 0.5, 1.6), ("bench", 1.2, 0.4, 0.45)),
    "gym": (("treadmill", 0.8, 1.6, 1.3), ("locker", 0.5, 0.5, 1.9), ("mat", 0.8, 1.6, 0.12)),
}
_SCENE = re.compile(r"rooms/(\d+)(?:-(\d+)m)?\.json")


def _middle(area: Rectangle) -> tuple[float, float]:
    return (area[0] + area[2]) / 2, (area[1] + area[3]) / 2


@dataclass(frozen=True, slots=True)
class Room:
    """A rectangle between the middles of its walls."""

    kind: str
    colour: str
    area: Rectangle

    @property
    def name(self) -> str:
        """Such as "blue kitchen"."""
        return f"{self.colour} {self.kind}"

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle in x and z."""
        return _middle(self.area)


@dataclass(frozen=True, slots=True)
class Door:
    """A gap in the wall between two rooms.

    Attributes:
        rooms: numbers of the two.
        centre: in x and z.
        width: in metres.
        along: 0 where the wall runs along x, 1 where it runs along z.
    """

    rooms: tuple[int, int]
    centre: tuple[float, float]
    width: float
    along: int


@dataclass(frozen=True, slots=True)
class Furniture:
    """A box on the floor of a room."""

    name: str
    colour: str
    room: int
    area: Rectangle
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle in x and z."""
        return _middle(self.area)


@dataclass(frozen=True, slots=True)
class House:
    """Rooms, the doors between them and what stands in them."""

    side: float
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    furniture: tuple[Furniture, ...]
    floors: tuple[int, ...]

    def room_at(self, x: float, z: float) -> int:
        """Return the number of the room that a point lies in, or of the nearest."""
        gaps = [
            max(a - x, x - c, 0) + max(b - z, z - d, 0)
            for a, b, c, d in (room.area for room in self.rooms)
        ]
        return int(np.argmin(gaps))

    def boxes(self) -> list[tuple[Rectangle, float, float, tuple[int, int, int]]]:
        """Return all that is solid: footprint, lower and upper height, colour."""
        boxes: list[tuple[Rectangle, float, float, tuple[int, int, int]]] = []
        for number, room in enumerate(self.rooms):
            boxes.append((room.area, 0.0, 0.0, _FLOORS[self.floors[number]]))
            boxes.append((room.area, _HEIGHT, _HEIGHT, (242, 242, 240)))
            colour = PALETTE[room.colour]
            for wall in range(4):
                boxes += [(area, low, high, colour) for area, low, high in self._wall(number, wall)]
        boxes += [(one.area, 0.0, one.height, PALETTE[one.colour]) for one in self.furniture]
        return boxes

    def surface(self) -> Surface:
        """Return floors, ceilings, walls and furniture as coloured triangles."""
        boxes = self.boxes()
        triangles = np.concatenate([_box(area, low, high) for area, low, high, _ in boxes])
        counts = [2 if low == high else 12 for _, low, high, _ in boxes]
        colours = np.repeat(np.array([box[3] for box in boxes], np.uint8), counts, axis=0)
        corners = triangles.reshape(-1, 3)
        return Surface(corners, np.arange(len(corners)).reshape(-1, 3), colours)

    def _wall(self, number: int, wall: int) -> list[tuple[Rectangle, float, float]]:
        """Return this room's half of its wall at least z, greatest z, least x or greatest x."""
        area = self.rooms[number].area
        along = wall // 2
        at = area[(1, 3, 0, 2)[wall]]
        inner = sorted((at, at + (_THICKNESS if wall % 2 == 0 else -_THICKNESS)))
        gaps = sorted(
            (door.centre[along] - door.width / 2, door.centre[along] + door.width / 2)
            for door in self.doors
            if number in door.rooms and door.along == along and door.centre[1 - along] == at
        )
        parts: list[tuple[float, float, float]] = []
        start = area[along]
        for left, right in gaps:
            parts += [(start, left, 0.0), (left, right, _LINTEL)]
            start = right
        parts.append((start, area[along + 2], 0.0))
        return [
            ((a, inner[0], b, inner[1]) if along == 0 else (inner[0], a, inner[1], b), low, _HEIGHT)
            for a, b, low in parts
        ]


def _box(area: Rectangle, low: float, high: float) -> Float32[np.ndarray, "f 3 3"]:
    """Return the 12 triangles of a box; 2 where it is flat."""
    x, z, to_x, to_z = area
    corner = np.array(
        [(a, b, c) for b in (low, high) for a, c in ((x, z), (to_x, z), (to_x, to_z), (x, to_z))],
        np.float32,
    )
    sides = [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    faces = [
        face for a, b, c, d in sides[: 1 if low == high else 6] for face in ((a, b, c), (a, c, d))
    ]
    return corner[np.array(faces)]


def house_of(scene: str) -> House:
    """Return the house that a scene names: `rooms/<seed>.json`, or `rooms/<seed>-<side>m.json`.

    Raises:
        DataError: the name is another, or the side is not from 6 to 24 metres.
    """
    match = _SCENE.fullmatch(scene)
    if match is None or not 6 <= int(match[2] or 8) <= 24:
        raise DataError(
            f"unknown scene {scene!r}; expected rooms/<seed>.json, rooms/<seed>-<side>m.json "
            "with a side from 6 to 24, or the path of a mesh"
        )
    return build_house(int(match[1]), side=int(match[2]) if match[2] else None)


def build_house(seed: int, *, side: int | None = None) -> House:
    """Return the house of a seed; its side is drawn from 8 to 16 metres where none is given."""
    generator = np.random.default_rng((seed, side or 0))
    length = float(side or generator.integers(8, 17))
    areas = _split((0.0, 0.0, length, length), generator)
    colours = _cycle(list(PALETTE)[:10], len(areas), generator)
    kinds = _cycle(list(_KINDS), len(areas), generator)
    rooms = tuple(Room(*each) for each in zip(kinds, colours, areas, strict=True))
    doors = _doors(areas, generator)
    floors = tuple(int(each) for each in generator.integers(0, len(_FLOORS), len(rooms)))
    return House(length, rooms, doors, _furnish(rooms, doors, generator), floors)


def _cycle(names: list[str], count: int, generator: np.random.Generator) -> list[str]:
    rounds = [generator.permutation(len(names)) for _ in range(-(-count // len(names)))]
    return [names[each] for each in np.concatenate(rounds)[:count]]


def _split(area: Rectangle, generator: np.random.Generator) -> list[Rectangle]:
    x, z, to_x, to_z = area
    axis = 0 if to_x - x >= to_z - z else 1
    length = max(to_x - x, to_z - z)
    if length < 2 * _MIN_ROOM or (length <= _MAX_ROOM and generator.random() < 0.5):
        return [area]
    at = area[axis] + round(float(generator.uniform(_MIN_ROOM, length - _MIN_ROOM)), 1)
    parts = ((x, z, at, to_z), (at, z, to_x, to_z)) if axis == 0 else (
        (x, z, to_x, at), (x, at, to_x, to_z)
    )  # fmt: skip
    return [room for part in parts for room in _split(part, generator)]


def _doors(areas: list[Rectangle], generator: np.random.Generator) -> tuple[Door, ...]:
    """Join all rooms by a random tree of doors, and some more by a third of the other walls."""
    walls: list[tuple[int, int, int, float, float, float]] = []
    for i, a in enumerate(areas):
        for j, b in enumerate(areas):
            for along in (0, 1):
                across = 1 - along
                low, high = max(a[along], b[along]), min(a[along + 2], b[along + 2])
                if a[across + 2] == b[across] and high - low >= _MIN_ROOM / 2 - 1e-6:
                    walls.append((i, j, along, a[across + 2], low, high))
    joined = list(range(len(areas)))
    doors = []
    for number in generator.permutation(len(walls)):
        i, j, along, at, low, high = walls[number]
        if joined[i] == joined[j] and generator.random() > 0.3:
            continue
        joined = [joined[i] if each == joined[j] else each for each in joined]
        width = round(float(generator.uniform(0.9, min(1.2, high - low - 0.5))), 2)
        middle = float(generator.uniform(low + 0.25 + width / 2, high - 0.25 - width / 2))
        doors.append(Door((i, j), (middle, at) if along == 0 else (at, middle), width, along))
    return tuple(doors)


def _furnish(
    rooms: tuple[Room, ...], doors: tuple[Door, ...], generator: np.random.Generator
) -> tuple[Furniture, ...]:
    """Put furniture at the walls, so that a metre before each door and a way between stay free."""
    placed: list[Furniture] = []
    colours = list(PALETTE)
    for number, room in enumerate(rooms):
        x, z, to_x, to_z = room.area
        free = [
            (door.centre[0] - 1, door.centre[1] - 1, door.centre[0] + 1, door.centre[1] + 1)
            for door in doors
            if number in door.rooms
        ]
        pieces = _KINDS[room.kind]
        for piece in generator.permutation(len(pieces)):
            name, length, depth, height = pieces[piece]
            for _ in range(8):
                wall, along = int(generator.integers(4)), float(generator.random())
                wide, deep = (length, depth) if wall < 2 else (depth, length)
                gap = _THICKNESS + 0.02
                if to_x - x < wide + 0.6 or to_z - z < deep + 0.6:
                    continue
                left = x + gap + along * (to_x - x - wide - 2 * gap)
                top = z + gap + along * (to_z - z - deep - 2 * gap)
                left = (left, left, x + gap, to_x - gap - wide)[wall]
                top = (z + gap, to_z - gap - deep, top, top)[wall]
                area = (left, top, left + wide, top + deep)
                mine = [one.area for one in placed if one.room == number]
                if any(_near(area, other, 0.0) for other in free) or any(
                    _near(area, other, 0.6) for other in mine
                ):
                    continue
                colour = colours[int(generator.integers(len(colours)))]
                placed.append(Furniture(name, colour, number, area, height))
                break
    return tuple(placed)


def _near(a: Rectangle, b: Rectangle, gap: float) -> bool:
    return (
        a[0] - gap < b[2] and b[0] - gap < a[2] and a[1] - gap < b[3] and b[1] - gap < a[3]
    )  # fmt: skip
