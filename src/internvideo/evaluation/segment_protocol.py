"""By which overlaps and which rules found segments are measured; the classes of both sides."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.errors import ConfigError, did_you_mean
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_metrics import without_repeats
from internvideo.evaluation.segments import Segments
from internvideo.zoo.labels import letters_of

__all__ = [
    "THRESHOLDS",
    "Evaluator",
    "about_truth",
    "overlaps",
    "own_numbers",
    "true_segments",
    "usual_overlaps",
]

Evaluator: TypeAlias = Literal["official", "actionformer", "actionformer-release"]
"""Which true segments count: all; without repeated ones; nor those without length."""

THRESHOLDS: dict[str, tuple[float, ...]] = {
    "activitynet": tuple(np.linspace(0.5, 0.95, 10).tolist()),
    "thumos14": tuple(np.linspace(0.3, 0.7, 5).tolist()),
    "ego4d": tuple(np.linspace(0.1, 0.5, 5).tolist()),
}
"""The overlaps that the mAP of a data set is the mean over."""

_FORMATS = {"ego4d-mq": "ego4d", "thumos14": "thumos14"}
_TOLERANCE = 1e-3


def usual_overlaps(kind: str) -> str:
    """Return whose overlaps data of a format is measured at; ActivityNet's where none are known."""
    return _FORMATS.get(kind, "activitynet")


def overlaps(text: str) -> tuple[float, ...]:
    """Return the overlaps that a text names: a data set, or numbers such as "0.3,0.5,0.7".

    Raises:
        ConfigError: neither, or a number that is no overlap.
    """
    if text in THRESHOLDS:
        return THRESHOLDS[text]
    try:
        values = tuple(float(each) for each in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value <= 1 for value in values):
        raise ConfigError(
            f"overlaps {text!r} are neither one of {', '.join(THRESHOLDS)} nor numbers above 0 up "
            f"to 1, such as 0.3,0.5,0.7.{did_you_mean(text, THRESHOLDS)}"
        )
    return tuple(sorted(set(values)))


def true_segments(videos: AnnotatedVideos, evaluator: Evaluator = "official") -> SegmentTable:
    """Return the true segments of all videos, whose numbers are their places.

    A segment without end lasts to the end of its video; one without label has that of its video.
    """
    parts: list[Segments] = []
    for video in videos.videos:
        rows = [
            (
                segment.start,
                (video.duration or 0.0) if segment.end is None else segment.end,
                video.label if segment.label is None else segment.label,
            )
            for segment in video.segments
        ]
        known = [row for row in rows if row[2] is not None]
        parts.append(
            Segments(
                np.reshape(np.array([row[:2] for row in known], np.float64), (-1, 2)),
                np.ones(len(known)),
                np.array([row[2] for row in known], np.int64),
            )
        )
    truth = SegmentTable.of(parts)
    if evaluator == "official":
        return truth
    min_length = _TOLERANCE if evaluator == "actionformer-release" else 0.0
    return without_repeats(truth, tolerance=_TOLERANCE, min_length=min_length)


def about_truth(videos: AnnotatedVideos, truth: SegmentTable) -> list[str]:
    """Return what is odd about the annotations: how many, and the first of them."""
    if not len(truth):
        return [f"{videos.file} has no true segments here, so nothing was measured"]
    said: list[str] = []
    start, end = truth.segments.times[:, 0], truth.segments.times[:, 1]
    durations = np.array([each.duration or np.inf for each in videos.videos])[truth.videos]
    kinds: dict[str, Bool[np.ndarray, " n"]] = {
        "true segments have no length, so that no prediction with one can hit them": end == start,
        "true segments end after their video": end > durations + 0.01,
    }
    for what, odd in kinds.items():
        if odd.any():
            first = int(np.flatnonzero(odd)[0])
            name = videos.videos[int(truth.videos[first])].id
            said.append(
                f"{int(odd.sum())} {what}; they count, as in the official evaluation "
                f"(such as {name}, {start[first]:g} to {end[first]:g} s)"
            )
    for first, *others in [videos.bad_lines] if videos.bad_lines else []:
        more = f" and {len(others)} more" if others else ""
        said.append(f"left out of the annotations: {first.message}{more}")
    return said


def own_numbers(classes: Sequence[str] | int, videos: AnnotatedVideos) -> Int[np.ndarray, " k"]:
    """Return the number in the annotations of each class of a model; -1 where they have it not.

    Where no name is equal, letters and digits count: "MoveLeft" is "move left".

    Args:
        classes: names of the model's classes, or how many nameless ones there are.
        videos: annotations with class names.

    Raises:
        ConfigError: they have no class in common, or another number of nameless ones.
    """
    names = videos.class_names or ()
    if isinstance(classes, int):
        if classes == len(names):
            return np.arange(classes)
        raise ConfigError(
            f"the model finds segments of {classes} classes without names, but {videos.file} has "
            f"{len(names)} classes; give annotations of the classes that it was trained on"
        )
    places = {letters_of(name): place for place, name in enumerate(names)}
    places |= {name: place for place, name in enumerate(names)}
    numbers = [places.get(name, places.get(letters_of(name), -1)) for name in classes]
    if max(numbers) < 0:
        few = ", ".join(map(repr, names[:2])) or "none"
        raise ConfigError(
            f"the model knows none of the classes of {videos.file}: it has {classes[0]!r} and "
            f"{len(classes) - 1} more, they are {few}, …; use annotations with the same names"
        )
    return np.array(numbers, np.int64)
