"""UCF101: `trainlist01.txt` (path and number from 1), `testlist01.txt` (path), `classInd.txt`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.class_names import ClassNames
from internvideo.data.formats.fields import bad_line, parsed, trailing_numbers
from internvideo.data.formats.files import numbered_lines, refuse_split
from internvideo.errors import DataError

__all__ = ["read_ucf101"]

_CLASS_FILES = ("classInd.txt",)
_SHAPE = "Class/video.avi number"


def read_ucf101(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> ClipList:
    """Read one list of UCF101.

    The folder of a video names its class; the number of a train list must agree with it. Labels
    count from 0.

    Args:
        path: `trainlist0N.txt` or `testlist0N.txt`.
        root: folder of the class folders; by default that of `path`.
        labels: the class list; by default `classInd.txt` beside the list.
        split: must be None, there is a file for each.

    Raises:
        DataError: a line of another shape, an unknown class, a number of another class.
    """
    refuse_split(split, path=path)
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES)

    def entry(number: int, line: str) -> ClipEntry:
        fields = trailing_numbers(line, 1)
        folder = PurePosixPath(fields.path).parent.name
        if not folder:
            raise bad_line(path, number, line, _SHAPE)
        label = classes.index(folder, path=path, number=number)
        if fields.numbers and fields.numbers[0] != str(label + 1):
            raise DataError(
                f"{path}:{number}: class {folder!r} has the number {label + 1} in "
                f"{classes.file}, but {fields.numbers[0]} here; numbers count from 1"
            )
        return ClipEntry(path=fields.path, label=label, line=number)

    return ClipList(
        parsed(numbered_lines(path), entry),
        file=path,
        root=root or path.parent,
        description="UCF101 list",
        class_names=classes.names,
    )
