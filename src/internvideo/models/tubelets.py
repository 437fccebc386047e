"""Cutting a clip into tubelets, and choosing among them.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; a tubelet has p frames
and q x q pixels; n tubelets in the order time, row, column; v visible and m masked ones, n = v + m.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.errors import ConfigError

__all__ = [
    "TokenSplit",
    "blank_tubelets",
    "cut_tubelets",
    "divide_tubelets",
    "split_mask",
    "take_tokens",
    "tubelet_grid",
    "visible_index",
]


class TokenSplit(NamedTuple):
    """Which tokens are seen and which are hidden, as indices in increasing order.

    It says the same as a mask, but its shapes are known without reading the mask: a model that gets
    a `TokenSplit` compiles to one graph and never waits for the device.
    """

    visible: Int[Tensor, "b v"]
    masked: Int[Tensor, "b m"]


def split_mask(mask: Bool[Tensor, "b n"]) -> TokenSplit:
    """Return the indices of the False (visible) and of the True (masked) tokens of each sample.

    Reads one number from the mask, so do it where the mask lives on the CPU.

    Raises:
        ValueError: the samples hide different numbers of tokens (checked on CPU masks only).
    """
    hidden = mask.sum(dim=1)
    num_masked = int(hidden[0])
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        counts = hidden.tolist()
        if any(count != num_masked for count in counts):
            raise ValueError(
                f"all masks of a batch must hide the same number of tokens, got {counts}"
            )
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return TokenSplit(*order.split([mask.shape[1] - num_masked, num_masked], dim=1))


def visible_index(visible: Bool[Tensor, "b n"] | Int[Tensor, "b v"]) -> Int[Tensor, "b v"]:
    """Return which tokens are seen as indices, whether told so or by a mask (True = seen).

    Raises:
        ValueError: the samples of a mask show different numbers of tokens, see `split_mask`.
    """
    return split_mask(~visible).visible if visible.dtype == torch.bool else visible


def take_tokens(
    tokens: Float[Tensor, "#b n *rest"], index: Int[Tensor, "b v"]
) -> Float[Tensor, "b v *rest"]:
    """Return the tokens at `index`, sample by sample; tokens of batch size 1 serve all samples."""
    row = torch.arange(tokens.shape[0], device=tokens.device)[:, None]
    return tokens[row, index]


def tubelet_grid(
    video: Float[Tensor, "b c t y x"], *, tubelet_size: int, patch_size: int
) -> tuple[int, int, int]:
    """Return how many tubelets the clip has in time, rows and columns.

    Raises:
        ConfigError: the clip cannot be cut without remainder.
    """
    frames, rows, columns = video.shape[2:]
    if frames % tubelet_size or rows % patch_size or columns % patch_size or not frames:
        raise ConfigError(
            f"a clip of {frames} frames of {rows}x{columns} pixels cannot be cut into tubelets of "
            f"{tubelet_size} frames of {patch_size}x{patch_size}: use multiples of these"
        )
    return frames // tubelet_size, rows // patch_size, columns // patch_size


def cut_tubelets(
    video: Float[Tensor, "b c t y x"],
    *,
    tubelet_size: int,
    patch_size: int,
    index: Int[Tensor, "b v"] | None = None,
) -> Float[Tensor, "b v c p q q"]:
    """Cut the clip into tubelets; with `index`, copy only the pixels of those tubelets.

    Raises:
        ConfigError: the clip cannot be cut without remainder.
    """
    _, h, w = tubelet_grid(video, tubelet_size=tubelet_size, patch_size=patch_size)
    cells = rearrange(
        video,
        "b c (t p) (h q) (w r) -> b t h w c p q r",
        p=tubelet_size,
        q=patch_size,
        r=patch_size,
    )
    if index is None:
        return rearrange(cells, "b t h w c p q r -> b (t h w) c p q r")
    sample = torch.arange(video.shape[0], device=video.device)[:, None]
    return cells[sample, index // (h * w), index // w % h, index % w]


def blank_tubelets(
    video: Float[Tensor, "b c t y x"],
    index: Int[Tensor, "b m"],
    *,
    tubelet_size: int,
    patch_size: int,
) -> Float[Tensor, "b c t y x"]:
    """Return the clip with zeros, the mean of a normalised clip, in the tubelets at `index`.

    Raises:
        ConfigError: the clip cannot be cut without remainder.
    """
    t, h, w = tubelet_grid(video, tubelet_size=tubelet_size, patch_size=patch_size)
    shown = torch.ones(video.shape[0], t * h * w, dtype=video.dtype, device=video.device)
    shown = rearrange(shown.scatter(1, index, 0.0), "b (t h w) -> b 1 t 1 h 1 w 1", t=t, h=h)
    cells = rearrange(video, "b c (t p) (h q) (w r) -> b c t p h q w r", t=t, h=h, w=w)
    return rearrange(cells * shown, "b c t p h q w r -> b c (t p) (h q) (w r)")


def divide_tubelets(
    values: Float[Tensor, "b n k"],
    grid: tuple[int, int, int],
    *,
    parts: int,
    num_channels: int,
    tubelet_size: int,
) -> Float[Tensor, "b m l"]:
    """Cut the values of each tubelet, which has rows and columns, into parts x parts smaller ones.

    Args:
        values: of a token in the order frame, row, column, channel, with as many rows as columns.
        grid: tubelets in time, rows and columns.
        parts: smaller tubelets along rows, and along columns, of one.
        num_channels: values of one place.
        tubelet_size: frames of a tubelet.

    Returns:
        The m = n·parts² smaller tubelets in the order time, row, column; their values as before.
    """
    t, h, _ = grid
    side = math.isqrt(values.shape[2] // (tubelet_size * num_channels)) // parts
    return rearrange(
        values,
        "b (t h w) (p i q j r c) -> b (t h i w j) (p q r c)",
        t=t,
        h=h,
        p=tubelet_size,
        i=parts,
        j=parts,
        q=side,
        r=side,
    )
