"""ActivityNet and HACS: clips that are parts of longer videos, in seconds.

| file                                                     |                                     |
|----------------------------------------------------------|-------------------------------------|
| list `path total_seconds start end label`                | VideoMAE, UniFormerV2               |
| json {database: {id: {subset, duration, annotations}}}   | ActivityNet 1.3, HACS Segments      |
| csv `classname,youtube_id,subset,start,end,label`        | HACS Clips; label -1 is not taken   |
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.data.formats.files import (
    choose_split,
    files_by_stem,
    numbered_lines,
    read_csv,
    read_json,
    read_text,
    refuse_split,
)
from internvideo.data.timestamps import parse_seconds
from internvideo.errors import DataError

__all__ = ["read_activitynet", "read_hacs"]

_SHOWN = 120
_SHAPE = "path total_seconds start end label"
_HACS_COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


def read_activitynet(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read an ActivityNet json or a list of parts; one clip for each annotated part.

    Args:
        path: the annotation file.
        root: folder of the videos, `v_{id}.mp4` or `{id}.mp4` or another ending, or in folders
            below; by default that of `path`.
        labels: the class list; by default the classes of the json in alphabetical order.
        split: "training", "validation" or "testing" of a json (the short names will do).

    Raises:
        DataError: a line of another shape, a part that ends before it begins, an unknown class.
    """
    root = root or path.parent
    if path.suffix.lower() == ".json":
        return _read_database(path, root, labels, split)
    refuse_split(split, path=path)
    check = DelimiterCheck(path, _SHAPE)
    names = None if labels is None else ClassNames.read(labels).names

    def entry(number: int, line: str) -> ClipEntry:
        fields = trailing_numbers(line, 4)
        if len(fields.numbers) < 4 or fields.delimiter is None:
            raise bad_line(path, number, line, _SHAPE)
        check(number, fields.delimiter)
        total, first, last, label = fields.numbers
        start, end = _part(first, last, path=path, number=number)
        if float(total) <= 0:
            raise DataError(f"{path}:{number}: the video lasts {total} s; it must be positive")
        return ClipEntry(
            path=fields.path,
            label=whole_number(label, path=path, number=number, what="the label"),
            start=start,
            end=end,
            duration=float(total),
            line=number,
        )

    rows = parsed(numbered_lines(path), entry)
    clips = ClipList(rows, file=path, root=root, class_names=names)
    clips.description = f"list of parts in seconds, separated by {check.name}"
    return clips


def read_hacs(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read HACS Clips (csv), HACS Segments (json), or a list of parts.

    Arguments and errors are those of `read_activitynet`; without a class list the classes of the
    csv are numbered in alphabetical order.
    """
    if path.suffix.lower() == ".json":
        return read_activitynet(path, root=root, labels=labels, split=split)
    if not read_text(path).lstrip().startswith("classname"):
        return read_activitynet(path, root=root, labels=labels, split=split)
    rows = list(read_csv(path, _HACS_COLUMNS))
    if labels is None:
        classes = ClassNames(sorted({row["classname"] for _, row in rows}), path)
    else:
        classes = ClassNames.read(labels)
    subset = choose_split(split, [row["subset"] for _, row in rows], path=path)
    root = root or path.parent
    names = files_by_stem(root, subfolders=True)

    def entry(number: int, row: dict[str, str]) -> ClipEntry | None:
        if row["label"].strip() != "1" or (subset is not None and row["subset"] != subset):
            return None
        start, end = _part(row["start"], row["end"], path=path, number=number)
        return ClipEntry(
            path=_video(row["youtube_id"], names),
            label=classes.index(row["classname"], path=path, number=number),
            start=start,
            end=end,
            line=number,
        )

    return ClipList(
        parsed(rows, entry),
        file=path,
        root=root,
        description="HACS Clips csv",
        class_names=classes.names,
    )


def _read_database(
    path: Path, root: Path | str, labels: Path | None, split: str | None
) -> ClipList:
    content = read_json(path)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise DataError(f"{path}: expected a json with 'database', as ActivityNet has it")
    held = [str(video.get("subset")) for video in database.values()]
    subset = choose_split(split, held, path=path)
    classes = _classes_of(path, content) if labels is None else ClassNames.read(labels)
    names = files_by_stem(root, subfolders=True)

    def entry(number: int, item: tuple[str, dict[str, Any], dict[str, Any]]) -> ClipEntry:
        name, video, annotation = item
        if not {"label", "segment"} <= set(annotation):
            raise DataError(
                f"{path}: video {number} ({name}) has an annotation without 'label' or 'segment'"
            )
        segment = annotation["segment"]
        if not isinstance(segment, list) or len(segment) != 2:
            raise DataError(
                f"{path}: video {number} ({name}) has the segment {str(segment)[:_SHOWN]}; "
                "expected [start, end] in seconds"
            )
        start, end = _part(*segment, path=path, number=number)
        try:
            duration = parse_seconds(video["duration"]) if video.get("duration") else None
        except DataError as error:
            raise DataError(f"{path}: video {number} ({name}): {error}") from None
        return ClipEntry(
            path=_video(name, names),
            label=classes.index(annotation["label"], path=path, number=number),
            start=start,
            end=end,
            duration=duration,
            line=number,
        )

    rows = (
        (number, (name, video, annotation))
        for number, (name, video) in enumerate(database.items(), start=1)
        if subset is None or video.get("subset") == subset
        for annotation in video.get("annotations") or ()
    )
    return ClipList(
        parsed(rows, entry),
        file=path,
        root=root,
        description="ActivityNet json",
        class_names=classes.names,
    )


def _classes_of(path: Path, content: dict[str, Any]) -> ClassNames:
    """Return the leaves of the taxonomy, or else the labels in use, in alphabetical order."""
    taxonomy = content.get("taxonomy") or ()
    parents = {node["parentId"] for node in taxonomy}
    leaves = {node["nodeName"] for node in taxonomy if node["nodeId"] not in parents}
    used = {
        annotation["label"]
        for video in content["database"].values()
        for annotation in video.get("annotations") or ()
    }
    return ClassNames(sorted(leaves or used), path)


def _part(start: Any, end: Any, *, path: Path, number: int) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError):
        raise DataError(
            f"{path}:{number}: the part is {start!r} to {end!r}; expected seconds"
        ) from None
    if not last >= first or last < 0 or last == math.inf:
        raise DataError(f"{path}:{number}: the part {start} to {end} s ends before it begins")
    return max(first, 0.0), last


def _video(name: str, names: dict[str, str]) -> str:
    for stem in (f"v_{name}", name):
        if stem in names:
            return names[stem]
    return f"v_{name}.mp4"
