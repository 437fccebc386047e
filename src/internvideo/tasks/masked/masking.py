"""The masks of masked pretraining, refused where they would leave nothing to learn."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool

from internvideo.errors import ConfigError
from internvideo.video.masks import random_mask, running_cell_mask, tube_mask

__all__ = ["DecoderMaskKind", "MaskKind", "draw_decoder_mask", "draw_mask"]

MaskKind: TypeAlias = Literal["tube", "random"]
DecoderMaskKind: TypeAlias = Literal["none", "running-cell"]

_CELL_STARTS = 4


def draw_mask(
    grid: tuple[int, int, int], ratio: float, *, kind: MaskKind, rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Draw which tokens are hidden from the encoder (True).

    Args:
        grid: tokens in time, rows and columns.
        ratio: share to hide.
        kind: "tube" hides the same places at every time step, "random" any tokens.
        rng: source of the draw.

    Raises:
        ConfigError: an unknown kind, or a ratio that hides all tokens or none.
    """
    if kind not in get_args(MaskKind):
        raise ConfigError(f"mask is {kind!r}; expected 'tube' or 'random'")
    _check_ratio("mask_ratio", ratio)
    mask = (tube_mask if kind == "tube" else random_mask)(grid, ratio, rng=rng)
    if mask.all() or not mask.any():
        raise ConfigError(
            f"mask_ratio {ratio:g} hides {'all' if mask.all() else 'none'} of the "
            f"{'x'.join(map(str, grid))} tokens; expected a share that leaves some on both sides"
            f"{', or a random mask' if kind == 'tube' and grid[1:] == (1, 1) else ''}"
        )
    return mask


def draw_decoder_mask(
    grid: tuple[int, int, int], ratio: float, *, rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Draw which tokens the decoder leaves out (True): running cells with a random start.

    Raises:
        ConfigError: the grid has odd rows or columns, or the ratio leaves no place of a cell out.
    """
    _check_ratio("decoder_mask_ratio", ratio)
    if int(4 * ratio) == 0:
        raise ConfigError(
            f"decoder_mask_ratio {ratio:g} leaves out no place of a 2x2 cell; expected 0.25, 0.5 "
            "or 0.75, or decoder_mask none"
        )
    if grid[1] % 2 or grid[2] % 2:
        raise ConfigError(
            f"decoder_mask running-cell needs even rows and columns of tokens, and the model has "
            f"{grid[1]}x{grid[2]}; use decoder_mask none"
        )
    return running_cell_mask(grid, ratio, start=int(rng.integers(_CELL_STARTS)))


def _check_ratio(name: str, ratio: float) -> None:
    if not 0 < ratio < 1:
        raise ConfigError(f"{name} is {ratio:g}; expected a share between 0 and 1")
