"""UCF101: `trainlist01.txt` (path and number from 1), `testlist01.txt` (path), `classInd.txt`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import bad_line, parsed, trailing_numbers
from internvideo.formats.files import Collection, numbered_lines

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read", "write"]

_CLASS_FILES = ("classInd.txt",)
_SHAPE = "Class/video.avi number"


def looks_like(file: Glimpse) -> bool:
    """Tell whether a file is called as the lists of UCF101 are, or lies beside their classes."""
    return bool(file.lines) and (
        file.path.name.startswith(("trainlist", "testlist"))
        or (file.path.parent / _CLASS_FILES[0]).is_file()
    )


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read `trainlist0N.txt` or `testlist0N.txt`.

    The folder of a video names its class; the number of a train list must agree with it. Labels
    count from 0. The class list is by default `classInd.txt` beside the list.
    """
    classes = ClassNames.find(labels, path.parent, _CLASS_FILES)

    def entry(number: int, line: str) -> VideoAnnotation:
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
        return VideoAnnotation(path=fields.path, label=label, line=number)

    return Annotations(
        records=parsed(numbered_lines(path), entry),
        file=path,
        root=root,
        description="UCF101 list",
        class_names=classes.names,
    )


def write(data: Collection) -> list[Path]:
    """Write one split: `trainlist01.txt`, `testlist01.txt`, and `classInd.txt` with numbers from 1.

    The paths of the lists are below `videos/`.
    """
    numbers = {name: number for number, name in enumerate(data.classes, start=1)}
    train = (f"{_listed(v)} {numbers[data.class_of(v)]}\n" for v in data.of("train"))
    names = (f"{n} {data.layout.place('{camel}', 0, name)}\n" for name, n in numbers.items())
    return [
        data.write_text("trainlist01.txt", train),
        data.write_text("testlist01.txt", (f"{_listed(v)}\n" for v in data.of("test"))),
        data.write_text("classInd.txt", names),
    ]


def _listed(video: VideoAnnotation) -> str:
    return video.path.removeprefix("videos/")
