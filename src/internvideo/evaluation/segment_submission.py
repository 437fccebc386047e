"""Segments of many videos in the file that the official evaluators and servers take.

    {"version": "VERSION 1.3", "external_data": {},
     "results": {"VIDEO": [{"label": "Ballet", "score": 0.9, "segment": [3.1, 7.4]}, …]}}

Without `segment` it says what happens in a whole video, as for the classification of ActivityNet. A
million predictions are read without an object for each.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (NumPy leaves the types of many arrays open)

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.errors import DataError, did_you_mean
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segments import Segments
from internvideo.files import json_text, write_whole
from internvideo.formats.files import read_text

__all__ = ["Submission", "read_submission", "submission_rows", "write_submission"]

_SHOWN = 120


@dataclass(frozen=True, eq=False)
class Submission:
    """What a file says.

    Attributes:
        videos: names, whose places the table counts in: first the known ones, in their order.
        table: the predictions in the order of the file.
        whole_videos: they are about whole videos; all times are 0 to 1.
    """

    videos: tuple[str, ...]
    table: SegmentTable
    whole_videos: bool = False


class _Row(int):
    """The number of a prediction; no number of the file is one."""

    __slots__ = ()


class _Rows:
    """Takes the predictions while the json is read; in its place stays their number."""

    def __init__(self, classes: Sequence[str] | None) -> None:
        self.classes = classes
        self.numbers = {name: number for number, name in enumerate(classes or ())}
        self.unknown: dict[str, int] = {}
        self.times, self.scores, self.labels = array("d"), array("d"), array("q")
        self.without_times = 0

    def take(self, said: dict[str, Any]) -> Any:
        """Keep a prediction; anything else is left as it is."""
        try:
            label, score, segment = said["label"], said["score"], said.get("segment")
            start, end = (0.0, 1.0) if segment is None else segment
            values = float(start), float(end), float(score)
        except (KeyError, TypeError, ValueError):
            return said
        self.times.extend(values[:2])
        self.scores.append(values[2])
        self.without_times += segment is None
        number = 0 if self.classes is None else self.numbers.get(label)
        if number is None:
            number = -1 - self.unknown.setdefault(str(label), len(self.unknown))
        self.labels.append(number)
        return _Row(len(self.scores) - 1)


def read_submission(
    path: Path, videos: Sequence[str], classes: Sequence[str] | None, *, key: str = "results"
) -> Submission:
    """Read a file of predictions.

    Args:
        path: the file.
        videos: names of the annotated videos; others may occur, and are called so.
        classes: names of the classes; None: labels mean nothing, and become 0.
        key: what the predictions stand under; Ego4D has "detect_results".

    Raises:
        DataError: no predictions, one that is none, a score or time that is no number, an unknown
            class, or none of the videos is known.
    """
    rows = _Rows(classes)
    try:
        content = json.loads(read_text(path), object_hook=rows.take)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not json ({error.msg}); check that it was copied completely"
        ) from None
    results = content.get(key) if isinstance(content, dict) else None
    if not isinstance(results, dict):
        held = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f'{path} has no "{key}" (it holds {held[:_SHOWN]}); expected {{"{key}": {{"VIDEO": '
            '[{"label", "score", "segment"}, …]}}'
        )
    numbers = {name: number for number, name in enumerate(videos)}
    places, order = array("q"), array("q")
    for name, found in results.items():
        number = numbers.setdefault(name, len(numbers))
        for place, each in enumerate(found if isinstance(found, list) else [found]):
            if not isinstance(each, _Row):
                raise DataError(
                    f"{path}: prediction {place + 1} of {name} is {str(each)[:_SHOWN]}; expected "
                    '{"label": "…", "score": 0.9, "segment": [start, end]}'
                )
            order.append(each)
            places.append(number)
    chosen = np.array(order, np.int64)
    times = np.reshape(np.array(rows.times, np.float64), (-1, 2))[chosen]
    scores, labels = np.array(rows.scores)[chosen], np.array(rows.labels, np.int64)[chosen]
    table = SegmentTable(np.array(places, np.int64), Segments(times, scores, labels))
    _check(path, table, tuple(numbers), videos, classes or (), list(rows.unknown))
    if rows.without_times not in (0, len(rows.scores)):
        raise DataError(
            f"{path}: {rows.without_times} of {len(rows.scores)} predictions have no segment; "
            "expected all or none to have one"
        )
    whole = bool(rows.without_times)
    return Submission(tuple(numbers), table, whole_videos=whole)


def _check(
    path: Path,
    table: SegmentTable,
    names: Sequence[str],
    videos: Sequence[str],
    classes: Sequence[str],
    unknown: Sequence[str],
) -> None:
    """Refuse what cannot be scored; the first prediction of the kind is named."""
    found = table.segments
    finite = np.isfinite(found.scores) & np.isfinite(found.times).all(axis=1)
    if len(bad := np.flatnonzero(~finite)):
        first = int(bad[0])
        raise DataError(
            f"{path}: a prediction for {names[int(table.videos[first])]} has the score "
            f"{found.scores[first]} and the segment {found.times[first].tolist()}; expected finite "
            f"numbers ({len(bad)} are like that)"
        )
    if len(bad := np.flatnonzero(found.labels < 0)):
        first = int(bad[0])
        label = unknown[-1 - int(found.labels[first])]
        raise DataError(
            f"{path}: a prediction for {names[int(table.videos[first])]} has the class {label!r}, "
            f"which is none of the {len(classes)} of the annotations ({len(bad)} predictions of "
            f"{len(unknown)} such classes).{did_you_mean(label, classes)}"
        )
    if len(table) and not (table.videos < len(videos)).any():
        name = names[int(table.videos[0])]
        raise DataError(
            f"{path}: none of its videos is annotated, such as {name}; check the split, and that "
            f"the names are those of the annotations.{did_you_mean(name, videos)}"
        )


def write_submission(
    path: Path,
    found: Iterable[tuple[str, Segments]],
    classes: Sequence[str],
    *,
    key: str = "results",
    header: Mapping[str, Any] | None = None,
) -> None:
    """Write the predictions of videos as the servers of ActivityNet take them.

    Args:
        path: the file.
        found: names of videos and their segments.
        classes: names of the labels.
        key: what they stand under.
        header: what stands above them; that of ActivityNet by default.
    """
    above = header or {"version": "VERSION 1.3", "external_data": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json_text({**above, key: submission_rows(found, classes)})}\n")


def submission_rows(
    found: Iterable[tuple[str, Segments]], classes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the segments of videos as such a file lists them, by the names of the videos."""
    results: dict[str, list[dict[str, Any]]] = {}
    for name, each in found:
        columns = each.to_dict()
        results[name] = [
            {"label": classes[label], "score": score, "segment": times}
            for times, score, label in zip(
                columns["segments"], columns["scores"], columns["labels"], strict=True
            )
        ]
    return results
