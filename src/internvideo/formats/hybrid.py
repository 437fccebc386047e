"""UnlabeledHybrid, the list of VideoMAE's pretraining: `path start total [label]`.

`total` is -1 for a video file. Else the path is a folder of frames, the clip its frames `start` to
`start + total - 1` by the numbers in their names; how they are named follows from the path.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.formats.files import numbered_lines
from internvideo.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_TEMPLATES = {"SomethingV2": "img_{:05d}.jpg", "AVA": "image_{:06d}.jpg"}
_OTHER_TEMPLATE = "img_{:05d}.jpg"
_SHAPE = "path start total"
_VIDEO = -1


def looks_like(file: Glimpse) -> bool:
    """Tell whether lines end with the first frame and the count, and perhaps a label."""
    if file.fewest == 2:
        # A total of -1 is a video. Else lines start with frame 0 or 1: no clip has so few frames.
        firsts = {numbers[-2] for numbers in file.trailing}
        return firsts <= {"0", "1"} or any("-1" in numbers for numbers in file.trailing)
    return file.fewest == 3


def read(path: Path, root: Path | str) -> Annotations:
    """Read a hybrid list."""
    lines = list(numbered_lines(path))
    # A path may end with a number too, so that only all lines together tell if there are labels.
    counts = [len(trailing_numbers(line, 3).numbers) for _, line in lines]
    num_fields = min((count for count in counts if count > 1), default=2)
    check = DelimiterCheck(path, _SHAPE)

    def entry(number: int, line: str) -> VideoAnnotation:
        fields = trailing_numbers(line, num_fields)
        if len(fields.numbers) < 2 or fields.delimiter is None:
            raise bad_line(path, number, line, f"{_SHAPE} [label]")
        check(number, fields.delimiter)
        values = [
            whole_number(text, path=path, number=number, what=what)
            for text, what in zip(fields.numbers, ("start", "total", "label"), strict=False)
        ]
        return _entry(path, number, fields.path, values)

    return Annotations(
        records=parsed(lines, entry),
        file=path,
        root=root,
        description="UnlabeledHybrid list",
    )


def _entry(path: Path, number: int, video: str, values: list[int]) -> VideoAnnotation:
    start, total = values[:2]
    label = values[2] if len(values) > 2 and values[2] >= 0 else None  # -1: not known
    if total == _VIDEO:
        return VideoAnnotation(path=video, label=label, line=number)
    if total < 1 or start < 0:
        raise DataError(
            f"{path}:{number}: start {start} and total {total}; expected the first frame and the "
            f"number of frames, or {_VIDEO} for a video file"
        )
    if total > 1 and video.lower().endswith(tuple(VIDEO_SUFFIXES)):
        raise DataError(
            f"{path}:{number}: {video!r} is a video, so that its total is {_VIDEO}, not {total}; a "
            "list with several labels a video (multi-label) cannot be read: keep one label a line"
        )
    named = next((name for text, name in _TEMPLATES.items() if text in video), _OTHER_TEMPLATE)
    return VideoAnnotation(
        path=video,
        label=label,
        num_frames=total,
        first_frame=start,
        template=named,
        line=number,
    )
