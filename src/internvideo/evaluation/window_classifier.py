"""Sliding windows: moments from a classifier of short clips, the baseline of every detector.

    features ─► head, softmax, smooth ─► scores of each row ─► stretches above thresholds ─► merged

A row has the mean scores of all windows that see its centre. A stretch is a run of rows whose score
of a class is above a threshold; those of several thresholds compete, as actions are not equally
clear. Its score is the mean inside less that outside, which prefers whole actions to their clearest
moment (outer-inner contrast: Shou et al., AutoLoc, ECCV 2018).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from internvideo.data.feature_videos import FeatureVideoSource
from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.segment_nms import SegmentNMS
from internvideo.evaluation.segments import Segments
from internvideo.evaluation.stretches import runs
from internvideo.models.contract import has
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["WindowClassifier", "smoothed", "stretches"]

_MARGIN = 0.25  # of a stretch, on both sides: what is outside of it
_THRESHOLDS = tuple(step / 10 for step in range(1, 10))
_MERGE = SegmentNMS(method="gaussian", sigma=0.5, max_segments=200)


class WindowClassifier(Answerer[Segments]):
    """Finds moments in the features that the encoder of a classifier made of sliding windows.

    Args:
        model: the classifier; a row of the features is what its head takes.
        source: the videos.

    Raises:
        ConfigError: the model is no classifier, or the features are those of another one.
    """

    def __init__(self, model: LoadedModel, source: FeatureVideoSource) -> None:
        network = model.model
        if not has(network, "classes"):
            raise ConfigError(f"{model.name} has no classes; give a detector, or a classifier")
        super().__init__(model.model.eval(), model.protocol)
        self.head = network.head
        self.source = source
        self.weights = weights_sha256(self.network)
        origin = source.store.origin()
        if origin is not None and origin.weights_sha256 not in ("", self.weights):
            raise ConfigError(
                f"{model.name} classifies the features of its own encoder only; these were made by "
                f"{origin.model}"
            )

    def answer(self, batch: Batch) -> list[Segments]:
        """Return the moments of each video, in seconds."""
        return [self._find(video.index, torch.flatten(video.views, 0, 1)) for video in batch.videos]

    def _find(self, index: int, rows: Float[torch.Tensor, "t c"]) -> Segments:
        head = self.head
        if rows.shape[1] != head.in_features:
            raise ConfigError(
                f"the features have {rows.shape[1]} channels, the head of the classifier takes "
                f"{head.in_features}; extract them with this classifier, without --layer and --pool"
            )
        with torch.no_grad():
            logits = head(rows.to(head.weight.device, head.weight.dtype)).float()
        features = self.source.features(index)
        reach = int(0.5 * features.window / features.stride)
        found = stretches(smoothed(logits.softmax(dim=1).cpu().numpy(), reach))
        times = features.seconds_at(found.times).clip(0, features.duration)
        return _MERGE(Segments(times, found.scores, found.labels))

    def from_json(self, line: dict[str, Any]) -> Segments:
        """Return the moments of a line."""
        return Segments.from_dict(line)

    def identity(self) -> dict[str, Any]:
        """Return what the moments depend on."""
        folders = str(self.source.store.files.folders)
        return {"weights": self.weights, "features": folders}


def smoothed(scores: Float[np.ndarray, "t k"], reach: int) -> Float[np.ndarray, "t k"]:
    """Return the mean of each row and of those up to so many rows before and behind it."""
    sums, rows = _sums(scores), np.arange(len(scores))
    first, end = np.maximum(rows - reach, 0), np.minimum(rows + reach + 1, len(scores))
    return (sums[end] - sums[first]) / (end - first)[:, None]


def stretches(
    scores: Float[np.ndarray, "t k"], thresholds: tuple[float, ...] = _THRESHOLDS
) -> Segments:
    """Return the runs of rows above each threshold, class by class.

    Args:
        scores: of the classes in every row.
        thresholds: a stretch lies above one of them.

    Returns:
        Times in rows, half a row beyond the first and the last one; scores are contrasts.
    """
    sums, parts = _sums(scores), [Segments.none()]
    for label, threshold in product(range(scores.shape[1]), thresholds):
        rows = runs(scores[:, label] > threshold)
        contrast = _contrast(sums[:, label], rows[:, 0], rows[:, 1] + 1)
        parts.append(Segments(rows + np.array([-0.5, 0.5]), contrast, np.full(len(rows), label)))
    return Segments.joined(parts)


def _contrast(
    sums: Float[np.ndarray, " s"], first: Int[np.ndarray, " n"], end: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return the mean from `first` up to, without, `end`, less that of the margins."""
    length = end - first
    margin = np.ceil(_MARGIN * length).astype(np.int64)
    left, right = np.maximum(first - margin, 0), np.minimum(end + margin, len(sums) - 1)
    inside = sums[end] - sums[first]
    outside = sums[right] - sums[left] - inside
    return inside / length - outside / np.maximum(right - left - length, 1)


def _sums(scores: Float[np.ndarray, "t k"]) -> Float[np.ndarray, "s k"]:
    """Return the sums of the first 0, 1, … rows."""
    return np.pad(scores.cumsum(axis=0, dtype=np.float64), ((1, 0), (0, 0)))
