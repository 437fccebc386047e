"""Which tubelets a masked autoencoder hides: tube, random, progressive and running-cell masks.

A mask is a flat boolean array, True = hidden, one entry a tubelet in the order time, row, column
(n = t·h·w). Drawing takes a numpy generator; with the legacy `RandomState` the numbers are those of
the reference implementation.

Masks that follow what a teacher looks at are drawn where the teacher runs, for a whole batch, and
say which places of each frame stay visible (`draw_visible_places`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "PlaceRule",
    "draw_visible_places",
    "flat_places",
    "num_visible_places",
    "progressive_keep_counts",
    "progressive_mask",
    "random_mask",
    "running_cell_mask",
    "tube_mask",
]

Grid = tuple[int, int, int]
Random = np.random.Generator | np.random.RandomState
PlaceRule: TypeAlias = Literal["attention", "tube", "random"]

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


def num_visible_places(num_places: int, ratio: float) -> int:
    """Return how many places of a frame stay visible: `n - int(n · ratio)`.

    Raises:
        ValueError: the ratio is not in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} is not in [0, 1)")
    return num_places - int(num_places * ratio)


def draw_visible_places(
    attention: Float[Tensor, "b t n"],
    num_visible: int,
    *,
    rule: PlaceRule = "attention",
    generator: torch.Generator | None = None,
) -> Int[Tensor, "b t v"]:
    """Draw which places of each frame stay visible, equally many in all frames.

    Args:
        attention: how important each place is, not negative; need not add up to 1.
        num_visible: places of a frame that stay visible.
        rule: "attention" draws without replacement with these weights, each frame alone (Unmasked
            Teacher, arXiv 2303.16058); "random" draws each frame alone, "tube" all frames alike,
            both whatever the attention.
        generator: on the device of the attention; None is the device's own.

    Returns:
        Numbers of the places in their frame, increasing. Nothing makes the host wait.

    Raises:
        ValueError: an unknown rule.
    """
    match rule:
        case "attention":
            weights = attention.float()
        case "random":
            weights = torch.ones_like(attention, dtype=torch.float32)
        case "tube":
            weights = torch.ones_like(attention[:, :1], dtype=torch.float32)
        case _:
            raise ValueError(f"rule {rule!r} is not one of 'attention', 'tube', 'random'")
    # The Gumbel trick: log w - log E with E ~ Exp(1) is log w + Gumbel noise, and the order of the
    # largest is that of successive draws without replacement (Efraimidis and Spirakis, 2006).
    keys = weights / torch.empty_like(weights).exponential_(generator=generator)
    places = keys.topk(num_visible, dim=-1, sorted=False).indices.sort(dim=-1).values
    return places.expand(-1, attention.shape[1], -1)


def flat_places(places: Int[Tensor, "b t v"], num_places: int) -> Int[Tensor, "b tv"]:
    """Return places of frames as token numbers of the clip, in the order time, place."""
    first = torch.arange(places.shape[1], device=places.device)[:, None] * num_places
    return (places + first).flatten(1)


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
