"""Which tubelets a masked autoencoder hides: tube, random, progressive and running-cell masks.

A mask is a flat boolean array, True = hidden, one entry a tubelet in the order time, row, column
(n = t·h·w). Drawing takes a numpy generator; with the legacy `RandomState` the numbers are those of
the reference implementation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

__all__ = [
    "progressive_keep_counts",
    "progressive_mask",
    "random_mask",
    "running_cell_mask",
    "tube_mask",
]

Grid = tuple[int, int, int]
Random = np.random.Generator | np.random.RandomState

# The last step of a progressive mask keeps this share of its tubelets.
_LAST_KEEP = 1 - 0.95


def tube_mask(grid: Grid, ratio: float, *, rng: Random) -> Bool[np.ndarray, " n"]:
    """Hide the same places at every time step (VideoMAE's mask).

    Args:
        grid: tubelets in time, rows and columns.
        ratio: share to hide; `int(ratio · h · w)` places are hidden.
        rng: source of the draw.
    """
    t, h, w = _checked(grid, ratio)
    return np.tile(_shuffled(h * w, ratio, rng), t)


def random_mask(grid: Grid, ratio: float, *, rng: Random) -> Bool[np.ndarray, " n"]:
    """Hide `int(ratio · n)` tubelets anywhere; arguments as in `tube_mask`."""
    t, h, w = _checked(grid, ratio)
    return _shuffled(t * h * w, ratio, rng)


def progressive_keep_counts(
    grid: Grid, ratio: float, *, centre: bool = False
) -> Int[np.ndarray, " t"]:
    """Return how many tubelets a progressive mask leaves visible at each time step.

    From the share `1 - ratio` down to 5 %, linearly and rounded down; with `centre` the middle of
    the clip keeps most and both ends keep 5 %.

    Raises:
        ValueError: `centre` with an odd number of time steps.
    """
    t, h, w = _checked(grid, ratio)
    if centre and t % 2:
        raise ValueError(f"a centred progressive mask needs an even number of steps, not {t}")
    first, last = int((1 - ratio) * h * w), int(_LAST_KEEP * h * w)
    counts = np.linspace(first, last, t // 2 if centre else t).astype(np.int64)
    return np.concatenate([counts[::-1], counts]) if centre else counts


def progressive_mask(
    grid: Grid, ratio: float, *, rng: Random, centre: bool = False
) -> Bool[np.ndarray, " n"]:
    """Hide more and more places as time goes on; a place once hidden stays hidden.

    Args:
        grid: tubelets in time, rows and columns.
        ratio: share to hide where most is visible.
        rng: source of the draw.
        centre: hide more towards both ends of the clip instead.
    """
    _, h, w = grid
    counts = progressive_keep_counts(grid, ratio, centre=centre)
    rank = np.arange(h * w)
    rng.shuffle(rank)
    return (rank[None, :] >= counts[:, None]).reshape(-1)


def running_cell_mask(grid: Grid, ratio: float, *, start: int) -> Bool[np.ndarray, " n"]:
    """Hide a part of every 2x2 cell, moving on by one place a time step (the decoder mask of V2).

    Args:
        grid: tubelets in time, rows and columns; rows and columns are even.
        ratio: share to hide; `int(4 · ratio)` places of a cell are hidden.
        start: where the run begins, 0 to 3; draw it for each sample.

    Raises:
        ValueError: odd rows or columns, or an impossible start.
    """
    t, h, w = _checked(grid, ratio)
    if h % 2 or w % 2:
        raise ValueError(f"running cells need even rows and columns, not {h}x{w}")
    if not 0 <= start < 4:
        raise ValueError(f"start {start} is not one of 0, 1, 2, 3")
    queue = np.arange(4) < int(4 * ratio)
    step, place = np.arange(t)[:, None], np.arange(4)[None, :]
    cells = queue[(place + start + step + 1) % 4].reshape(t, 2, 2)
    return np.tile(cells, (1, h // 2, w // 2)).reshape(-1)


def _checked(grid: Grid, ratio: float) -> Grid:
    if min(grid) < 1:
        raise ValueError(f"a grid of {'x'.join(map(str, grid))} tubelets is empty")
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} is not in [0, 1)")
    return grid


def _shuffled(size: int, ratio: float, rng: Random) -> Bool[np.ndarray, " n"]:
    num_masked = int(ratio * size)
    mask = np.arange(size) >= size - num_masked
    rng.shuffle(mask)
    return mask
