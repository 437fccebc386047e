"""Kinetics-400/600/700/710: lists `path label`, and the official csv of YouTube ids.

The list serves any data set of one label a video. Fields are separated by spaces (VideoMAE), commas
(UniFormerV2) or tabs; the last one is the label, so a path may hold any of these.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    refuse_several_labels,
    trailing_numbers,
    whole_number,
)
from internvideo.formats.files import (
    Collection,
    choose_split,
    holds_json,
    numbered_lines,
    read_csv,
    refuse_split,
)

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_SHAPE = "path label"
_OFFICIAL = ("youtube_id", "time_start", "time_end")
_CLASS_FILES = ("labels.txt", "classes.txt")


def looks_like(file: Glimpse) -> bool:
    """Tell whether a file is a list of one label a line, or the official csv."""
    return "youtube_id" in file.header() or file.fewest == 1


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read a list of `path label`, or an official csv.

    The official csv (`label,youtube_id,time_start,time_end,split`) names files as the usual
    downloaders do, `{youtube_id}_{time_start:06d}_{time_end:06d}.mp4`, directly in the folder or
    in one folder for each class. Its classes are by default in `labels.txt` beside it.
    """
    if holds_json(path):
        raise DataError(f"{path} holds json, no lines 'path label'; read it as 'labelled'")
    first, line = next(numbered_lines(path))
    header = next(csv.reader([line]))
    if all(name in (field.strip() for field in header) for name in _OFFICIAL):
        return _read_official(path, root, labels, split)
    refuse_split(split, path=path)
    check = DelimiterCheck(path, _SHAPE)
    names = None if labels is None else ClassNames.read(labels).names

    def entry(number: int, line: str) -> VideoAnnotation:
        fields = trailing_numbers(line, 1)
        if fields.delimiter is None or not fields.path:
            hint = "; if it is a header, remove it" if number == first else ""
            raise DataError(f"{bad_line(path, number, line, _SHAPE)}{hint}")
        refuse_several_labels(line, path=path, number=number)
        check(number, fields.delimiter)
        label = whole_number(fields.numbers[0], path=path, number=number, what="the label")
        return VideoAnnotation(path=fields.path, label=label, line=number)

    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description=lambda: f"Kinetics list, separated by {check.name}",
        class_names=names,
    )


def _read_official(
    path: Path, root: Path | str, labels: Path | None, split: str | None
) -> Annotations:
    rows = list(read_csv(path, _OFFICIAL))
    labelled = bool(rows) and "label" in rows[0][1]  # the test sets of K600 and K700 have none
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES) if labelled else None
    held = [row["split"] for _, row in rows if row.get("split")]
    split = choose_split(split, held, path=path)
    by_class = bool(rows) and labelled and (Path(root) / rows[0][1]["label"]).is_dir()

    def entry(number: int, row: dict[str, str]) -> VideoAnnotation | None:
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
        return VideoAnnotation(path=folder + name, label=label, line=number)

    return Annotations(
        records=parsed(rows, entry),
        file=path,
        root=root,
        description="official Kinetics csv",
        class_names=None if classes is None else classes.names,
    )


def _whole_seconds(text: str, *, path: Path, number: int, what: str) -> int:
    whole, _, _ = text.strip().partition(".")
    return whole_number(whole, path=path, number=number, what=what)


def write(data: Collection) -> list[Path]:
    """Write a list `path label` for each split, and the names of the labels as `labels.txt`."""
    lists = [
        data.write_text(f"{split}.csv", (f"{v.path} {v.label}\n" for v in data.of(split)))
        for split in data.layout.splits
    ]
    return [*lists, data.write_text("labels.txt", (f"{name}\n" for name in data.classes))]
