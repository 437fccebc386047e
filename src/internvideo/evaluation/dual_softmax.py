"""Dual softmax (DSL, arXiv 2109.04290) without the matrix: `S · softmax(S)` over texts or videos.

    tiles of S ──► exp(S - top) ──► sums of all columns (over the texts) and rows (over the videos)
    a tile, later ──► S · exp(S - top) / sum

One exponential of a tile serves both sides, with one `top` for all scores, as long as no sum leaves
the range of float32. Where one does (scores that are hundreds apart, or not a number), every row
and column gets a maximum of its own in a second run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.evaluation.similarity import Scratch, Similarity, Tile, Tiles, without_nan

__all__ = ["DualSoftmax", "Side", "Softmax"]

Side: TypeAlias = Literal["text", "video", "both"]
"""What the softmax runs over: the texts or the videos, in both directions; or "both", in each
direction its queries, as in the published evaluation of one sentence a video."""

_BELOW = 40.0  # of the largest scores, for the common top
_SAFE = (1e-30, 1e35)
_LARGE = 1e30
_LOG2_E = 1.4426950408889634  # exp2 is three times as fast as exp


@dataclass(frozen=True)
class Softmax:
    """Scores times their softmax along one axis.

    Attributes:
        over_texts: along which axis: each video has a sum over the texts, or the other way round.
        top: subtracted before exponentiation; one number, or one for each sum.
        scale: one over the sums.
    """

    over_texts: bool
    top: Float[Tensor, ""] | Float[Tensor, "n"]
    scale: Float[Tensor, "n"]

    def products(
        self, scores: Float[Tensor, "r c"], tile: Tile, out: Scratch
    ) -> Float[Tensor, "r c"]:
        """Return `scores · exp(scores - top)` of a tile."""
        place, axis = (tile.columns, 0) if self.over_texts else (tile.rows, 1)
        top = self.top if self.top.ndim == 0 else self.top[place].unsqueeze(axis)
        return _exp_of_difference(scores, top, out.of(scores)).mul_(scores)

    def weigh(
        self, products: Float[Tensor, "r c"], tile: Tile, out: Scratch
    ) -> Float[Tensor, "r c"]:
        """Return these over the sums."""
        place, axis = (tile.columns, 0) if self.over_texts else (tile.rows, 1)
        return torch.mul(products, self.scale[place].unsqueeze(axis), out=out.of(products))

    def of_pairs(self, scores: Float[Tensor, "t"], owners: Int[Tensor, "t"]) -> Float[Tensor, "t"]:
        """Return the weighed scores of all texts with their videos, rounded as in a tile."""
        place = owners if self.over_texts else torch.arange(len(owners), device=owners.device)
        top = self.top if self.top.ndim == 0 else self.top[place]
        exponentials = _exp_of_difference(scores, top, torch.empty_like(scores))
        return exponentials.mul_(scores).mul_(self.scale[place])


class DualSoftmax:
    """Gathers the sums of both sides from the tiles of a first pass.

    Args:
        similarity: the scores.
        first: a tile to guess their height from.
    """

    def __init__(self, similarity: Similarity, first: Float[Tensor, "r c"]) -> None:
        self.similarity = similarity
        self.top = first.amax() - _BELOW
        num_texts, num_videos = similarity.shape
        self.of_videos = similarity.like.new_zeros(num_videos)
        self.of_texts = similarity.like.new_zeros(num_texts)
        self._scratch = Scratch(similarity.like)

    def add(self, scores: Float[Tensor, "r c"], tile: Tile) -> None:
        """Take in a tile."""
        shares = _exp_of_difference(scores, self.top, self._scratch.of(scores))
        self.of_videos[tile.columns].add_(shares.sum(dim=0))
        self.of_texts[tile.rows].add_(shares.sum(dim=1))

    def sides(self, tiles: Tiles) -> tuple[Softmax, Softmax]:
        """Return the softmax over the texts and over the videos, once all tiles were added."""
        smallest, largest = _SAFE
        if all(
            bool(((sums > smallest) & (sums < largest)).all())
            for sums in (self.of_videos, self.of_texts)
        ):
            return (
                Softmax(over_texts=True, top=self.top, scale=self.of_videos.reciprocal()),
                Softmax(over_texts=False, top=self.top, scale=self.of_texts.reciprocal()),
            )
        return _by_own_maxima(self.similarity, tiles)


def _by_own_maxima(similarity: Similarity, tiles: Tiles) -> tuple[Softmax, Softmax]:
    tops = [similarity.like.new_full((size,), -torch.inf) for size in similarity.shape]
    sums = [torch.zeros_like(top) for top in tops]
    for tile in tiles:
        scores = without_nan(similarity.tile(tile.rows, tile.columns))
        places = (tile.rows, tile.columns)
        for place, axis, top, total in zip(places, (1, 0), tops, sums, strict=True):
            higher = torch.maximum(top[place], scores.amax(dim=axis))
            floor = higher.clamp_min(-_LARGE)  # where all is -inf
            total[place] *= (top[place] - floor).exp_()
            shares = _exp_of_difference(scores, floor.unsqueeze(axis), torch.empty_like(scores))
            total[place] += shares.sum(dim=axis)
            top[place] = higher
    of_texts, of_videos = (
        Softmax(over_texts=over_texts, top=top, scale=total.reciprocal())
        for over_texts, top, total in zip((False, True), tops, sums, strict=True)
    )
    return of_videos, of_texts


def _exp_of_difference(
    scores: Float[Tensor, "*s"], top: Float[Tensor, "..."], out: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    return torch.add(top * -_LOG2_E, scores, alpha=_LOG2_E, out=out).exp2_()
