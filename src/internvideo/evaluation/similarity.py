"""The scores of all texts with all videos, cut out in tiles, so that the whole need never exist.

Letters: t texts, v videos, e dimensions of their vectors; r rows and c columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.evaluation.arrays import as_list

__all__ = ["Scratch", "Similarity", "Tile", "Tiles", "best_candidates", "without_nan"]

_HELD = 1 << 26  # scores that are kept rather than computed in each pass: 256 MiB
_TILE = 1 << 19  # scores: 2 MiB, which stays in the cache of a core
_TILE_OF_GPU = 1 << 26


@dataclass(frozen=True)
class Similarity:
    """The scores of all texts with all videos.

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
        *,
        keep: bool = True,
    ) -> Similarity:
        """Return the products of two sets of vectors, over the temperature.

        Many of them are computed when they are needed; up to 256 MiB are kept, unless told not to.
        """
        if keep and len(texts) * len(videos) <= _HELD:
            return cls.of_matrix((texts @ videos.T).div_(temperature))
        across = videos.T

        def tile(rows: slice, columns: slice) -> Tensor:
            return (texts[rows] @ across[:, columns]).div_(temperature)

        return cls((len(texts), len(videos)), tile, texts.new_empty(0))


class Scratch:
    """Memory for one tile after the other: new memory takes longer than what is computed in it."""

    def __init__(self, like: Tensor) -> None:
        self._memory = like.new_empty(0)

    def of(self, tile: Float[Tensor, "r c"]) -> Float[Tensor, "r c"]:
        """Return a tensor of the shape of a tile, whose content is about to be written."""
        if self._memory.numel() < tile.numel():
            self._memory = self._memory.new_empty(tile.numel())
        return self._memory[: tile.numel()].view(tile.shape)


@dataclass(frozen=True)
class Tile:
    """A part of the scores, and where the true pairs in it are.

    Attributes:
        rows: texts.
        columns: videos.
        texts: row and column of each text that meets its video.
        videos: the same, where the texts of a video are one row.
        group: that row for each text; None where every text is one.
    """

    rows: slice
    columns: slice
    texts: tuple[Int[Tensor, "p"], Int[Tensor, "p"]]
    videos: tuple[Int[Tensor, "p"], Int[Tensor, "p"]]
    group: Int[Tensor, "r"] | None


class Tiles:
    """Tiles that cover the scores; the texts of a video are never in two of them.

    Args:
        similarity: the scores.
        owners: which video each text is about, in ascending order; every video has a text.
    """

    def __init__(self, similarity: Similarity, owners: Int[Tensor, "t"]) -> None:
        self.owners = owners
        self.num_videos = similarity.shape[1]
        area = _TILE if owners.device.type == "cpu" else _TILE_OF_GPU
        self.width = min(self.num_videos, 2 * int(area**0.5))
        # The first text of each video, and the videos that rows of tiles begin with.
        self.first: list[int] = [0, *as_list(torch.bincount(owners).cumsum(0))]
        self.begins = [0]
        for video in range(1, self.num_videos):
            if self.first[video + 1] - self.first[self.begins[-1]] > area // self.width:
                self.begins.append(video)

    def __iter__(self) -> Iterator[Tile]:
        device = self.owners.device
        grouped = len(self.owners) != self.num_videos
        for top, bottom in pairwise([*self.begins, self.num_videos]):
            rows = slice(self.first[top], self.first[bottom])
            group = self.owners[rows] - top if grouped else None
            for left in range(0, self.num_videos, self.width):
                right = min(left + self.width, self.num_videos)
                start, stop = max(top, left), max(top, left, min(bottom, right))
                videos = torch.arange(start, stop, device=device)
                texts = torch.arange(self.first[start], self.first[stop], device=device)
                yield Tile(
                    rows,
                    slice(left, right),
                    (texts - rows.start, self.owners[texts] - left),
                    (videos - top, videos - left),
                    group,
                )


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
        tile = without_nan(similarity.tile(rows, slice(0, num_videos)))
        of_texts.append(tile.topk(min(k, num_videos), dim=1).indices)
        numbers = torch.arange(rows.start, rows.stop, device=like.device).expand(num_videos, -1)
        scores, texts = torch.cat([scores, tile.T], dim=1), torch.cat([texts, numbers], dim=1)
        scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
        texts = texts.gather(1, kept)
    return torch.cat(of_texts).cpu(), texts.cpu()


def without_nan(scores: Tensor) -> Tensor:
    """Return scores in which what is not a number is smaller than all others."""
    # The maximum is NaN where anything is, and much faster to have than a mask.
    return scores.masked_fill(scores.isnan(), -torch.inf) if scores.amax().isnan() else scores
