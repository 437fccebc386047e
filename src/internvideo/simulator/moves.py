"""From high-level actions to steps, and the teacher that tries candidates without looking.

A high-level action turns to the left by an angle and walks a distance in steps of 0.25 m.
Candidates are numbered as given; the number after the last one is to stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from internvideo.simulator.backend import Backend, Position
from internvideo.simulator.episodes import Episode, Truth
from internvideo.simulator.metrics import path_length

__all__ = ["STEP", "PathTeacher", "Walk", "follow", "goal_teacher", "walk"]

STEP = 0.25
STOP, FORWARD, LEFT, RIGHT = range(4)  # single steps, as the files number them
STOP_WITHIN = 1.5  # metres from the goal at which teachers stop

Candidate = tuple[float, float]  # angle to the left in radians, distance in metres


@dataclass(frozen=True, slots=True)
class Walk:
    """A high-level action as it went.

    Attributes:
        poses: position and yaw after every turn of `turn_degrees`, after the rest of the turn, and
            after every step forward.
        steps: the positions after the steps forward alone.
        collisions: for every step forward, whether something was in the way.
    """

    poses: list[tuple[Position, float]]
    steps: list[Position]
    collisions: list[bool]

    @property
    def end(self) -> tuple[Position, float]:
        """Position and yaw at the end."""
        return self.poses[-1]


def walk(
    backend: Backend,
    position: Position,
    yaw: float,
    angle: float,
    distance: float,
    *,
    turn_degrees: float = 45.0,
) -> Walk:
    """Turn to the left by an angle in radians, the shorter way round, and walk a distance."""
    left = angle % (2 * math.pi)
    shorter = left if left <= math.pi else left - 2 * math.pi
    turn = math.copysign(math.radians(turn_degrees), shorter)
    turns = int(abs(math.degrees(shorter)) / turn_degrees)
    poses = [(position, yaw + turn * (index + 1)) for index in range(turns)]
    poses.append((position, yaw + left))
    steps: list[Position] = []
    collisions: list[bool] = []
    for _ in range(int(distance / STEP + 1e-6)):
        position, collided = backend.forward(position, yaw + left, STEP)
        steps.append(position)
        collisions.append(collided)
        poses.append((position, yaw + left))
    return Walk(poses, steps, collisions)


# ---------------------------------------------------------------- teachers


def goal_teacher(
    backend: Backend,
    position: Position,
    yaw: float,
    candidates: Sequence[Candidate],
    goal: Position,
) -> tuple[int, list[float]]:
    """Return the candidate that ends nearest to the goal, and how far each ends from it (R2R).

    The number of candidates stands for stopping, within 1.5 m of the goal.
    """
    ends = [walk(backend, position, yaw, *candidate).end[0] for candidate in candidates]
    distances = [backend.geodesic(end, goal) for end in ends]
    if not candidates or backend.geodesic(position, goal) < STOP_WITHIN:
        return len(candidates), distances
    return int(np.argmin(distances)), distances


@dataclass
class PathTeacher:
    """A teacher that follows a reference path point by point (RxR); one for each episode.

    Attributes:
        reference: the path.
        near: metres within which points of the path count as reached.
        progress: number of the point that was reached.
    """

    reference: Float[np.ndarray, "points 3"]
    near: float = 3.0
    progress: int = 0
    _aim: Position = field(default_factory=lambda: np.zeros(3))

    def sub_goal(self, backend: Backend, position: Position) -> Position:
        """Advance along the path, and return the point to aim for.

        It is the last of the run of near points that begins at the first near one not yet passed.
        """
        near = [backend.geodesic(position, point) <= self.near for point in self.reference]
        if any(near):
            ahead = [i for i in range(self.progress, len(near)) if near[i]]
            if ahead:
                run = (i for offset, i in enumerate(ahead) if i == ahead[0] + offset)
                self.progress = max(run)
            self._aim = self.reference[self.progress]
        return self._aim

    def choose(
        self,
        backend: Backend,
        position: Position,
        yaw: float,
        candidates: Sequence[Candidate],
        goal: Position,
    ) -> int:
        """Return the candidate with the shortest way over its end to the sub-goal."""
        aim = self.sub_goal(backend, position)
        if not candidates or backend.geodesic(position, goal) < STOP_WITHIN:
            return len(candidates)
        costs: list[float] = []
        for candidate in candidates:
            steps = np.stack([position, *walk(backend, position, yaw, *candidate).steps])
            costs.append(path_length(steps) + backend.geodesic(steps[-1], aim))
        return int(np.argmin(costs))


def follow(
    backend: Backend, episode: Episode, *, turn_degrees: float = 15.0, within: float = 0.2
) -> Truth:
    """Walk an episode along its reference path in steps of 0.25 m, as the true walks are made.

    Of the headings within reach the one is taken that needs the fewest turns and brings the next
    point of the path nearer by as much as the best, give or take 2 cm.
    """
    position, yaw = np.array(episode.start_position), episode.start_yaw
    turns = round(360 / turn_degrees)
    order = sorted(range(-(turns // 2) + 1, turns // 2 + 1), key=abs)
    locations, actions = [position], list[int]()
    for point in episode.reference_path[1:]:
        aim = np.array(point)
        left = backend.geodesic(position, aim)
        while left > within:
            ends = [
                backend.forward(position, yaw + math.radians(turn_degrees) * turn, STEP)[0]
                for turn in order
            ]
            after = [backend.geodesic(end, aim) for end in ends]
            chosen = next(i for i, each in enumerate(after) if each <= min(after) + 0.02)
            if after[chosen] > left - 0.02:
                break
            position, left, turn = ends[chosen], after[chosen], order[chosen]
            yaw += math.radians(turn_degrees) * turn
            actions += [LEFT if turn > 0 else RIGHT] * abs(turn) + [FORWARD]
            locations.append(position)
    return Truth(np.stack(locations), (*actions, STOP))
