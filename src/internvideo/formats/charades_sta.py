"""Charades-STA: lines `VIDEO start end##sentence`; a sentence asks for a part of a video.

How long a video is stands in `Charades_v1_train.csv` or `Charades_v1_test.csv`, the tables of
Charades, where they lie beside the file. A sixth of the official test moments end after their
video; they are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.activitynet import part
from internvideo.formats.fields import bad_line
from internvideo.formats.files import files_by_stem, numbered_lines, read_csv

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_LINE = re.compile(r"(?P<video>\S+) (?P<start>\S+) (?P<end>[^\s#]+)##(?P<sentence>.*)")
_SHAPE = "VIDEO start end##sentence"
_TABLES = "Charades_v1_*.csv"


def looks_like(file: Glimpse) -> bool:
    """Tell whether the first line is `VIDEO start end##sentence`."""
    return bool(file.lines) and _LINE.fullmatch(file.lines[0]) is not None


def read(path: Path, root: Path | str) -> Annotations:
    """Read the sentences, one record a video; videos are `{id}.mp4` or another ending.

    The lengths are those of the tables of Charades beside the file.
    """
    durations = _durations(path.parent)
    names = files_by_stem(root)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        videos: dict[str, list[tuple[int, Segment]]] = {}
        for number, line in numbered_lines(path):
            try:
                video, segment = _moment(path, number, line)
            except DataError as error:
                yield BadLine(number, str(error))
            else:
                videos.setdefault(video, []).append((number, segment))
        for video, held in videos.items():
            yield VideoAnnotation(
                path=names.get(video, f"{video}.mp4"),
                id=video,
                duration=durations.get(video),
                segments=tuple(segment for _, segment in held),
                line=held[0][0],
            )

    return Annotations(
        records=records(),
        file=path,
        root=root,
        description=f"Charades-STA, lengths of {len(durations)} videos beside it",
        copying="none",
        segments_only=True,
    )


def _moment(path: Path, number: int, line: str) -> tuple[str, Segment]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise bad_line(path, number, line, _SHAPE)
    sentence = match["sentence"].strip()
    if not sentence:
        raise DataError(f"{path}:{number}: the sentence has no words")
    start, end = part(match["start"], match["end"], path=path, number=number)
    return match["video"], Segment(start=start, end=end, captions=(sentence,), id=str(number))


def _durations(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for table in sorted(folder.glob(_TABLES)):
        for _, row in read_csv(table, ("id", "length")):
            found[row["id"]] = float(row["length"])
    return found
