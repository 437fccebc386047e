"""Kinetics-400/600/700/710: lists `path label`, and the official csv of YouTube ids.

The list serves any data set of one label a video. Fields are separated by spaces (VideoMAE), commas
(UniFormerV2) or tabs; the last one is the label, so a path may hold any of these.
"""

from __future__ import annotations

import csv
from pathlib import Path

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.data.formats.files import choose_split, numbered_lines, read_csv, refuse_split
from internvideo.errors import DataError

__all__ = ["read_kinetics"]

_SHAPE = "path label"
_OFFICIAL = ("youtube_id", "time_start", "time_end")
_CLASS_FILES = ("labels.txt", "classes.txt")


def read_kinetics(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read a list of `path label`, or an official csv.

    The official csv (`label,youtube_id,time_start,time_end,split`) names files as the usual
    downloaders do, `{youtube_id}_{time_start:06d}_{time_end:06d}.mp4`, directly in the folder or
    in one folder for each class.

    Args:
        path: the annotation file.
        root: videos are relative to this; by default to the folder of `path`.
        labels: the class list, for the official csv; by default `labels.txt` beside it.
        split: for an official csv that holds several.

    Raises:
        DataError: a line without a label or with another delimiter, an unknown class.
    """
    root = root or path.parent
    first, line = next(numbered_lines(path))
    header = next(csv.reader([line]))
    if all(name in (field.strip() for field in header) for name in _OFFICIAL):
        return _read_official(path, root, labels, split)
    refuse_split(split, path=path)
    check = DelimiterCheck(path, _SHAPE)
    names = None if labels is None else ClassNames.read(labels).names

    def entry(number: int, line: str) -> ClipEntry:
        fields = trailing_numbers(line, 1)
        if fields.delimiter is None or not fields.path:
            hint = "; if it is a header, remove it" if number == first else ""
            raise DataError(f"{bad_line(path, number, line, _SHAPE)}{hint}")
        check(number, fields.delimiter)
        label = whole_number(fields.numbers[0], path=path, number=number, what="the label")
        return ClipEntry(path=fields.path, label=label, line=number)

    rows = parsed(numbered_lines(path), entry)
    clips = ClipList(rows, file=path, root=root, class_names=names)
    clips.description = f"Kinetics list, separated by {check.name}"
    return clips


def _read_official(
    path: Path, root: Path | str, labels: Path | None, split: str | None
) -> ClipList:
    rows = list(read_csv(path, _OFFICIAL))
    labelled = bool(rows) and "label" in rows[0][1]  # the test sets of K600 and K700 have none
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES) if labelled else None
    held = [row["split"] for _, row in rows if row.get("split")]
    split = choose_split(split, held, path=path)
    by_class = bool(rows) and labelled and (Path(root) / rows[0][1]["label"]).is_dir()

    def entry(number: int, row: dict[str, str]) -> ClipEntry | None:
        if split is not None and row["split"] != split:
            return None
        start, end = (
            _whole_seconds(row[name], path=path, number=number, what=name)
            for name in ("time_start", "time_end")
        )
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
        label = None
        if classes is not None:
            label = classes.index(row["label"], path=path, number=number)
        folder = f"{row['label']}/" if by_class else ""
        return ClipEntry(path=folder + name, label=label, line=number)

    return ClipList(
        parsed(rows, entry),
        file=path,
        root=root,
        description="official Kinetics csv",
        class_names=None if classes is None else classes.names,
    )


def _whole_seconds(text: str, *, path: Path, number: int, what: str) -> int:
    whole, _, _ = text.strip().partition(".")
    return whole_number(whole, path=path, number=number, what=what)
