"""UnlabeledHybrid, the list of VideoMAE's pretraining: `path start total [label]`.

`total` is -1 for a video file. Else the path is a folder of frames, the clip its frames `start` to
`start + total - 1` by the numbers in their names; how they are named follows from the path.
"""

from __future__ import annotations

from pathlib import Path

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.formats.fields import (
    DelimiterCheck,
    bad_line,
    parsed,
    trailing_numbers,
    whole_number,
)
from internvideo.data.formats.files import numbered_lines
from internvideo.errors import DataError

__all__ = ["HYBRID_STRIDES", "read_hybrid"]

HYBRID_STRIDES = {"SomethingV2": 2}
"""Strides of the published pretraining where they are not 4."""

_TEMPLATES = {"SomethingV2": "img_{:05d}.jpg", "AVA": "image_{:06d}.jpg"}
_OTHER_TEMPLATE = "img_{:05d}.jpg"
_SHAPE = "path start total"
_VIDEO = -1


def read_hybrid(
    path: Path,
    *,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    template: str = _OTHER_TEMPLATE,
) -> ClipList:
    """Read a hybrid list.

    Args:
        path: the list.
        root: paths are relative to this; by default to the folder of the list.
        labels: must be None, the labels are not used in pretraining.
        split: must be None.
        template: how frames are named in folders that are neither Something-Something nor AVA.

    Raises:
        DataError: a line of another shape, or an impossible count.
    """
    if split is not None or labels is not None:
        raise DataError(f"{path}: a hybrid list has neither splits nor class names; leave them out")
    lines = list(numbered_lines(path))
    # A path may end with a number too, so that only all lines together tell if there are labels.
    counts = [len(trailing_numbers(line, 3).numbers) for _, line in lines]
    num_fields = min((count for count in counts if count > 1), default=2)
    check = DelimiterCheck(path, _SHAPE)

    def entry(number: int, line: str) -> ClipEntry:
        fields = trailing_numbers(line, num_fields)
        if len(fields.numbers) < 2 or fields.delimiter is None:
            raise bad_line(path, number, line, f"{_SHAPE} [label]")
        check(number, fields.delimiter)
        values = [
            whole_number(text, path=path, number=number, what=what)
            for text, what in zip(fields.numbers, ("start", "total", "label"), strict=False)
        ]
        return _entry(path, number, fields.path, values, template)

    return ClipList(
        parsed(lines, entry),
        file=path,
        root=root or path.parent,
        description="UnlabeledHybrid list",
    )


def _entry(path: Path, number: int, video: str, values: list[int], template: str) -> ClipEntry:
    start, total = values[:2]
    label = values[2] if len(values) > 2 and values[2] >= 0 else None  # -1: not known
    if total == _VIDEO:
        return ClipEntry(path=video, label=label, line=number)
    if total < 1 or start < 0:
        raise DataError(
            f"{path}:{number}: start {start} and total {total}; expected the first frame and the "
            f"number of frames, or {_VIDEO} for a video file"
        )
    named = next((name for text, name in _TEMPLATES.items() if text in video), template)
    return ClipEntry(
        path=video,
        label=label,
        num_frames=total,
        first_frame=start,
        template=named,
        line=number,
    )
