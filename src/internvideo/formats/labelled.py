"""Videos of your own in a list `file,label`, with classes in words or numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.fields import as_whole_number, bad_line, parsed, whole_number
from internvideo.formats.files import read_json, read_text
from internvideo.formats.frame_paths import frames_annotation

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_VIDEO_COLUMNS = (
    *("file", "path", "video", "filename", "name", "clip"),
    *("video_path", "file_path", "filepath", "file_name", "video_name", "video_file"),
)
_LABEL_COLUMNS = (
    *("label", "class", "caption", "category", "target"),
    *("label_id", "class_id", "class_idx", "class_index", "class_name", "label_name"),
)
_SHAPE, _PART_FIELDS = "file,label", 4
_Row: TypeAlias = "tuple[str | list[Any], str]"


def looks_like(file: Glimpse) -> bool:
    """Tell whether a file is a list `file,label`, with a header or without."""
    if not file.lines:
        return False
    delimiter = _delimiter(file.lines[0])
    header = file.header(delimiter)
    if _columns([name.lower() for name in header]) is not None:
        return file.fewest == 0 or len(file.header()) < _PART_FIELDS
    # What has a semicolon is a line of Something-Something v1.
    rows = csv.reader(file.lines, delimiter=delimiter)
    return file.fewest == 0 and all(len(row) == 2 and ";" not in row[0] for row in rows)


def _delimiter(line: str) -> str:
    return "\t" if "\t" in line else ","


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read a csv `file,label`, or a json list of objects with `video` and `label` or `caption`.

    The csv may have a header (file or path or video, label or class), and tabs in place of commas.
    The json is what ViCLIP's zero-shot sets are (`k400_act_val.json`: the caption is the class;
    a video may be a list of its frame files). Where labels are numbers, they count from 0. The
    classes are by default the labels that occur, in alphabetical order, or none for numbers.
    """
    rows = list(_json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path))
    said = [row[1] for _, row in rows if isinstance(row, tuple)]
    # One word among numbers is a mistake; it must not make "10" the class after "1".
    numbered = 2 * sum(as_whole_number(label) is not None for label in said) > len(said)
    if labels is not None:
        classes = ClassNames.read(labels)
    else:
        classes = ClassNames(() if numbered else sorted(set(said)), path)

    def entry(line: int, row: _Row | DataError) -> VideoAnnotation:
        if isinstance(row, DataError):
            raise row
        video, label = row
        if numbered and label not in classes:
            number = whole_number(label, path=path, number=line, what="the label")
        else:
            number = classes.index(label, path=path, number=line)
        if isinstance(video, str):
            return VideoAnnotation(path=video, label=number, line=line)
        try:
            return frames_annotation(video, label=number, line=line)
        except DataError as error:
            raise DataError(f"{path}:{line}: {error}") from None

    return Annotations(
        records=parsed(rows, entry),
        file=path,
        root=root,
        description=f"list of videos with their classes {'by number' if numbered else 'in words'}",
        class_names=classes.names or None,
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, _Row | DataError]]:
    lines = read_text(path).split("\n")
    first = next(line for line in lines if line.strip())
    reader = csv.reader(lines, delimiter=_delimiter(first))
    video, label, header = 0, 1, True
    for row in reader:
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if header and (columns := _columns([field.lower() for field in fields])):
            (video, label), header = columns, False
            continue
        header = False
        if len(fields) <= max(video, label) or not fields[video] or not fields[label]:
            yield reader.line_num, bad_line(path, reader.line_num, ",".join(row), _SHAPE)
        else:
            yield reader.line_num, (fields[video], fields[label])


def _columns(header: list[str]) -> tuple[int, int] | None:
    """Return the places of video and label in a header; None where it is no header."""
    places = [
        next((header.index(name) for name in names if name in header), None)
        for names in (_VIDEO_COLUMNS, _LABEL_COLUMNS)
    ]
    return None if None in places else (places[0], places[1])  # type: ignore[return-value]


def _json_rows(path: Path) -> Iterator[tuple[int, _Row | DataError]]:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a json list of objects with 'video' and 'label'")
    for number, item in enumerate(content, start=1):
        found = _json_pair(item)
        if found is None:
            found = DataError(
                f"{path}:{number}: expected an object with 'video' (a path, or the paths of all "
                f"frames) and 'label' or 'caption', got {str(item)[:120]!r}"
            )
        yield number, found


def _json_pair(item: Any) -> _Row | None:
    if not isinstance(item, dict):
        return None
    video = item.get("video")
    label = next((item[name] for name in _LABEL_COLUMNS if name in item), None)
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(video, str | list) or not isinstance(label, str) or not label.strip():
        return None
    return video, label.strip()
