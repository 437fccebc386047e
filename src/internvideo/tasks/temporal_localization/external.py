"""Classes from elsewhere: what happens in a whole video, for detectors that know no classes.

    detector ──► when something happens ─┐
                                         ├──► each of the best segments once for each of the two
    video-level scores ──► what it is  ──┘    likeliest classes, scored sqrt(p_class · p_segment)

| file                                            |                                                |
|-------------------------------------------------|------------------------------------------------|
| json {"results": {video: [p_0, …, p_K-1]}}      | ActionFormer; `results` may be missing         |
| json {"results": {video: [{"label", "score"}]}} | the classification of ActivityNet              |
| npy, videos × classes                           | UntrimmedNet on THUMOS14; row n-1 is video n   |
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.errors import DataError, did_you_mean
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segments import Segments
from internvideo.formats.files import opened, read_json
from internvideo.zoo.labels import label_names, letters_of

__all__ = ["ExternalScores", "fuse", "holds_scores", "read_external_scores"]

_UCF101 = "ucf101/official"
_NUMBER = re.compile(r"(\d+)$")
_SHOWN = 80
_SCORES = re.compile(r"[^\[]*\[\s*\[?\s*-?[\d.]")
_LOOKED_AT = 2000


@dataclass(frozen=True, eq=False)
class ExternalScores:
    """How likely each class is in each video.

    Attributes:
        file: where they come from.
        rows: of each video, one probability a class.
        num_changed: videos whose numbers were logits.
        others: of each video, the score of the likeliest class that the annotations do not have.
    """

    file: Path
    rows: Mapping[str, Float[np.ndarray, " k"]]
    num_changed: int = 0
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """What a report says of them."""
        logits = f"; the logits of {self.num_changed} became a softmax" if self.num_changed else ""
        return f"classes of {len(self.rows)} videos by {self.file}{logits}"

    def table(self, places: Mapping[str, int]) -> SegmentTable:
        """Return every class of every video as a prediction about the whole; all times are 0 to 1.

        Classes that the annotations do not have are one more, the last.

        Args:
            places: numbers of the videos.
        """
        scores = np.stack([np.append(row, self.others.get(n, 0.0)) for n, row in self.rows.items()])
        labels = np.tile(np.arange(scores.shape[1]), len(scores))
        numbers = np.repeat([places[name] for name in self.rows], scores.shape[1])
        times = np.tile([0.0, 1.0], (scores.size, 1))
        return SegmentTable(numbers, Segments(times, scores.ravel(), labels))

    def of(self, video: str) -> Float[np.ndarray, " k"]:
        """Return the scores of a video.

        Raises:
            DataError: there are none.
        """
        if video not in self.rows:
            raise DataError(
                f"{self.file} has no scores of {video} (it has those of {len(self.rows)} videos); "
                f"every video needs some.{did_you_mean(video, self.rows)}"
            )
        return self.rows[video]


def holds_scores(path: Path) -> bool:
    """Tell whether a file holds a number for each class of a video: an array, or such a json."""
    if path.suffix.lower() == ".npy":
        return True
    with opened(path, errors="surrogateescape") as file:
        return _SCORES.match(file.read(_LOOKED_AT)) is not None


def read_external_scores(
    path: Path, videos: Sequence[str], classes: Sequence[str]
) -> ExternalScores:
    """Read the scores of some videos.

    Numbers of a json that are not between 0 and 1 are logits, which become a softmax, as in
    InternVideo. Rows of an array that sum to more than 1 are sums over networks, and are divided.

    Args:
        path: the file.
        videos: names of the videos whose scores are wanted.
        classes: names of the classes, in the order of the scores.

    Raises:
        DataError: a video is missing, or its scores are not one for each class.
    """
    is_array = path.suffix.lower() == ".npy"
    others: dict[str, float] = {}
    found = _array(path, videos, classes, others) if is_array else _json(path, classes)
    missing = [name for name in videos if name not in found]
    if missing:
        raise DataError(
            f"{path} has no scores of {missing[0]} ({len(missing)} of {len(videos)} videos are "
            f"missing); every video needs some.{did_you_mean(missing[0], found)}"
        )
    rows: dict[str, Float[np.ndarray, " k"]] = {}
    num_changed = 0
    for name in videos:
        row = found[name]
        if row.shape != (len(classes),) or not np.isfinite(row).all():
            raise DataError(
                f"{path}: the scores of {name} are {str(row.tolist())[:_SHOWN]}; expected "
                f"{len(classes)} finite numbers, one for each class"
            )
        if not is_array and (row.min() < 0 or row.max() > 1):
            row, num_changed = _softmax(row), num_changed + 1
        rows[name] = row
    return ExternalScores(path, rows, num_changed, others)


def _softmax(row: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def _json(path: Path, classes: Sequence[str]) -> dict[str, Float[np.ndarray, " k"]]:
    content = read_json(path)
    results = content.get("results", content) if isinstance(content, dict) else None
    if not isinstance(results, dict) or not results:
        raise DataError(
            f'{path} has no scores; expected {{"results": {{"VIDEO": [one number a class]}}}}'
        )
    return {name: _row(path, name, values, classes) for name, values in results.items()}


def _row(path: Path, name: str, values: Any, classes: Sequence[str]) -> Float[np.ndarray, " k"]:
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    row = np.zeros(len(classes))
    places = {each: place for place, each in enumerate(classes)}
    try:
        if not values or not isinstance(values[0], Mapping):
            return np.array(values, np.float64)
        for each in values:
            row[places[each["label"]]] = each["score"]
    except KeyError as error:
        label = str(error.args[0])
        raise DataError(
            f"{path}: the scores of {name} lack a label or have the class {label!r}, which is none "
            f"of the {len(classes)} of the annotations.{did_you_mean(label, classes)}"
        ) from None
    except (TypeError, ValueError):
        raise DataError(
            f"{path}: the scores of {name} are {str(values)[:_SHOWN]}; expected one number a class"
        ) from None
    return row


def _array(
    path: Path, videos: Sequence[str], classes: Sequence[str], others: dict[str, float]
) -> dict[str, Float[np.ndarray, " k"]]:
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}") from None
    columns = list(range(len(classes)))
    ucf101 = [letters_of(name) for name in label_names(_UCF101)]
    if table.ndim == 2 and table.shape[1] == len(ucf101) != len(classes):
        columns = [ucf101.index(each) for each in map(letters_of, classes) if each in ucf101]
    if table.ndim != 2 or table.dtype.kind != "f" or len(columns) != len(classes) or (
        table.shape[1] not in (len(classes), len(ucf101))
    ):  # fmt: skip
        raise DataError(
            f"{path} is an array {table.shape} of {table.dtype}; expected rows of {len(classes)} "
            f"scores, one a class, or of {len(ucf101)} of UCF101 that hold these classes"
        )
    rows: dict[str, Float[np.ndarray, " k"]] = {}
    for name in videos:
        match = _NUMBER.search(name)
        if match is not None and 1 <= int(match[1]) <= len(table):
            row = table[int(match[1]) - 1].astype(np.float64)
            row = row / row.sum() if row.max() > 1 else row
            rows[name] = row[columns]
            others[name] = float(np.delete(row, columns).max(initial=0.0))
    return rows


def fuse(
    found: Segments, scores: Float[np.ndarray, " k"], *, most: int = 200, top: int = 2
) -> Segments:
    """Return the surest segments, once for each of the likeliest classes of their video.

    Args:
        found: segments whose labels mean nothing.
        scores: of the classes in the video, between 0 and 1.
        most: how many segments.
        top: how many classes.
    """
    best = found.by_score()[:most]
    classes = np.argsort(-scores, kind="stable")[:top]
    return Segments(
        np.tile(best.times, (len(classes), 1)),
        np.sqrt(np.outer(scores[classes], best.scores)).ravel(),
        np.repeat(classes, len(best)),
    )
