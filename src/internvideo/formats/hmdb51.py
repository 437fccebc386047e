"""HMDB51: a folder of `<class>_test_split<1|2|3>.txt`, lines `video.avi 0|1|2`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, BadLine, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import bad_line, parsed, trailing_numbers
from internvideo.formats.files import Collection, numbered_lines

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_FILE = re.compile(r"^(?P<name>.+)_test_split(?P<split>[123])$")
_SPLIT = re.compile(r"^(?P<which>train|test)[-_ ]?(?P<number>[123])?$")
_CODES = {"train": "1", "test": "2"}
_SHAPE = "video.avi 0, 1 or 2"


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a folder of split files, or one of them."""
    if file.path.is_dir():
        return any(file.path.glob("[!.]*_test_split?.txt"))
    return file.path.match("*_test_split[123].txt")


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read one of the three splits of HMDB51.

    A split has one file for each class; code 1 is training, 2 testing, 0 left out. Videos are in
    one folder for each class. Classes are numbered in alphabetical order.

    Args:
        path: the folder of the split files, or one of them, which stands for its whole split.
        root: folder of the class folders.
        labels: a class list in another order.
        split: "train" or "test", with the number of the split: "train1", "test3"; 1 by default.
    """
    folder = path if path.is_dir() else path.parent
    which, wanted = _wanted(path, split)
    files = [
        (match["name"], file)
        for file in sorted(folder.glob("[!.]*_test_split?.txt"))
        if (match := _FILE.match(file.stem)) and match["split"] == wanted
    ]
    if not files:
        raise DataError(
            f"{folder} has no files <class>_test_split{wanted}.txt; expected the folder of the "
            "official HMDB51 splits"
        )
    if labels is None:
        classes = ClassNames(sorted(name for name, _ in files), folder)
    else:
        classes = ClassNames.read(labels)

    def entries() -> Iterator[VideoAnnotation | BadLine]:
        for name, file in files:
            label = classes.index(name, path=file, number=1)
            entry = partial(_entry, file=file, name=name, label=label, code=_CODES[which])
            yield from parsed(numbered_lines(file, may_be_empty=True), entry)

    return Annotations(
        records=entries(),
        file=folder,
        root=root,
        description=f"HMDB51 split {wanted}, {which}",
        class_names=classes.names,
    )


def _entry(
    number: int, line: str, *, file: Path, name: str, label: int, code: str
) -> VideoAnnotation | None:
    fields = trailing_numbers(line, 1)
    if not fields.numbers or fields.numbers[0] not in ("0", "1", "2"):
        raise bad_line(file, number, line, _SHAPE)
    if fields.numbers[0] != code:
        return None
    return VideoAnnotation(path=f"{name}/{fields.path}", label=label, line=number)


def _wanted(path: Path, split: str | None) -> tuple[str, str]:
    """Return "train" or "test" and the number of the split."""
    match = _SPLIT.match(split or "")
    if match is None:
        got = "no split was chosen" if split is None else f"there is no split {split!r}"
        raise DataError(f"{path}: {got}; HMDB51 has train1 to train3 and test1 to test3")
    named = None if path.is_dir() else _FILE.match(path.stem)
    return match["which"], match["number"] or (named["split"] if named else "1")


def write(data: Collection) -> list[Path]:
    """Write the first split, `splits/<class>_test_split1.txt` for each class."""
    written = []
    for label, name in enumerate(data.classes):
        held = [video for video in data.videos if video.label == label]
        rows = (f"{PurePosixPath(v.path).name} {_CODES[v.split]} \n" for v in held)
        file = data.layout.place("splits/{snake}_test_split1.txt", 0, name)
        written.append(data.write_text(file, rows))
    return written
