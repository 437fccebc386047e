"""Moments in Time: `trainingSet.csv`, `validationSet.csv` (path, label, votes)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import bad_line, parsed
from internvideo.formats.files import Collection, numbered_lines

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_NAMES = ("trainingSet.csv", "validationSet.csv")
_CLASS_FILES = ("moments_categories.txt",)
_SHAPE = "path,label"


def looks_like(file: Glimpse) -> bool:
    """Tell whether a file is called as those of Moments in Time are, or lies beside its classes."""
    return bool(file.lines) and (
        file.path.name in _NAMES or (file.path.parent / _CLASS_FILES[0]).is_file()
    )


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read one csv of Moments in Time; it has no header, and what follows the label is votes.

    `root` is the folder of the class folders (`training/`, `validation/`); the class list has lines
    `label,number` and is by default `moments_categories.txt` beside the csv.
    """
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES)

    def entry(number: int, line: str) -> VideoAnnotation:
        row = next(csv.reader([line]))
        if len(row) < 2:
            raise bad_line(path, number, line, _SHAPE)
        label = classes.index(row[1].strip(), path=path, number=number)
        return VideoAnnotation(path=row[0].strip(), label=label, line=number)

    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description="Moments in Time csv",
        class_names=classes.names,
    )


def write(data: Collection) -> list[Path]:
    """Write both csv, each with paths below the folder of its split, and the class list."""
    numbers = (f"{name},{number}\n" for number, name in enumerate(data.classes))
    rows = {
        split: (
            f"{v.path.removeprefix(f'{split}/')},{data.class_of(v)},1,0\n" for v in data.of(split)
        )
        for split in ("training", "validation")
    }
    return [
        *(data.write_text(f"{split}Set.csv", lines) for split, lines in rows.items()),
        data.write_text(_CLASS_FILES[0], numbers),
    ]
