"""From an annotated video to a training sequence: rows, the actions among them, a window of both.

Times of actions are in rows: the centre of row i is i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from internvideo.annotations import VideoAnnotation
from internvideo.data.features import FeatureSequence
from internvideo.evaluation.arrays import from_numpy
from internvideo.evaluation.localizer import on_grid

__all__ = ["Outside", "Sequence", "actions_of", "cut", "draw_window", "on_grid"]

Outside: TypeAlias = Literal["keep", "drop", "clip"]
"""What becomes of actions that reach beyond the rows of a video."""

_REPEATED = 1e-3  # seconds
_TRIALS = 200


@dataclass(frozen=True, eq=False, slots=True)
class Sequence:
    """Rows of a video, or of a part of it, with the actions in them.

    Attributes:
        features: the rows.
        segments: start and end of the actions.
        labels: their classes.
        reach: rows by which a window sees beyond its first and last row.
    """

    features: Float[Tensor, "t c"]
    segments: Float[Tensor, "n 2"]
    labels: Int[Tensor, " n"]
    reach: float = 0.0

    def __len__(self) -> int:
        return len(self.features)


def actions_of(
    video: VideoAnnotation,
    rows: FeatureSequence,
    *,
    one_class: bool = False,
    merge_repeated: bool = False,
    outside: Outside = "keep",
    least_share: float = 0.5,
) -> Sequence:
    """Return the rows of a video with its actions; one without length is left out.

    Args:
        video: its annotation; an action without end lasts to the end of the rows.
        rows: what the detector sees of it.
        one_class: all actions are of class 0.
        merge_repeated: keep the first of actions of a class that are equal up to 1 ms.
        outside: of actions that reach beyond the last row "drop" keeps those that lie inside with
            at least `least_share`, cut off at the end of its window, as ActionFormer does on
            ActivityNet; "clip" keeps all that begin before, cut off at its centre, as InternVideo
            does there; "keep" keeps all.
        least_share: see `outside`.
    """
    end = float(rows.seconds_at(np.array(len(rows) - 0.5)))
    listed = [
        (each.start, end if each.end is None else each.end, label or 0)
        for each in video.segments
        for label in [video.label if each.label is None else each.label]
    ]
    times = np.reshape(np.array([each[:2] for each in listed], np.float32), (-1, 2))
    labels = np.array([each[2] for each in listed], np.int64)
    kept = times[:, 1] > times[:, 0]
    if merge_repeated:
        kept &= ~_repeats(times, labels)
    segments = rows.rows_at(times).astype(np.float32)
    limit = len(rows) + (0.5 * rows.window / rows.stride if outside == "drop" else 0.0)
    if outside != "keep":
        kept &= segments[:, 0] < limit
        inside = segments.clip(max=limit)
        if outside == "drop":
            length = np.maximum(np.diff(segments)[:, 0], np.finfo(np.float32).tiny)
            kept &= np.diff(inside)[:, 0] / length >= least_share
        segments = inside
    return Sequence(
        rows.features,
        from_numpy(segments[kept]),
        from_numpy(np.zeros_like(labels[kept]) if one_class else labels[kept]),
        reach=0.5 * rows.window / rows.stride,
    )


def _repeats(
    times: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Return which actions repeat an earlier one."""
    near = np.abs(times[:, None] - times).max(axis=-1, initial=0) <= _REPEATED
    return np.tril(near & (labels[:, None] == labels), k=-1).any(axis=1)


def cut(video: Sequence, start: int, length: int, *, least_share: float, reach: float) -> Sequence:
    """Return a window of a sequence, with the actions of which enough lies in it.

    Args:
        video: the whole.
        start: first row of the window.
        length: its rows.
        least_share: of an action; a smaller part is no action.
        reach: rows by which it counts beyond both ends.
    """
    first = video.segments[:, 0].clamp(min=start - reach)
    last = video.segments[:, 1].clamp(max=start + length + reach)
    whole = video.segments[:, 1] - video.segments[:, 0]
    kept = (last - first).clamp(min=0) / whole.abs() >= least_share
    return replace(
        video,
        features=video.features[start : start + length],
        segments=torch.stack([first, last], dim=1)[kept] - start,
        labels=video.labels[kept],
    )


def draw_window(
    video: Sequence,
    max_length: int,
    rng: np.random.Generator,
    *,
    crop: tuple[float, float] | None,
    least_share: float,
    reach: float,
) -> Sequence:
    """Return a random window of at most `max_length` rows, where possible with an action.

    Args:
        video: the whole.
        max_length: a longer one is cut to this.
        rng: draws the window.
        crop: a shorter one is cut to a share of itself between these; None leaves it whole.
        least_share: see `cut`.
        reach: see `cut`.
    """
    length = max_length
    if len(video) <= max_length:
        if crop is None:
            return video
        low, high = (
            max(round(crop[0] * len(video)), 1),
            min(round(crop[1] * len(video)), len(video)),
        )
        length = int(rng.integers(low, high, endpoint=True))
        if length == len(video):
            return video
    window = video
    for _ in range(_TRIALS):
        start = int(rng.integers(0, len(video) - length, endpoint=True))
        window = cut(video, start, length, least_share=least_share, reach=reach)
        if len(window.labels) or not len(video.labels):
            break
    return window
