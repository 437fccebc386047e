"""From the logits of many views to one answer per video.

A video is tested through several clips and crops. The reference writes one row of logits for each
of these views, from several processes that may repeat some, and then merges:

    rows ──► drop repeated (video, clip, crop) ──► softmax in float64 ──► mean over the views

Averaging raw logits instead (`use_softmax=False`) is its option "score". An ensemble pools the
views of several runs, so a run with more views counts for more.

Letters: n rows (views), v videos, k classes.

Source: fixture `videomae-merge-views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import DataError

__all__ = ["MergedViews", "ViewLogits", "accuracy_percent", "best_classes", "merge_views"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewLogits:
    """The logits of one run, a row for each view, in the order of writing.

    Attributes:
        logits: "n k".
        video: number of the video of each row.
        clip: number of its clip.
        crop: number of its crop.
    """

    logits: Float[Tensor, "n k"]
    video: Int[Tensor, " n"]
    clip: Int[Tensor, " n"]
    crop: Int[Tensor, " n"]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.logits, self.video, self.clip, self.crop)}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")

    def without_repeats(self) -> ViewLogits:
        """Return the first row of every (video, clip, crop), in the order of writing."""
        triples = torch.stack([self.video, self.clip, self.crop], dim=1)
        unique, group = _groups(triples, dim=0)
        place = torch.arange(len(group), device=group.device)
        first = torch.full((len(unique),), len(group), dtype=place.dtype, device=group.device)
        kept = first.scatter_reduce(0, group, place, reduce="amin").sort().values
        return ViewLogits(
            logits=self.logits[kept], video=self.video[kept], clip=self.clip[kept],
            crop=self.crop[kept],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedViews:
    """One row for each video.

    Attributes:
        video: the numbers of the videos, ascending.
        scores: "v k" float64: mean probabilities, or mean logits.
        num_views: how many views were averaged.
    """

    video: Int[Tensor, " v"]
    scores: Float[Tensor, "v k"]
    num_views: Int[Tensor, " v"]


def merge_views(
    runs: ViewLogits | Sequence[ViewLogits], *, use_softmax: bool = True
) -> MergedViews:
    """Average the views of each video, of one run or pooled over several.

    Args:
        runs: the views of one run, or of each member of an ensemble (same videos and classes).
        use_softmax: average probabilities, the published rule; False averages raw logits.

    Returns:
        Scores of each video; every view weighs the same.

    Raises:
        DataError: no views, or runs with different numbers of classes.
    """
    members = [run.without_repeats() for run in ([runs] if isinstance(runs, ViewLogits) else runs)]
    if not members or not any(len(member.video) for member in members):
        raise DataError("there are no views to merge: give at least one run with predictions")
    if len(classes := {member.logits.shape[1] for member in members}) > 1:
        raise DataError(
            f"runs with {' and '.join(map(str, sorted(classes)))} classes cannot be averaged; "
            "evaluate all of them on the same classes"
        )
    logits = torch.cat([member.logits for member in members]).double()
    shares = logits.softmax(dim=1) if use_softmax else logits
    videos, group = _groups(torch.cat([member.video for member in members]))
    num_views = torch.bincount(group, minlength=len(videos))
    totals = shares.new_zeros(len(videos), shares.shape[1]).index_add_(0, group, shares)
    return MergedViews(video=videos, scores=totals / num_views[:, None], num_views=num_views)


def _groups(values: Tensor, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the different values in ascending order, and the number of each one's group."""
    found = values.unique(dim=dim, return_inverse=True)  # pyright: ignore
    return cast("tuple[Tensor, Tensor]", found)


def best_classes(scores: Float[Tensor, "v k"], count: int) -> Int[Tensor, "v c"]:
    """Return the `count` best classes of each row, best first; of equal ones the first counts."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


def accuracy_percent(
    scores: Float[Tensor, "v k"], labels: Int[Tensor, " v"], *, top: int = 1
) -> float:
    """Return the percentage of rows whose label is among the `top` best classes."""
    hits = (best_classes(scores, top) == labels[:, None]).any(dim=1)
    return 100 * float(hits.double().mean())
