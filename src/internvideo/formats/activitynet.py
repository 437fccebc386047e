"""ActivityNet, HACS Segments and FineAction: parts of longer videos, in seconds.

| file                                                     |                                       |
|----------------------------------------------------------|---------------------------------------|
| list `path total_seconds start end label`                | VideoMAE, UniFormerV2                 |
| json {database: {id: {subset, duration, annotations}}}   | ActivityNet 1.3, HACS Segments,       |
|                                                          | FineAction, and whatever is like them |

Segments are kept as they are, also those without length and those that end after the video: the
official evaluation counts them, and `internvideo data check` lists them. One that ends before it
begins is a line that cannot be used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.formats.files import (
    Collection,
    choose_split,
    files_by_stem,
    holds_json,
    numbered_lines,
    read_json,
    refuse_split,
)
from internvideo.formats.timestamps import parse_seconds

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "part", "read", "video_path", "write", "write_database"]

_SHOWN = 120
_FINEACTION = re.compile(r"v_\d{8}")
_SHAPE = "path total_seconds start end label"


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a json with a `database`, or lines that end with four numbers."""
    return "database" in file.json or file.fewest == 4


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read a json, one record a video, or a list of parts, one record a part.

    Videos are `v_{id}.mp4` or `{id}.mp4` or another ending, or in folders below `root`; those
    without annotation, as in a test split, have no segments. The classes are by default those of
    the json in the order of its `label_id`, where that numbers them all, else in alphabetical
    order; the splits of a json are "training", "validation" and "testing" (the short names will
    do).
    """
    if holds_json(path):
        return _read_database(path, root, labels, split)
    refuse_split(split, path=path)
    check = DelimiterCheck(path, _SHAPE)
    names = None if labels is None else ClassNames.read(labels).names

    def entry(number: int, line: str) -> VideoAnnotation:
        fields = trailing_numbers(line, 4)
        if len(fields.numbers) < 4 or fields.delimiter is None:
            raise bad_line(path, number, line, _SHAPE)
        check(number, fields.delimiter)
        total, first, last, label = fields.numbers
        start, end = part(first, last, path=path, number=number)
        if float(total) <= 0:
            raise DataError(f"{path}:{number}: the video lasts {total} s; it must be positive")
        number_of_class = whole_number(label, path=path, number=number, what="the label")
        return VideoAnnotation(
            path=fields.path,
            duration=float(total),
            segments=(Segment(start=start, end=end, label=number_of_class),),
            line=number,
        )

    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description=lambda: f"list of parts in seconds, separated by {check.name}",
        class_names=names,
    )


def _read_database(
    path: Path, root: Path | str, labels: Path | None, split: str | None
) -> Annotations:
    content = read_json(path)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise DataError(f"{path}: expected a json with 'database', as ActivityNet has it")
    held = [str(video.get("subset")) for video in database.values()]
    subset = choose_split(split, held, path=path)
    order = "as listed"
    if labels is None:
        classes, order = _classes_of(path, content)
    else:
        classes = ClassNames.read(labels)
    names = files_by_stem(root, subfolders=True)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        for number, (name, video) in enumerate(database.items(), start=1):
            if subset is not None and video.get("subset") != subset:
                continue
            where = f"{path}: video {number} ({name})"
            try:
                duration = parse_seconds(video["duration"]) if video.get("duration") else None
            except DataError as error:
                yield BadLine(number, f"{where}: {error}")
                continue
            segments = []
            for annotation in video.get("annotations") or ():
                try:
                    segments.append(_segment(annotation, classes, where, path, number))
                except DataError as error:
                    yield BadLine(number, str(error))
            fps = video.get("fps")
            yield VideoAnnotation(
                path=video_path(name, names),
                id=name,
                split=str(video.get("subset") or ""),
                duration=duration,
                fps=float(fps) if isinstance(fps, int | float) and 0 < fps < math.inf else None,
                segments=tuple(segments),
                line=number,
            )

    return Annotations(
        records=records(),
        file=path,
        root=root,
        description=f"ActivityNet json, classes {order}",
        class_names=classes.names,
        segments_only=True,
    )


def _segment(
    annotation: dict[str, Any], classes: ClassNames, where: str, path: Path, number: int
) -> Segment:
    if not {"label", "segment"} <= set(annotation):
        raise DataError(f"{where} has an annotation without 'label' or 'segment'")
    segment = annotation["segment"]
    if not isinstance(segment, list) or len(segment) != 2:
        raise DataError(
            f"{where} has the segment {str(segment)[:_SHOWN]}; expected [start, end] in seconds"
        )
    start, end = part(*segment, path=path, number=number)
    label = classes.index(annotation["label"], path=path, number=number)
    return Segment(start=start, end=end, label=label)


def _classes_of(path: Path, content: dict[str, Any]) -> tuple[ClassNames, str]:
    """Return the classes, and in which order: by `label_id`, else alphabetical.

    They are the leaves of the taxonomy, where there is one, else the labels in use.
    """
    used = [
        annotation
        for video in content["database"].values()
        for annotation in video.get("annotations") or ()
        if "label" in annotation
    ]
    names = {each["label"] for each in used}
    numbered = {(str(each.get("label_id")), each["label"]) for each in used}
    names_of = dict(numbered)
    if (
        names
        and len(names) == len(numbered)
        and names_of.keys() == set(map(str, range(len(names))))
    ):
        ordered = [names_of[str(number)] for number in range(len(names))]
        return ClassNames(ordered, path), "by label_id"
    nodes = content.get("taxonomy") or ()
    kind = "Id" if all("nodeId" in node for node in nodes) else "Name"
    parents = {node.get(f"parent{kind}") for node in nodes}
    leaves = {node["nodeName"] for node in nodes if node.get(f"node{kind}") not in parents}
    return ClassNames(sorted(leaves or names), path), "in alphabetical order"


def part(start: Any, end: Any, *, path: Path, number: int) -> tuple[float, float]:
    """Return start and end of a part in seconds.

    Raises:
        DataError: they are no numbers, or it ends before it begins.
    """
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError):
        raise DataError(
            f"{path}:{number}: the part is {start!r} to {end!r}; expected seconds"
        ) from None
    if not last >= first or last < 0 or last == math.inf:
        raise DataError(f"{path}:{number}: the part {start} to {end} s ends before it begins")
    return max(first, 0.0), last


def video_path(name: str, names: dict[str, str]) -> str:
    """Return the file of a video among the files that are there, see `files_by_stem`.

    It is called by its id of YouTube, with `v_` before it; FineAction has the `v_` in its ids.
    """
    for stem in (f"v_{name}", name):
        if stem in names:
            return names[stem]
    return f"{name}.mp4" if _FINEACTION.fullmatch(name) else f"v_{name}.mp4"


def write(data: Collection) -> list[Path]:
    """Write `activity_net.v1-3.json`."""
    return [write_database(data, "activity_net.v1-3.json")]


def write_database(data: Collection, name: str) -> Path:
    """Write all videos into one json; a video is called by the name of its file, without `v_`."""
    database = {
        Path(video.path).stem.removeprefix("v_"): {
            "subset": video.split,
            "duration": video.duration,
            "fps": video.fps,
            "annotations": [
                {
                    "segment": [segment.start, segment.end],
                    "label": data.classes[segment.label],
                    "label_id": segment.label,
                }
                for segment in video.segments
                if segment.label is not None
            ],
        }
        for video in data.videos
    }
    content = {"version": "VERSION 1.3", "taxonomy": [], "database": database}
    return data.write_text(name, (json.dumps(content, ensure_ascii=False, indent=1), "\n"))
