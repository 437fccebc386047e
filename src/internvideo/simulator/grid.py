"""Where an agent can stand, how far it is, and what a step meets: a floor in squares of 5 cm.

Shortest ways go over 16 neighbours (straight, diagonal, knight's moves): at most 2.8 % longer than
a straight line where that is free. All distances to a place come from one run of Dijkstra's
algorithm and are kept.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.errors import require
from internvideo.simulator.backend import Position

__all__ = ["CELL", "Grid"]

CELL = 0.05
_MOVES = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1))
_KEPT = 128


class Grid:
    """A floor.

    Args:
        solid: squares with something in them, or without a floor; the first axis is z.
        origin: x and z of the corner of the first square.
        floor: its height.
        radius: of the agent in metres: it keeps that far from what is solid.
    """

    def __init__(
        self,
        solid: Bool[np.ndarray, "z x"],
        origin: tuple[float, float],
        floor: float,
        radius: float,
    ) -> None:
        ndimage: Any = require("scipy.ndimage", extra="navigation")
        padded = np.pad(solid, 1, constant_values=True)
        room: Any = ndimage.distance_transform_edt(~padded, sampling=CELL)
        self.free: Bool[np.ndarray, "z x"] = (room > radius)[1:-1, 1:-1]
        self.origin, self.floor = origin, floor
        self._rows: list[list[bool]] = self.free.tolist()  # lists are faster for a single square
        self._graph: Any = None
        self._main: Any = None
        self._fields: OrderedDict[int, Any] = OrderedDict()

    # ------------------------------------------------------------ squares

    def cell(self, x: float, z: float) -> tuple[int, int]:
        """Return the row and column of a place."""
        return math.floor((z - self.origin[1]) / CELL), math.floor((x - self.origin[0]) / CELL)

    def is_free(self, x: float, z: float) -> bool:
        """Return whether an agent can stand at a place."""
        row, column = self.cell(x, z)
        height, width = self.free.shape
        return 0 <= row < height and 0 <= column < width and self._rows[row][column]

    def centre(self, row: int, column: int) -> Position:
        """Return the middle of a square."""
        x = self.origin[0] + (column + 0.5) * CELL
        return np.array([x, self.floor, self.origin[1] + (row + 0.5) * CELL])

    def snap(self, position: Position) -> Position:
        """Return the nearest place where an agent can stand."""
        x, z = float(position[0]), float(position[2])
        if self.is_free(x, z):
            return np.array([x, self.floor, z])
        rows, columns = np.nonzero(self.free)
        row, column = self.cell(x, z)
        nearest = int(np.argmin((rows - row) ** 2 + (columns - column) ** 2))
        return self.centre(int(rows[nearest]), int(columns[nearest]))

    def random_point(self, rng: np.random.Generator) -> Position:
        """Draw the middle of a square, of those that hang together most of all."""
        if self._main is None:
            ndimage: Any = require("scipy.ndimage", extra="navigation")
            parts: Any = ndimage.label(self.free)[0]
            self._main = np.nonzero(parts == np.bincount(parts[self.free], minlength=2).argmax())
        rows, columns = self._main
        drawn = int(rng.integers(len(rows)))
        return self.centre(int(rows[drawn]), int(columns[drawn]))

    # ------------------------------------------------------------ steps

    def forward(
        self, position: Position, yaw: float, distance: float, sliding: bool
    ) -> tuple[Position, bool]:
        """Walk in pieces of at most 5 cm; a blocked piece slides along x or z, or ends the step."""
        x, z = float(position[0]), float(position[2])
        pieces = max(1, math.ceil(distance / CELL - 1e-9))
        step_x, step_z = -math.sin(yaw) * distance / pieces, -math.cos(yaw) * distance / pieces
        slides = [(step_x, 0.0), (0.0, step_z)]
        if abs(step_z) > abs(step_x):
            slides.reverse()
        for _ in range(pieces):
            for along_x, along_z in ((step_x, step_z), *(slides if sliding else ())):
                if self.is_free(x + along_x, z + along_z):
                    x, z = x + along_x, z + along_z
                    break
            else:
                break
        walked = math.hypot(x - position[0], z - position[2])
        return np.array([x, position[1], z]), walked < distance - 1e-4

    # ------------------------------------------------------------ distances

    def _edges(self) -> Any:
        """Return the graph of all squares; a move is free where all that it passes is."""
        sparse: Any = require("scipy.sparse", extra="navigation")
        height, width = self.free.shape
        number = np.arange(height * width).reshape(height, width)
        starts: list[Int[np.ndarray, " n"]] = []
        ends: list[Int[np.ndarray, " n"]] = []
        lengths: list[Float[np.ndarray, " n"]] = []
        for down, right in _MOVES:
            passed = {(0, 0), (down, right)}
            for share in (0.25, 0.5, 0.75):
                for nudge in (-0.01, 0.01):
                    passed.add((round(down * share + nudge), round(right * share + nudge)))
                    passed.add((round(down * share + nudge), round(right * share - nudge)))
            left = max(0, -right)
            rows, columns = height - down, width - abs(right)
            open_ = np.ones((rows, columns), dtype=bool)
            for row, column in passed:
                open_ &= self.free[row : row + rows, left + column : left + column + columns]
            starts.append(number[:rows, left : left + columns][open_])
            ends.append(number[down:, left + right : left + right + columns][open_])
            lengths.append(np.full(len(starts[-1]), math.hypot(down, right) * CELL))
        weights = np.concatenate(lengths)
        pairs = (np.concatenate(starts), np.concatenate(ends))
        return sparse.csr_matrix((weights, pairs), shape=(number.size, number.size))

    def _field(self, end: Position) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return for every square the distance to a place, and the next square on the way."""
        row, column = self.cell(float(end[0]), float(end[2]))
        goal = row * self.free.shape[1] + column
        if goal not in self._fields:
            csgraph: Any = require("scipy.sparse.csgraph", extra="navigation")
            if self._graph is None:
                self._graph = self._edges()
            self._fields[goal] = csgraph.dijkstra(
                self._graph, directed=False, indices=goal, return_predecessors=True
            )
            if len(self._fields) > _KEPT:
                self._fields.popitem(last=False)
        self._fields.move_to_end(goal)
        return self._fields[goal]

    def geodesic(self, start: Position, end: Position) -> float:
        """Return the length of the shortest way; inf where there is none."""
        if not (self.is_free(start[0], start[2]) and self.is_free(end[0], end[2])):
            return math.inf
        row, column = self.cell(float(start[0]), float(start[2]))
        distance = float(self._field(end)[0][row * self.free.shape[1] + column])
        return max(distance, math.hypot(start[0] - end[0], start[2] - end[2]))

    def shortest_path(self, start: Position, end: Position) -> Float[np.ndarray, "points 3"]:
        """Return the corners of the shortest way, as far as one sees from corner to corner."""
        if math.isinf(self.geodesic(start, end)):
            return np.zeros((0, 3))
        width = self.free.shape[1]
        onwards = self._field(end)[1]
        row, column = self.cell(float(start[0]), float(start[2]))
        at, points = row * width + column, [np.array([start[0], self.floor, start[2]])]
        while (at := int(onwards[at])) >= 0:
            points.append(self.centre(*divmod(at, width)))
        points = [*points[:-1], np.array([end[0], self.floor, end[2]])]
        corners = [points[0]]
        for before, after in itertools.pairwise(points[1:]):
            if not self._sees(corners[-1], after):
                corners.append(before)
        return np.stack([*corners, points[-1]])

    def _sees(self, start: Position, end: Position) -> bool:
        pieces = math.ceil(math.hypot(end[0] - start[0], end[2] - start[2]) / (CELL / 2)) + 1
        return all(
            self.is_free(start[0] + (end[0] - start[0]) * t, start[2] + (end[2] - start[2]) * t)
            for t in np.linspace(0, 1, pieces).tolist()
        )
