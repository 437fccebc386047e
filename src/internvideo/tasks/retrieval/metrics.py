"""Where the true answer of every query stands, in both directions, plain and by dual softmax.

    texts "t e" ──┐
                  ├──► tiles of S = texts · videos / temperature ──► how many scores beat the truth
    videos "v e" ─┘

Two passes over the tiles: the first finds the scores of the true pairs and what the softmax divides
by, the second counts. S is never sorted and never needed whole, so a million texts and as many
videos take two passes of matrix products and memory for some vectors.

Letters: t texts, v videos, g videos with several texts each; r rows and c columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.evaluation.arrays import as_list

__all__ = [
    "BothWays",
    "Ranks",
    "Side",
    "Similarity",
    "Ties",
    "best_candidates",
    "retrieval_ranks",
]

Side: TypeAlias = Literal["text", "video", "both"]
"""What the softmax of DSL runs over: the texts or the videos, in both directions; or "both", in
each direction its queries, as in the published evaluation of one sentence a video."""

Ties: TypeAlias = Literal["best", "legacy"]
"""Ranks where other candidates have exactly the score of the true one, see `Ranks.places`."""

_HELD = 1 << 26  # scores that are kept rather than computed in each pass: 256 MiB
_TILE = 1 << 19  # scores: 2 MiB, which stays in the cache of a core
_TILE_OF_GPU = 1 << 26


@dataclass(frozen=True)
class Similarity:
    """The scores of all texts with all videos, cut out tile by tile.

    Attributes:
        shape: number of texts and of videos.
        tile: returns the scores of some rows (texts) and columns (videos).
        like: an empty tensor of the kind of the tiles.
    """

    shape: tuple[int, int]
    tile: Callable[[slice, slice], Float[Tensor, "r c"]]
    like: Tensor

    @classmethod
    def of_matrix(cls, scores: Float[Tensor, "t v"]) -> Similarity:
        """Return the scores of a matrix that is there; those in half precision become float32."""
        dtype = torch.promote_types(scores.dtype, torch.float32)
        texts, videos = scores.shape

        def tile(rows: slice, columns: slice) -> Tensor:
            return scores[rows, columns].to(dtype)

        return cls((texts, videos), tile, scores.new_empty(0, dtype=dtype))

    @classmethod
    def of_vectors(
        cls,
        texts: Float[Tensor, "t e"],
        videos: Float[Tensor, "v e"],
        temperature: float = 1.0,
    ) -> Similarity:
        """Return the products of two sets of vectors; many of them are computed when needed."""
        if len(texts) * len(videos) <= _HELD:
            return cls.of_matrix((texts @ videos.T).div_(temperature))
        across = videos.T

        def tile(rows: slice, columns: slice) -> Tensor:
            return (texts[rows] @ across[:, columns]).div_(temperature)

        return cls((len(texts), len(videos)), tile, texts.new_empty(0))


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
    similarity: Similarity, owners: Int[Tensor, "t"], *, side: Side | None = None
) -> BothWays:
    """Return the ranks of the true answers.

    Args:
        similarity: scores; for DSL they are cosines over the temperature.
        owners: which video each text is about, in ascending order; every video has a text.
        side: rank by `S · softmax(S)` over this side (DSL, arXiv 2109.04290), which knows all
            queries at once; None ranks by S.

    Raises:
        ValueError: the owners do not fit the scores, or are not in order.
    """
    _check(similarity, owners)
    owners = owners.to(similarity.like.device)
    tiles = _Tiles(similarity, owners)
    own, over_texts, over_videos = _truths(tiles, owners, with_sums=side is not None)
    to_video = _weights(side, over_texts, over_videos, of_texts=True)
    to_text = _weights(side, over_texts, over_videos, of_texts=False)
    num_videos = similarity.shape[1]
    of_texts = _Tally(to_video.at(own, owners), num_videos)
    best = torch.full_like(over_texts.top, -torch.inf)
    best.scatter_reduce_(0, owners, _without_nan(to_text.at(own, owners)), "amax")
    of_videos = _Tally(best, num_videos)
    for rows, columns in tiles:
        scores = similarity.tile(rows, columns)
        weighed = to_video.tile(scores, rows, columns)
        of_texts.add(weighed, rows, _own_places(owners[rows], columns), by_row=True)
        if to_text is not to_video:
            weighed = to_text.tile(scores, rows, columns)
        answers = owners[rows]
        if tiles.grouped:
            weighed = _best_by_video(weighed, answers - answers[0])
            answers = torch.arange(int(answers[0]), int(answers[-1]) + 1, device=answers.device)
        of_videos.add(weighed, columns, _own_places(answers, columns), by_row=False)
    return BothWays(of_texts.ranks(), of_videos.ranks())


def best_candidates(
    similarity: Similarity, k: int
) -> tuple[Int[Tensor, "t k"], Int[Tensor, "v k"]]:
    """Return the videos with the largest scores for each text, and the texts for each video.

    There are fewer than `k` where there are not so many.
    """
    (num_texts, num_videos), like = similarity.shape, similarity.like
    step = max(1, _HELD // num_videos)
    of_texts: list[Tensor] = []
    scores = like.new_empty(num_videos, 0)
    texts = torch.empty(num_videos, 0, dtype=torch.int64, device=like.device)
    for start in range(0, num_texts, step):
        rows = slice(start, min(start + step, num_texts))
        tile = _without_nan(similarity.tile(rows, slice(0, num_videos)))
        of_texts.append(tile.topk(min(k, num_videos), dim=1).indices)
        numbers = torch.arange(rows.start, rows.stop, device=like.device).expand(num_videos, -1)
        scores, texts = torch.cat([scores, tile.T], dim=1), torch.cat([texts, numbers], dim=1)
        scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
        texts = texts.gather(1, kept)
    return torch.cat(of_texts).cpu(), texts.cpu()


def _check(similarity: Similarity, owners: Int[Tensor, "t"]) -> None:
    num_texts, num_videos = similarity.shape
    steps = owners.diff()
    good = len(owners) == num_texts > 0 and bool(((steps == 0) | (steps == 1)).all())
    if not good or int(owners[0]) != 0 or int(owners[-1]) != num_videos - 1:
        raise ValueError(
            f"owners must name the video of each of the {num_texts} texts, in ascending order from "
            f"0 to {num_videos - 1} without gaps"
        )


class _Tiles:
    """Rows and columns that cover the scores; the texts of a video are never split."""

    def __init__(self, similarity: Similarity, owners: Int[Tensor, "t"]) -> None:
        self.similarity = similarity
        num_texts, num_videos = similarity.shape
        self.grouped = num_texts != num_videos
        area = _TILE if similarity.like.device.type == "cpu" else _TILE_OF_GPU
        self.width = min(num_videos, 2 * int(area**0.5))
        height = max(1, area // self.width)
        self.bounds, end = [0], 0
        for reached in as_list(torch.bincount(owners).cumsum(0)):
            if reached - self.bounds[-1] > height and end > self.bounds[-1]:
                self.bounds.append(end)
            end = reached
        self.bounds.append(end)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        num_videos = self.similarity.shape[1]
        for start, stop in pairwise(self.bounds):
            for left in range(0, num_videos, self.width):
                yield slice(start, stop), slice(left, min(left + self.width, num_videos))


class _Plain:
    """Scores as they are."""

    def tile(self, scores: Float[Tensor, "r c"], rows: slice, columns: slice) -> Tensor:
        """Return the scores of a tile."""
        del rows, columns
        return scores

    def at(self, scores: Float[Tensor, "t"], owners: Int[Tensor, "t"]) -> Tensor:
        """Return the scores of all texts with their videos."""
        del owners
        return scores


class _Softmax:
    """Scores times their softmax along one axis, whose maxima and sums are gathered from tiles."""

    def __init__(self, size: int, like: Tensor, *, over_texts: bool) -> None:
        self.over_texts = over_texts
        self.top = like.new_full((size,), -torch.inf)
        self.sum = like.new_zeros(size)

    def gather(self, scores: Float[Tensor, "r c"], rows: slice, columns: slice) -> None:
        """Take in a tile without NaN."""
        place, axis = (columns, 0) if self.over_texts else (rows, 1)
        top = torch.maximum(self.top[place], scores.amax(dim=axis))
        floor = top.clamp_min(torch.finfo(top.dtype).min)  # where all is -inf, inf - inf is NaN
        self.sum[place] *= (self.top[place] - floor).exp_()
        self.sum[place] += (scores - floor.unsqueeze(axis)).exp_().sum(dim=axis)
        self.top[place] = top

    def tile(self, scores: Float[Tensor, "r c"], rows: slice, columns: slice) -> Tensor:
        """Return the weighed scores of a tile."""
        place, axis = (columns, 0) if self.over_texts else (rows, 1)
        top, total = self.top[place].unsqueeze(axis), self.sum[place].unsqueeze(axis)
        return (scores - top).exp_().mul_(scores).mul_(total.reciprocal())

    def at(self, scores: Float[Tensor, "t"], owners: Int[Tensor, "t"]) -> Tensor:
        """Return the weighed scores of all texts with their videos, rounded as in a tile."""
        place = owners if self.over_texts else slice(None)
        return (scores - self.top[place]).exp_().mul_(scores).mul_(self.sum[place].reciprocal())


def _weights(
    side: Side | None, over_texts: _Softmax, over_videos: _Softmax, *, of_texts: bool
) -> _Plain | _Softmax:
    """Return what weighs the scores of a direction; `of_texts` are its queries."""
    if side is None:
        return _PLAIN
    return over_texts if side == "text" or (side == "both" and of_texts) else over_videos


_PLAIN = _Plain()


def _truths(
    tiles: _Tiles, owners: Int[Tensor, "t"], *, with_sums: bool
) -> tuple[Float[Tensor, "t"], _Softmax, _Softmax]:
    """Return the scores of the true pairs and, where wanted, the softmax over either side."""
    similarity = tiles.similarity
    num_texts, num_videos = similarity.shape
    own = similarity.like.new_empty(num_texts)
    over_texts = _Softmax(num_videos, similarity.like, over_texts=True)
    over_videos = _Softmax(num_texts, similarity.like, over_texts=False)
    for rows, columns in tiles:
        row, column = _own_places(owners[rows], columns)
        if not with_sums and not len(row):
            continue
        scores = similarity.tile(rows, columns)
        own[rows.start + row] = scores[row, column]
        if with_sums:
            scores = _without_nan(scores)
            over_texts.gather(scores, rows, columns)
            over_videos.gather(scores, rows, columns)
    return own, over_texts, over_videos


def _own_places(owners: Int[Tensor, "r"], columns: slice) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of a tile where a row meets its own video."""
    [row] = torch.nonzero((owners >= columns.start) & (owners < columns.stop), as_tuple=True)
    return row, owners[row] - columns.start


def _best_by_video(scores: Float[Tensor, "r c"], group: Int[Tensor, "r"]) -> Float[Tensor, "g c"]:
    """Return the best score of the texts of each video."""
    best = scores.new_full((int(group[-1]) + 1, scores.shape[1]), -torch.inf)
    index = group[:, None].expand_as(scores)
    return best.scatter_reduce_(0, index, _without_nan(scores), "amax")


def _without_nan(scores: Tensor) -> Tensor:
    # The maximum is NaN where anything is, and much faster to have than a mask.
    return scores.masked_fill(scores.isnan(), -torch.inf) if scores.amax().isnan() else scores


class _Tally:
    """Counts, for each query, the candidates that beat or equal its true answer."""

    def __init__(self, truth: Float[Tensor, "q"], num_candidates: int) -> None:
        self.truth = truth
        self.num_candidates = num_candidates
        self.above = torch.zeros(len(truth), dtype=torch.int64, device=truth.device)
        self.level = torch.zeros_like(self.above)

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
        own_scores, query = scores[own], own[0 if by_row else 1]
        # Sums of 0.0 and 1.0 are four times as fast as those of bool, and exact up to 2^24.
        flags = torch.empty_like(scores)
        for counts, compare in ((self.above, torch.gt), (self.level, torch.ge)):
            compare(scores, truth.unsqueeze(axis), out=flags)
            counts[queries] += flags.sum(dim=axis).long()
            counts[queries.start + query] -= compare(own_scores, truth[query]).long()

    def ranks(self) -> Ranks:
        """Return the ranks, once all tiles are counted."""
        lost = ~self.truth.isfinite()
        return Ranks(
            ahead=self.above.masked_fill(lost, self.num_candidates - 1).cpu(),
            tied=(self.level - self.above).masked_fill(lost, 0).cpu(),
            num_candidates=self.num_candidates,
        )
