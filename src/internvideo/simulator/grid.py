"""Where an agent can stand, how far it is, and what a step meets: floors in squares of 5 cm.

Storeys lie above one another, and squares are joined where an agent can step up or down, so that
ways lead over stairs. Shortest ways go over 16 neighbours (straight, diagonal, knight's moves): at
most 2.8 % longer than a straight line where that is free. All distances to a place come from one
run of Dijkstra's algorithm and are kept.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.errors import require
from internvideo.simulator.backend import Position

__all__ = ["CELL", "CLIMB", "Grid"]

CELL = 0.05
CLIMB = 0.25  # metres that an agent steps up or down: thresholds, stairs
_SLOPE = 0.3  # by how much of their height stairs, of 2 up on 3 ahead, are longer than a floor
_NEAR = 0.5  # metres between a position and the floor that it is on
_KEPT = 128

Squares = Int[np.ndarray, " n"]


class Grid:
    """The squares where an agent can stand.

    Args:
        floors: heights in metres by storey, z and x; nan where something solid is, or no floor.
        origin: x and z of the corner of the first square.
        radius: of the agent in metres: it keeps that far from what is solid, and from edges.

    Raises:
        ValueError: there are none.
    """

    def __init__(
        self,
        floors: Float[np.ndarray, "storeys z x"],
        origin: tuple[float, float],
        radius: float,
    ) -> None:
        self.floors: Float[np.ndarray, "storeys z x"] = _away_from_solid(floors, radius)
        if np.isnan(self.floors).all():
            raise ValueError("nobody can stand in it")
        self.origin = origin
        self._storeys = [memoryview(each) for each in self.floors]  # fast for a single square
        self._graph: Any = None
        self._main: Squares | None = None
        self._fields: OrderedDict[int, Any] = OrderedDict()

    # ------------------------------------------------------------ squares

    def _cell(self, x: float, z: float) -> tuple[int, int]:
        return math.floor((z - self.origin[1]) / CELL), math.floor((x - self.origin[0]) / CELL)

    def _stand(self, x: float, y: float, z: float, within: float) -> tuple[int, float]:
        """Return the storey that is about as high as an agent, −1 where none is, and its height."""
        row, column = self._cell(x, z)
        if row >= 0 and column >= 0:
            for storey, heights in enumerate(self._storeys):
                try:
                    height = heights[row, column]
                except IndexError:
                    break
                if abs(height - y) <= within:  # false for nan
                    return storey, height
        return -1, math.nan

    def _square(self, position: Position) -> int:
        """Return the number of the square where an agent stands; −1 is none."""
        x, y, z = (float(each) for each in position)
        storey, _ = self._stand(x, y, z, _NEAR)
        if storey < 0:
            return -1
        return int(np.ravel_multi_index((storey, *self._cell(x, z)), self.floors.shape))

    def is_free(self, position: Position) -> bool:
        """Return whether an agent can stand at a place."""
        return self._square(position) >= 0

    def _centre(self, number: int) -> Position:
        _, row, column = np.unravel_index(number, self.floors.shape)
        x, z = self.origin[0] + (column + 0.5) * CELL, self.origin[1] + (row + 0.5) * CELL
        return np.array([x, self.floors.flat[number], z])

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        number = self._square(position)
        if number >= 0:
            return np.array([position[0], self.floors.flat[number], position[2]], np.float64)
        row, column = self._cell(float(position[0]), float(position[2]))
        free = np.nonzero(~np.isnan(self.floors))
        climb = (self.floors[free] - position[1]) / CELL
        nearest = int(np.argmin((free[1] - row) ** 2 + (free[2] - column) ** 2 + climb**2))
        place = [axis[nearest] for axis in free]
        return self._centre(int(np.ravel_multi_index(place, self.floors.shape)))

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw the middle of a square, of those that hang together most of all."""
        if self._main is None:
            csgraph: Any = require("scipy.sparse.csgraph", extra="navigation")
            part: Any = csgraph.connected_components(self._edges(), directed=False)[1]
            free = np.flatnonzero(~np.isnan(self.floors))
            self._main = free[part[free] == np.bincount(part[free]).argmax()]
        return self._centre(int(self._main[int(rng.integers(len(self._main)))]))

    # ------------------------------------------------------------ steps

    def forward(
        self, position: Position, yaw: float, distance: float, sliding: bool
    ) -> tuple[Position, bool]:
        """Walk in pieces of at most 5 cm; a blocked piece slides along x or z, or ends the step."""
        x, y, z = (float(each) for each in position)
        pieces = max(1, math.ceil(distance / CELL - 1e-9))
        step_x, step_z = -math.sin(yaw) * distance / pieces, -math.cos(yaw) * distance / pieces
        slides = [(step_x, 0.0), (0.0, step_z)]
        if abs(step_z) > abs(step_x):
            slides.reverse()
        ways = ((step_x, step_z), *(slides if sliding else ()))
        for _ in range(pieces):
            for along_x, along_z in ways:
                storey, height = self._stand(x + along_x, y, z + along_z, CLIMB)
                if storey >= 0:
                    x, y, z = x + along_x, height, z + along_z
                    break
            else:
                break
        walked = math.hypot(x - position[0], z - position[2])
        return np.array([x, y, z]), walked < distance - 1e-4

    # ------------------------------------------------------------ distances

    def _edges(self) -> Any:
        """Return the graph of all squares; a move is free where all that it passes is."""
        if self._graph is not None:
            return self._graph
        sparse: Any = require("scipy.sparse", extra="navigation")
        count = self.floors.size
        right, down = _beside(self.floors, 0, 1), _beside(self.floors, 1, 0)
        left = np.full(count, -1)
        left[right[right >= 0]] = np.flatnonzero(right >= 0)

        def after(*moves: Squares) -> Squares:
            at = np.arange(count)
            for move in moves:
                at = np.where(at < 0, -1, move[at])
            return at

        reached = {(0, 1): right, (1, 0): down}
        for sign, aside in ((1, right), (-1, left)):
            diagonal = after(aside, down)
            reached[1, sign] = np.where(diagonal == after(down, aside), diagonal, -1)
            # A knight's move passes both squares between those where it begins and ends.
            reached[1, 2 * sign] = after(aside, down, aside)
            reached[2, sign] = after(down, aside, down)
        starts = np.concatenate([np.flatnonzero(ends >= 0) for ends in reached.values()])
        ends = np.concatenate([ends[ends >= 0] for ends in reached.values()])
        level = [
            np.full(int((ends >= 0).sum()), math.hypot(*move) * CELL)
            for move, ends in reached.items()
        ]
        climb = np.abs(self.floors.flat[starts] - self.floors.flat[ends])
        lengths = np.concatenate(level) + _SLOPE * climb
        self._graph = sparse.csr_matrix((lengths, (starts, ends)), shape=(count, count))
        return self._graph

    def _field(self, goal: int) -> tuple[Float[np.ndarray, " n"], Squares]:
        """Return for every square the distance to one, and the next square on the way."""
        if goal not in self._fields:
            csgraph: Any = require("scipy.sparse.csgraph", extra="navigation")
            self._fields[goal] = csgraph.dijkstra(
                self._edges(), directed=False, indices=goal, return_predecessors=True
            )
            if len(self._fields) > _KEPT:
                self._fields.popitem(last=False)
        self._fields.move_to_end(goal)
        return self._fields[goal]

    def geodesic(self, start: Position, end: Position) -> float:
        """Return the length of the shortest way; inf where there is none."""
        first, last = self._square(start), self._square(end)
        if min(first, last) < 0:
            return math.inf
        return max(float(self._field(last)[0][first]), math.dist(start, end))

    def shortest_path(self, start: Position, end: Position) -> Float[np.ndarray, "points 3"]:
        """Return the corners of the shortest way, as far as one walks straight to the next."""
        if math.isinf(self.geodesic(start, end)):
            return np.zeros((0, 3))
        onwards = self._field(self._square(end))[1]
        at, points = self._square(start), [self.snap(start)]
        while (at := int(onwards[at])) >= 0:
            points.append(self._centre(at))
        points = [*points[:-1], self.snap(end)]
        corners = [points[0]]
        for before, after in itertools.pairwise(points[1:]):
            if not self._leads(corners[-1], after):
                corners.append(before)
        return np.stack([*corners, points[-1]])

    def _leads(self, start: Position, end: Position) -> bool:
        """Return whether one walks straight from one place to another."""
        pieces = math.ceil(math.hypot(end[0] - start[0], end[2] - start[2]) / (CELL / 2)) + 1
        share = np.linspace(0, 1, pieces)
        x, z = (start[axis] + (end[axis] - start[axis]) * share for axis in (0, 2))
        rows = np.floor((z - self.origin[1]) / CELL).astype(np.int64)
        columns = np.floor((x - self.origin[0]) / CELL).astype(np.int64)
        y = float(start[1])
        for heights in self.floors[:, rows, columns].T.tolist():
            for height in heights:
                if abs(height - y) <= CLIMB:
                    y = height
                    break
            else:
                return False
        return abs(y - float(end[1])) <= CLIMB


def _around(size: int, by: int) -> tuple[slice, slice]:
    """Return what to take of an axis, and of itself moved by some places beside it."""
    return slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by))


def _beside(floors: Float[np.ndarray, "storeys z x"], down: int, right: int) -> Squares:
    """Return for every square the one beside it that an agent steps on; −1 where there is none."""
    numbers = np.arange(floors.size).reshape(floors.shape)
    (rows, to_rows), (columns, to_columns) = (
        _around(size, by) for size, by in zip(floors.shape[1:], (down, right), strict=True)
    )
    beside = np.full(floors.shape, -1)
    for storey, other in itertools.product(range(len(floors)), repeat=2):
        step = floors[other, to_rows, to_columns] - floors[storey, rows, columns]
        part = beside[storey, rows, columns]
        beside[storey, rows, columns] = np.where(
            np.abs(step) <= CLIMB, numbers[other, to_rows, to_columns], part
        )
    return beside.reshape(-1)


def _away_from_solid(
    floors: Float[np.ndarray, "storeys z x"], radius: float
) -> Float[np.ndarray, "storeys z x"]:
    """Return the floors without the squares that have none of about their height in a radius."""
    free: Bool[np.ndarray, " n"] = ~np.isnan(floors.reshape(-1))
    reach = int(radius / CELL + 1e-9)
    for down, right in itertools.product(range(-reach, reach + 1), repeat=2):
        if math.hypot(down, right) * CELL <= radius + 1e-9:
            free &= _beside(floors, down, right) >= 0
    return np.ascontiguousarray(np.where(free.reshape(floors.shape), floors, np.nan))
