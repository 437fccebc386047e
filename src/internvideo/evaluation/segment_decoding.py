"""From the candidates of a detector to segments, before those of one action are merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from internvideo.data.features import FeatureSequence
from internvideo.evaluation.segments import Segments
from internvideo.models.actionformer import Candidates
from internvideo.models.actionformer_config import Selection

__all__ = ["decode", "in_seconds"]


def decode(
    found: Candidates, strides: Sequence[int], selection: Selection | None = None
) -> list[Segments]:
    """Return the segments of each video, level by level and there from the surest on; in rows.

    A point may find an action of several classes: it is a segment for each.

    Args:
        found: what the detector says.
        strides: of its levels.
        selection: which candidates count.
    """
    selection = selection or Selection()
    videos: list[Segments] = []
    for video in range(len(found.logits[0])):
        parts = [
            _of_level(
                logits[video],
                offsets[video],
                None if found.valid is None else found.valid[level][video],
                stride,
                selection,
            )
            for level, (logits, offsets, stride) in enumerate(
                zip(found.logits, found.offsets, strides, strict=True)
            )
        ]
        times, scores, labels = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        videos.append(Segments(times, scores, labels))
    return videos


def _of_level(
    logits: Float[Tensor, "s k"],
    offsets: Float[Tensor, "s 2"],
    valid: Bool[Tensor, " s"] | None,
    stride: int,
    selection: Selection,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return times, scores and labels of one level."""
    scores = logits.float().sigmoid()
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None], 0)
    scores, num_classes = scores.flatten(), scores.shape[1]
    order = (scores > selection.min_score).nonzero()[:, 0]
    if len(order):
        best = scores[order].topk(min(selection.per_level, len(order))).indices
        order = order[best]
    points, labels = order // num_classes, order % num_classes
    reach = offsets[points].float() * stride
    centre = (points * stride).float()[:, None]
    times = torch.cat([centre - reach[:, :1], centre + reach[:, 1:]], dim=1)
    long = (times[:, 1] - times[:, 0]) > selection.min_length
    return times[long], scores[order][long], labels[long]


def in_seconds(found: Segments, video: FeatureSequence) -> Segments:
    """Return segments in rows as segments in seconds, cut to the video."""
    times = np.maximum(video.seconds_at(found.times), 0)
    if video.duration is not None:
        times = np.minimum(times, video.duration)
    return Segments(times, found.scores, found.labels)
