"""The discrete way to move: from viewpoint to viewpoint over the graphs of Room-to-Room.

Files are those of the Matterport3D simulator: `SCAN_connectivity.json`, `R2R_SPLIT.json`, and
trajectories `[{"instr_id", "trajectory": [[viewpoint, heading, elevation], …]}]` as the leader
board takes them. Here z is up, and headings turn clockwise from +y, as in these files.

Source: Anderson et al. (2018), Vision-and-Language Navigation, arXiv 1711.07280; of nDTW on graphs
Ilharco et al. (2019), arXiv 1907.05446.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from internvideo.errors import DataError, did_you_mean, require
from internvideo.files import write_whole
from internvideo.formats.files import read_json
from internvideo.simulator.metrics import SUCCESS_DISTANCE, average, ndtw, warp

__all__ = [
    "Candidate",
    "Graph",
    "Route",
    "Trajectory",
    "measure_trajectories",
    "read_graph",
    "read_routes",
    "read_trajectories",
    "write_trajectories",
]

Trajectory = Sequence[tuple[str, float, float]]
"""Viewpoint, heading and elevation after each action, the start included."""


class Candidate(NamedTuple):
    """A viewpoint next to the current one; `angle` is to the right of the heading."""

    viewpoint: str
    angle: float
    distance: float


@dataclass(frozen=True)
class Graph:
    """The viewpoints of a scan.

    Attributes:
        scan: its name.
        names: of the viewpoints.
        positions: in metres, z up.
        joined: between which one can walk straight.
    """

    scan: str
    names: tuple[str, ...]
    positions: Float[np.ndarray, "n 3"]
    joined: Bool[np.ndarray, "n n"]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _ways(self) -> tuple[Float[np.ndarray, "n n"], Any]:
        scipy: Any = require("scipy.sparse.csgraph", extra="navigation")
        lengths = np.linalg.norm(self.positions[:, None] - self.positions[None], axis=2)
        edges = scipy.csgraph_from_dense(np.where(self.joined, lengths, np.inf), null_value=np.inf)
        return scipy.dijkstra(edges, return_predecessors=True)

    def number(self, viewpoint: str) -> int:
        """Return the number of a viewpoint; raises DataError where there is none of that name."""
        if viewpoint not in self._numbers:
            raise DataError(
                f"scan {self.scan} has no viewpoint '{viewpoint}' in its graph."
                f"{did_you_mean(viewpoint, self.names)}"
            )
        return self._numbers[viewpoint]

    def distance(self, start: str, end: str) -> float:
        """Return the length of the shortest way in metres; inf where there is none."""
        return float(self._ways[0][self.number(start), self.number(end)])

    def distances(self, path: Sequence[str], reference: Sequence[str]) -> Float[np.ndarray, "p r"]:
        """Return the lengths of the shortest ways from each viewpoint to each other."""
        numbers = [[self.number(name) for name in each] for each in (path, reference)]
        return self._ways[0][np.ix_(*numbers)]

    def shortest_path(self, start: str, end: str) -> list[str]:
        """Return the viewpoints of the shortest way, both ends included; none without a way."""
        if math.isinf(self.distance(start, end)):
            return []
        first, at = self.number(start), self.number(end)
        path = [at]
        while at != first:
            at = int(self._ways[1][first, at])
            path.append(at)
        return [self.names[each] for each in reversed(path)]

    def candidates(self, viewpoint: str, heading: float) -> list[Candidate]:
        """Return where one can go from a viewpoint, from left to right of the heading."""
        at = self.number(viewpoint)
        found: list[Candidate] = []
        for number in np.flatnonzero(self.joined[at]).tolist():
            step = self.positions[number] - self.positions[at]
            angle = math.remainder(math.atan2(step[0], step[1]) - heading, 2 * math.pi)
            found.append(Candidate(self.names[number], angle, float(np.linalg.norm(step))))
        return sorted(found, key=lambda each: each.angle)

    def length(self, path: Sequence[str]) -> float:
        """Return how long a walk is; raises DataError where it leaves the edges of the graph."""
        total = 0.0
        for start, end in pairwise(path):
            if start != end and not self.joined[self.number(start), self.number(end)]:
                raise DataError(
                    f"scan {self.scan} has no edge from {start} to {end}; a trajectory must name "
                    "every viewpoint that it passes"
                )
            total += self.distance(start, end)
        return total


class Route(NamedTuple):
    """One instruction of Room-to-Room, and the way that it describes."""

    id: str
    scan: str
    path: tuple[str, ...]
    heading: float
    instruction: str


@contextmanager
def _records(path: Path, expected: str) -> Generator[list[dict[str, Any]], None, None]:
    """Yield what a file lists; what is wrong with it in the block becomes a DataError."""
    content: Any = read_json(path)
    try:
        if not isinstance(content, list):
            raise TypeError("it is no list")
        yield content
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: {type(error).__name__} {error}; expected {expected}") from error


def read_graph(path: Path) -> Graph:
    """Read `SCAN_connectivity.json`; viewpoints that are not included are left out.

    Raises:
        DataError: the file cannot be read or is of another kind.
    """
    with _records(path, "a file SCAN_connectivity.json of Room-to-Room") as rows:
        kept = [number for number, row in enumerate(rows) if row["included"]]
        poses = np.array([rows[number]["pose"] for number in kept], np.float64)
        joined = np.array([rows[number]["unobstructed"] for number in kept], bool)[:, kept]
        names = tuple(str(rows[number]["image_id"]) for number in kept)
        scan = path.stem.removesuffix("_connectivity")
        return Graph(scan, names, poses[:, [3, 7, 11]], joined)


def read_routes(path: Path) -> list[Route]:
    """Read `R2R_SPLIT.json`; an id is `<path id>_<number of the instruction>`.

    Raises:
        DataError: the file cannot be read or is of another kind.
    """
    with _records(path, "a file R2R_SPLIT.json") as rows:
        return [
            Route(
                f"{row['path_id']}_{number}",
                row["scan"],
                tuple(row["path"]),
                float(row["heading"]),
                text.strip(),
            )
            for row in rows
            for number, text in enumerate(row["instructions"])
        ]


def read_trajectories(path: Path) -> dict[str, Trajectory]:
    """Read a submission to the leader board of Room-to-Room.

    Raises:
        DataError: the file cannot be read or is of another kind.
    """
    expected = 'a list of {"instr_id": …, "trajectory": [[viewpoint, heading, elevation], …]}'
    with _records(path, expected) as rows:
        return {
            row["instr_id"]: [(str(at), float(h), float(e)) for at, h, e in row["trajectory"]]
            for row in rows
        }


def write_trajectories(path: Path, trajectories: Mapping[str, Trajectory]) -> None:
    """Write a submission to the leader board of Room-to-Room."""
    rows = [{"instr_id": name, "trajectory": each} for name, each in trajectories.items()]
    write_whole(path, json.dumps(rows))


def measure_trajectories(
    routes: Iterable[Route],
    graphs: Mapping[str, Graph],
    trajectories: Mapping[str, Trajectory],
    *,
    success_distance: float = SUCCESS_DISTANCE,
) -> dict[str, float]:
    """Return the mean metrics of trajectories, one for each route; fractions are 0 to 1.

    All distances are lengths of shortest ways in the graphs. As in the official evaluation, a walk
    that ends nearer than `success_distance` is a success; exactly as far is none.

    Raises:
        DataError: a route has no trajectory or no graph, or a trajectory does not begin at the
            start of its route or leaves the edges of its graph.
    """
    measured: list[dict[str, float]] = []
    for route in routes:
        if route.scan not in graphs:
            raise DataError(f"route {route.id} is in scan {route.scan}, of which there is no graph")
        if not trajectories.get(route.id):
            raise DataError(f"there is no trajectory for route {route.id}; every route needs one")
        graph, walk = graphs[route.scan], [each[0] for each in trajectories[route.id]]
        if walk[0] != route.path[0]:
            raise DataError(
                f"the trajectory of route {route.id} begins at {walk[0]}; it must begin at "
                f"{route.path[0]}"
            )
        length, to_goal = graph.length(walk), graph.distances(walk, [route.path[-1]])[:, 0]
        shortest, success = float(to_goal[0]), float(to_goal[-1] < success_distance)
        passed = [name for at, name in enumerate(walk) if at == 0 or name != walk[at - 1]]
        cost = warp(graph.distances(passed, route.path))
        likeness = ndtw(cost, len(route.path), success_distance)
        measured.append(
            {
                "path_length": length,
                "distance_to_goal": float(to_goal[-1]),
                "oracle_success": float(to_goal.min() < success_distance),
                "success": success,
                "spl": success * shortest / max(length, shortest, 1e-9),
                "ndtw": likeness,
                "sdtw": success * likeness,
            }
        )
    if not measured:
        raise DataError("there is no route to measure; expected one or more")
    return average(measured)
