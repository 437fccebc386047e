"""THUMOS14: which of 20 actions happens when, in seconds.

| file                                                        |                                  |
|-------------------------------------------------------------|----------------------------------|
| `<class>_test.txt`, `<class>_val.txt`: `video start end`    | official, a folder of them       |
| csv `video,type,type_idx,start,end,…`                       | AFSD, OpenTAL                    |
| csv `video-name,t-init,t-end,…,label-idx`                   | DAPs                             |
| json {database: {video_test_0000004: …}}                    | ActionFormer, P-GCN: see there   |

The segments of no class, called ambiguous, are left out, as in the evaluation that the field
publishes; the description says how many. The split of a video is in its name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats import activitynet
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import as_whole_number, bad_line
from internvideo.formats.files import (
    Collection,
    choose_split,
    files_by_stem,
    holds_json,
    numbered_lines,
    read_csv,
    read_text,
)

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["CLASSES", "looks_like", "read", "write"]

CLASSES = (
    "BaseballPitch", "BasketballDunk", "Billiards", "CleanAndJerk", "CliffDiving",
    "CricketBowling", "CricketShot", "Diving", "FrisbeeCatch", "GolfSwing", "HammerThrow",
    "HighJump", "JavelinThrow", "LongJump", "PoleVault", "Shotput", "SoccerPenalty", "TennisSwing",
    "ThrowDiscus", "VolleyballSpiking",
)  # fmt: skip
"""The classes in the order of their numbers; lists of other classes have them by alphabet."""

_AMBIGUOUS = "Ambiguous"
_SPLITS = {"test": "test", "val": "validation"}
_PREFIXES = {"video_test_": "test", "video_validation_": "validation"}
_COLUMNS = {"video": ("video", "type", "start", "end"), "video-name": (
    "video-name", "label-idx", "t-init", "t-end"
)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    file: Path
    line: int
    video: str
    name: str
    start: str
    end: str
    duration: float | None = None
    fps: float | None = None


def looks_like(file: Glimpse) -> bool:
    """Tell whether videos are called `video_test_…`, or a csv has the columns of one."""
    if file.path.is_dir() or file.suffix == ".txt":
        listed = _lists(file.path)
        return bool(listed) and _split_of(next(numbered_lines(listed[0][1]))[1]) is not None
    if "database" in file.json:
        return _split_of(next(iter(file.json["database"]), "")) is not None
    header = set(file.header())
    return any(header >= set(columns) for columns in _COLUMNS.values())


def read(
    path: Path, root: Path | str, *, labels: Path | None = None, split: str | None = None
) -> Annotations:
    """Read any of the forms, one record a video; videos are `{name}.mp4` or another ending.

    Args:
        path: the file, or the folder of the official lists.
        root: folder of the videos.
        labels: a class list in another order.
        split: "validation" or "test".
    """
    if not path.is_dir() and path.suffix != ".txt" and holds_json(path):
        return activitynet.read(path, root, labels=labels, split=split)
    rows = list(_listed(path) if path.is_dir() or path.suffix == ".txt" else _table(path))
    if not rows:
        raise DataError(f"{path} lists no segments; expected the annotations of THUMOS14")
    held = {row.name for row in rows} - {_AMBIGUOUS}
    own = CLASSES if held <= set(CLASSES) else sorted(held)
    classes = ClassNames(own, path) if labels is None else ClassNames.read(labels)
    subset = choose_split(split, [_split_of(row.video) or "" for row in rows], path=path)
    names = files_by_stem(root, subfolders=True)
    ambiguous = sum(row.name == _AMBIGUOUS for row in rows)

    def records() -> Iterator[VideoAnnotation | BadLine]:
        videos: dict[str, list[_Row]] = {}
        for row in rows:
            if subset is None or _split_of(row.video) == subset:
                videos.setdefault(row.video, []).append(row)
        for name, held in videos.items():
            segments = []
            for row in held:
                if row.name == _AMBIGUOUS:
                    continue
                try:
                    start, end = activitynet.part(
                        row.start, row.end, path=row.file, number=row.line
                    )
                    label = classes.index(row.name, path=row.file, number=row.line)
                    segments.append(Segment(start=start, end=end, label=label))
                except DataError as error:
                    yield BadLine(row.line, str(error))
            yield VideoAnnotation(
                path=names.get(name, f"{name}.mp4"),
                id=name,
                split=_split_of(name) or "",
                duration=held[0].duration,
                fps=held[0].fps,
                segments=tuple(segments),
                line=held[0].line,
            )

    return Annotations(
        records=records(),
        file=path,
        root=root,
        description=f"THUMOS14, without {ambiguous} ambiguous segments",
        class_names=classes.names,
        copying="none",
        segments_only=True,
    )


def _split_of(video: str) -> str | None:
    return next((split for start, split in _PREFIXES.items() if video.startswith(start)), None)


def _lists(path: Path) -> list[tuple[str, Path]]:
    """Return class and file of the official lists in a folder, or of the one that is named."""
    found = []
    for file in sorted(path.glob("[!.]*.txt")) if path.is_dir() else [path]:
        name, _, split = file.stem.rpartition("_")
        if name and split in _SPLITS and file.is_file():
            found.append((name, file))
    return found


def _listed(path: Path) -> Iterator[_Row]:
    lists = _lists(path)
    if not lists:
        raise DataError(f"{path} has no files <class>_test.txt or <class>_val.txt of THUMOS14")
    for name, file in lists:
        for number, line in numbered_lines(file, may_be_empty=True):
            fields = line.split()
            if len(fields) != 3:
                raise bad_line(file, number, line, "video start end")
            yield _Row(file, number, fields[0], name, fields[1], fields[2])


def _table(path: Path) -> Iterator[_Row]:
    header = next(csv.reader(read_text(path).split("\n")[:1]), [])
    columns = _COLUMNS["video-name" if "video-name" in header else "video"]
    for number, row in read_csv(path, columns):
        video, name, start, end = (row[column].strip() for column in columns)
        if (place := as_whole_number(name)) is not None:
            if not -1 <= place < len(CLASSES):
                raise DataError(f"{path}:{number}: class {place}; expected -1 (none) to 19")
            name = CLASSES[place] if place >= 0 else _AMBIGUOUS
        yield _Row(
            path, number, video, name, start, end, _optional(row, "video-duration"),
            _optional(row, "frame-rate"),
        )  # fmt: skip


def _optional(row: dict[str, str], column: str) -> float | None:
    try:
        value = float(row.get(column, ""))
    except ValueError:
        return None
    return value if value > 0 else None


def write(data: Collection) -> list[Path]:
    """Write the official lists of each split, and `thumos14.json`, which has lengths and rates."""
    written = []
    for short, split in _SPLITS.items():
        for label, name in enumerate(data.classes):
            lines = [
                f"{Path(video.path).stem} {segment.start:.3f} {segment.end:.3f}\n"
                for video in data.of(split)
                for segment in video.segments
                if segment.label == label and segment.end is not None
            ]
            camel = "".join(word.capitalize() for word in name.split())
            written.append(data.write_text(f"annotation/{camel}_{short}.txt", lines))
    return [*written, activitynet.write_database(data, "thumos14.json")]
