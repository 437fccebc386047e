"""Where the true answer of every query stands, in both directions, plain and by dual softmax.

    tiles of the scores ──► first pass: the true pairs, the sums of the dual softmax
                        └─► second pass: how many candidates beat the truth

Nothing is sorted, and the scores are never needed whole: a million texts and as many videos take
two passes of matrix products, and memory for some vectors.

Letters: t texts, v videos, g videos whose texts are in a tile; r rows and c columns of a tile; q
queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.evaluation.dual_softmax import DualSoftmax, Side
from internvideo.evaluation.similarity import Scratch, Similarity, Tile, Tiles, without_nan

__all__ = ["BothWays", "Ranks", "Ties", "retrieval_ranks"]

Ties: TypeAlias = Literal["best", "legacy"]
"""Ranks where other candidates have exactly the score of the true one, see `Ranks.places`."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """How the candidates of each query compare with its true answer.

    A score that is not a number is smaller than all others; where that of the truth is none, all
    candidates are ahead of it.

    Attributes:
        ahead: candidates with a larger score.
        tied: other candidates with exactly the same score.
        num_candidates: to choose from.
    """

    ahead: Int[Tensor, "q"]
    tied: Int[Tensor, "q"]
    num_candidates: int

    def places(self, ties: Ties = "best") -> Int[Tensor, "n"]:
        """Return the ranks, from 0.

        "best": candidates with the score of the truth stand behind it. "legacy": each of them adds
        a further rank, so there are more ranks than queries, as in the published evaluator. Without
        ties both are the same.
        """
        if ties == "best":
            return self.ahead
        firsts, counts = self.ahead, self.tied + 1
        starts = counts.cumsum(0) - counts
        within = torch.arange(int(counts.sum())) - starts.repeat_interleave(counts)
        return firsts.repeat_interleave(counts) + within


class BothWays(NamedTuple):
    """Ranks in both directions.

    Attributes:
        to_video: of the video of each text, among all videos.
        to_text: of the texts of each video: the best of its own among the best of each video.
    """

    to_video: Ranks
    to_text: Ranks


def retrieval_ranks(
    similarity: Similarity, owners: Int[Tensor, "t"], *, side: Side
) -> tuple[BothWays, BothWays]:
    """Return the ranks of the true answers, plain and by dual softmax, which knows all queries.

    Args:
        similarity: the scores; for the dual softmax, cosines over the temperature.
        owners: which video each text is about, in ascending order; every video has a text.
        side: what the dual softmax runs over.

    Raises:
        ValueError: the owners do not fit the scores, or are not in order.
    """
    _check(similarity, owners)
    owners = owners.to(similarity.like.device)
    tiles = Tiles(similarity, owners)
    own = similarity.like.new_empty(len(owners))
    softmax: DualSoftmax | None = None
    for tile in tiles:
        scores = similarity.tile(tile.rows, tile.columns)
        own[tile.rows.start + tile.texts[0]] = scores[tile.texts]
        softmax = softmax or DualSoftmax(similarity, scores)
        softmax.add(scores, tile)
    assert softmax is not None
    over_texts, over_videos = softmax.sides(tiles)
    to_video = over_videos if side == "video" else over_texts
    to_text = over_texts if side == "text" else over_videos
    plain = _Tallies(own, own, owners)
    dual = _Tallies(to_video.of_pairs(own, owners), to_text.of_pairs(own, owners), owners)
    scratch = [Scratch(similarity.like) for _ in range(3)]
    for tile in tiles:
        scores = similarity.tile(tile.rows, tile.columns)
        plain.add(scores, scores, tile)
        products = to_video.products(scores, tile, scratch[0])
        of_texts = of_videos = to_video.weigh(products, tile, scratch[1])
        if to_text is not to_video:
            if to_text.top is not to_video.top:
                products = to_text.products(scores, tile, scratch[0])
            of_videos = to_text.weigh(products, tile, scratch[2])
        dual.add(of_texts, of_videos, tile)
    return plain.ranks(), dual.ranks()


def _check(similarity: Similarity, owners: Int[Tensor, "t"]) -> None:
    num_texts, num_videos = similarity.shape
    steps = owners.diff()
    good = len(owners) == num_texts > 0 and bool(((steps == 0) | (steps == 1)).all())
    if not good or int(owners[0]) != 0 or int(owners[-1]) != num_videos - 1:
        raise ValueError(
            f"owners must name the video of each of the {num_texts} texts, in ascending order from "
            f"0 to {num_videos - 1} without gaps"
        )


class _Tallies:
    """Counts, for the texts and for the videos, the candidates that beat their true answers.

    Args:
        of_texts: score of each text with its video, for its own rank.
        of_videos: the same, for the rank of the video.
        owners: which video each text is about.
    """

    def __init__(
        self,
        of_texts: Float[Tensor, "t"],
        of_videos: Float[Tensor, "t"],
        owners: Int[Tensor, "t"],
    ) -> None:
        num_videos = int(owners[-1]) + 1
        best = of_videos.new_full((num_videos,), -torch.inf)
        best.scatter_reduce_(0, owners, without_nan(of_videos), "amax")
        self.of_texts = _Tally(of_texts, num_videos)
        self.of_videos = _Tally(best, num_videos)

    def add(
        self, of_texts: Float[Tensor, "r c"], of_videos: Float[Tensor, "r c"], tile: Tile
    ) -> None:
        """Count a tile: its scores for the ranks of the texts, and for those of the videos."""
        self.of_texts.add(of_texts, tile.rows, tile.texts, by_row=True)
        if tile.group is not None:
            size = int(tile.group[-1]) + 1
            best = of_videos.new_full((size, of_videos.shape[1]), -torch.inf)
            index = tile.group[:, None].expand_as(of_videos)
            of_videos = best.scatter_reduce_(0, index, without_nan(of_videos), "amax")
        self.of_videos.add(of_videos, tile.columns, tile.videos, by_row=False)

    def ranks(self) -> BothWays:
        """Return the ranks, once all tiles are counted."""
        return BothWays(self.of_texts.ranks(), self.of_videos.ranks())


class _Tally:
    """Counts, for each query, the candidates that beat or equal its true answer."""

    def __init__(self, truth: Float[Tensor, "q"], num_candidates: int) -> None:
        self.truth = truth
        self.num_candidates = num_candidates
        self.above = torch.zeros(len(truth), dtype=torch.float64, device=truth.device)
        self.level = torch.zeros_like(self.above)
        self._flags = Scratch(truth)

    def add(
        self,
        scores: Float[Tensor, "r c"],
        queries: slice,
        own: tuple[Tensor, Tensor],
        *,
        by_row: bool,
    ) -> None:
        """Count a tile, in which a query is a row or a column; `own` is where the truths are."""
        truth, axis = self.truth[queries], 1 if by_row else 0
        # Sums of 0.0 and 1.0 are four times as fast as those of bool, and exact up to 2^24.
        flags = self._flags.of(scores)
        for counts, compare in ((self.above, torch.gt), (self.level, torch.ge)):
            compare(scores, truth.unsqueeze(axis), out=flags)
            if len(own[0]):
                flags[own] = 0
            counts[queries].add_(flags.sum(dim=axis))

    def ranks(self) -> Ranks:
        """Return the ranks, once all tiles are counted."""
        lost = ~self.truth.isfinite()
        return Ranks(
            ahead=self.above.masked_fill(lost, self.num_candidates - 1).long().cpu(),
            tied=(self.level - self.above).masked_fill(lost, 0).long().cpu(),
            num_candidates=self.num_candidates,
        )
