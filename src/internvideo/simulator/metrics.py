"""How well a walk followed its instruction: TL, NE, OS, SR, SPL, nDTW, SDTW and CLS.

Definitions: Anderson et al. 2018 (SR, SPL), Ilharco et al. 2019 (nDTW, SDTW), Jain et al. 2019
(CLS). Lengths are metres; distances to the goal are geodesic and come from the simulator or graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

__all__ = [
    "SUCCESS_DISTANCE", "average", "cls", "densify", "dtw", "measure", "ndtw", "path_length",
    "warp",
]  # fmt: skip

Path = Float[np.ndarray, "points 3"]
SUCCESS_DISTANCE = 3.0


def path_length(path: Path) -> float:
    """Return the length of a path in metres, in three dimensions."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def densify(path: Path, step: float = 0.25) -> Path:
    """Put points between those of a sparse reference path, `step` metres apart horizontally."""
    dense = [np.asarray(path[0], dtype=np.float64)]
    for end in np.asarray(path[1:], dtype=np.float64):
        segment = end - dense[-1]
        horizontal = math.hypot(segment[0], segment[2])
        for index in range(1, int(horizontal / step)):
            dense.append(end - segment + segment * (step * index / horizontal))
        dense.append(end)
    return np.stack(dense)


# ---------------------------------------------------------------- dynamic time warping


def warp(cost: Float[np.ndarray, "x y"]) -> float:
    """Return the least cost of matching two sequences in order, given that of every pair."""
    return float(_accumulate(cost)[-1, -1])


def dtw(path: Path, reference: Path, *, radius: int | None = None) -> float:
    """Return the cost of warping a path onto a reference, Euclidean, in metres.

    Args:
        path: the points walked.
        reference: the points to be walked.
        radius: None is exact; a number is the approximation of FastDTW (Salvador and Chan 2007)
            of that radius, which published results on VLN-CE use with radius 1.
    """
    return _warp(np.asarray(path, np.float64), np.asarray(reference, np.float64), radius)[0]


def _warp(x: Path, y: Path, radius: int | None) -> tuple[float, list[tuple[int, int]]]:
    """Return the cost, and the pairs of points that are matched where a radius asks for them."""
    cost = np.linalg.norm(x[:, None] - y[None], axis=2)
    if radius is not None and min(len(x), len(y)) >= radius + 2:
        _, coarse = _warp(_halve(x), _halve(y), radius)
        cost[~_window(coarse, cost.shape, radius)] = np.inf
    total = _accumulate(cost)
    return float(total[-1, -1]), [] if radius is None else _trace(total, cost)


def _halve(path: Path) -> Path:
    even = path[: len(path) // 2 * 2]
    return (even[::2] + even[1::2]) / 2


def _window(
    coarse: Sequence[tuple[int, int]], shape: tuple[int, int], radius: int
) -> Bool[np.ndarray, "x y"]:
    """Return the cells near a path of half the resolution."""
    window = np.zeros(shape, dtype=bool)
    for i, j in coarse:
        window[
            max(0, 2 * (i - radius)) : 2 * (i + radius) + 2,
            max(0, 2 * (j - radius)) : 2 * (j + radius) + 2,
        ] = True
    return window


def _accumulate(cost: Float[np.ndarray, "x y"]) -> Float[np.ndarray, "x+1 y+1"]:
    """Return the least cost of reaching each pair, one anti-diagonal after the other."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.minimum(np.minimum(total[i, j + 1], total[i + 1, j]), total[i, j])
        total[i + 1, j + 1] = cost[i, j] + before
    return total


def _trace(
    total: Float[np.ndarray, "x+1 y+1"], cost: Float[np.ndarray, "x y"]
) -> list[tuple[int, int]]:
    """Walk back from the last pair; ties go as in FastDTW: a step of x, then of y, then of both."""
    i, j = cost.shape
    path: list[tuple[int, int]] = []
    while i and j:
        path.append((i - 1, j - 1))
        step = cost[i - 1, j - 1]
        before = ((i - 1, j), (i, j - 1), (i - 1, j - 1))
        i, j = min(before, key=lambda at: total[at] + step)
    return path[::-1]


# ---------------------------------------------------------------- an episode


def ndtw(cost: float, count: int, success_distance: float = SUCCESS_DISTANCE) -> float:
    """Return the likeness to a reference of `count` points, from the cost of warping onto it."""
    return math.exp(-cost / (count * success_distance))


def cls(path: Path, reference: Path, threshold: float = SUCCESS_DISTANCE) -> float:
    """Return the coverage of a reference weighted by length (Jain et al. 2019, equation 8)."""
    nearest = np.linalg.norm(reference[:, None] - path[None], axis=2).min(axis=1)
    coverage = float(np.exp(-nearest / threshold).mean())
    expected = coverage * path_length(reference)
    excess = abs(expected - path_length(path))
    return coverage * (expected / (expected + excess) if expected + excess else 1.0)


def measure(
    *,
    path: Path,
    distances: Sequence[float],
    stopped: bool,
    collisions: Sequence[bool] = (),
    reference: Path | None = None,
    success_distance: float = SUCCESS_DISTANCE,
    radius: int | None = 1,
) -> dict[str, float]:
    """Return the metrics of one episode; fractions are 0 to 1.

    Args:
        path: every position of the walk, the start included.
        distances: geodesic distance to the goal at the start and wherever an action ended.
        stopped: whether the last action was to stop; nothing else is a success.
        collisions: for every step forward, whether something was in the way.
        reference: the true path at 0.25 m; None has no nDTW, SDTW and CLS.
        success_distance: metres from the goal that count as there.
        radius: of the approximate warping that published numbers use; None is exact.
    """
    walked, first, last = path_length(path), distances[0], distances[-1]
    success = float(stopped and last <= success_distance)
    values = {
        "path_length": walked,
        "distance_to_goal": float(last),
        "oracle_success": float(min(distances) <= success_distance),
        "success": success,
        "spl": success * first / max(first, walked) if max(first, walked) else success,
        "collisions": float(np.mean(collisions)) if len(collisions) else 0.0,
        "steps_taken": float(len(distances)),
    }
    if reference is not None:
        cost = dtw(path, reference, radius=radius)
        values["ndtw"] = ndtw(cost, len(reference), success_distance)
        values["sdtw"] = success * values["ndtw"]
        values["cls"] = cls(path, reference, success_distance)
    return values


def average(episodes: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over those episodes that have it."""
    names = dict.fromkeys(name for each in episodes for name in each)
    return {name: float(np.mean([e[name] for e in episodes if name in e])) for name in names}
