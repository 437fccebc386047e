"""Moments in Time: `trainingSet.csv`, `validationSet.csv` (path, label, votes)."""

from __future__ import annotations

import csv
from pathlib import Path

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import bad_line, parsed
from internvideo.data.formats.files import numbered_lines, refuse_split

__all__ = ["read_moments"]

_CLASS_FILES = ("moments_categories.txt",)
_SHAPE = "path,label"


def read_moments(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read one csv of Moments in Time; it has no header, and what follows the label is votes.

    Args:
        path: the csv.
        root: folder of the class folders (`training/`, `validation/`); by default that of `path`.
        labels: the class list, lines `label,number`; by default `moments_categories.txt` beside.
        split: must be None, there is a file for each.

    Raises:
        DataError: a line of another shape, an unknown class.
    """
    refuse_split(split, path=path)
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES)

    def entry(number: int, line: str) -> ClipEntry:
        row = next(csv.reader([line]))
        if len(row) < 2:
            raise bad_line(path, number, line, _SHAPE)
        label = classes.index(row[1].strip(), path=path, number=number)
        return ClipEntry(path=row[0].strip(), label=label, line=number)

    return ClipList(
        parsed(numbered_lines(path), entry),
        file=path,
        root=root or path.parent,
        description="Moments in Time csv",
        class_names=classes.names,
    )
