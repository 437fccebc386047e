"""Videos of your own in a list `file,label`, with classes in words or numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from internvideo.annotations import Annotations, BadLine, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats.class_names import ClassNames
from internvideo.formats.columns import has_captions
from internvideo.formats.fields import bad_line, parsed, whole_number
from internvideo.formats.files import read_text
from internvideo.formats.frame_paths import frames_annotation
from internvideo.formats.tables import Table, table_kind

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_VIDEO_COLUMNS = (
    *("file", "path", "video", "filename", "name", "clip", "clip_path", "clip_name"),
    *("video_path", "file_path", "filepath", "file_name", "video_name", "video_file"),
)
_LABEL_COLUMNS = (
    *("label", "class", "category", "target", "action", "labels", "cls"),
    *("label_id", "class_id", "class_idx", "class_index", "category_id", "action_id", "label_idx"),
    *("class_name", "classname", "label_name", "action_label", "caption"),
)
_SHAPE, _PART_FIELDS, _SHOWN = "file,label", 4, 120
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?")
_SEVERAL = re.compile(r"\[?\s*-?\d+(?:\s*[ ;|,]\s*-?\d+)+\s*\]?")
_Row: TypeAlias = "tuple[str | list[Any], str]"


def looks_like(file: Glimpse) -> bool:
    """Tell whether a file is a list `file,label`, with a header or without."""
    if not file.lines:
        return _columns([name.lower() for name in file.keys]) is not None
    delimiter = _delimiter(file.lines[0])
    header = file.header(delimiter)
    if _columns([name.lower() for name in header]) is not None:
        if delimiter == ";":  # which `read` refuses with advice
            return not has_captions(header)
        return file.fewest == 0 or len(file.header()) < _PART_FIELDS
    if delimiter == ";":  # a line of Something-Something v1
        return False
    rows = csv.reader(file.lines, delimiter=delimiter)
    return file.fewest == 0 and all(len(row) == 2 and ";" not in row[0] for row in rows)


def _delimiter(line: str) -> str:
    return next((mark for mark in ("\t", ",", ";") if mark in line), ",")


def read(path: Path, root: Path | str, *, labels: Path | None = None) -> Annotations:
    """Read a csv `file,label`, or a table (json lines, a json list, parquet) with such columns.

    The csv may have a header (file or path or video, label or class), and tabs in place of commas.
    ViCLIP's zero-shot sets are json lists (`k400_act_val.json`: the caption is the class); a video
    may be a list of its frame files. Where labels are numbers, they count from 0. The classes are
    by default the labels that occur, in alphabetical order, or none for numbers.
    """
    kind = table_kind(path)
    table = kind in ("json", "jsonl", "parquet")
    rows = list(_table_rows(Table(path, kind)) if kind and table else _csv_rows(path))
    said = [row[1] for _, row in rows if isinstance(row, tuple)]
    # One word among numbers is a mistake; it must not make "10" the class after "1".
    numbered = 2 * sum(_NUMBER.fullmatch(label) is not None for label in said) > len(said)
    if labels is not None:
        classes = ClassNames.read(labels)
    else:
        classes = ClassNames(() if numbered else sorted(set(said)), path)

    known = {*said, *classes.names}

    def entry(line: int, row: _Row | DataError) -> VideoAnnotation:
        if isinstance(row, DataError):
            raise row
        video, label = row
        if label not in classes or not (numbered or labels):
            _refuse_several(label, known, path=path, number=line)
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
        copying="none" if kind in ("json", "parquet") else "lines",
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, _Row | DataError]]:
    lines = read_text(path).split("\n")
    first = next(line for line in lines if line.strip())
    if (delimiter := _delimiter(first)) == ";":
        raise DataError(
            f"{path}:{lines.index(first) + 1}: fields are separated by ';'; expected {_SHAPE!r} "
            "separated by a comma or a tab: replace the ';' of each line"
        )
    reader = csv.reader(lines, delimiter=delimiter)
    video, label, header, named = 0, 1, True, False
    for row in reader:
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if header and (columns := _columns([field.lower() for field in fields])):
            (video, label), header, named = columns, False, True
            continue
        header = False
        if len(fields) <= max(video, label) or not fields[video] or not fields[label]:
            yield reader.line_num, bad_line(path, reader.line_num, ",".join(row), _SHAPE)
        elif not named and len(fields) > 2 and _SEVERAL.fullmatch(several := ",".join(fields[1:])):
            yield reader.line_num, (fields[0], several)  # which is refused
        else:
            yield reader.line_num, (fields[video], fields[label])


def _columns(header: list[str]) -> tuple[int, int] | None:
    """Return the places of video and label in a header; None where it is no header."""
    places = [
        next((header.index(name) for name in names if name in header), None)
        for names in (_VIDEO_COLUMNS, _LABEL_COLUMNS)
    ]
    return None if None in places else (places[0], places[1])  # type: ignore[return-value]


def _table_rows(table: Table) -> Iterator[tuple[int, _Row | DataError]]:
    for row in table.rows():
        if isinstance(row, BadLine):
            yield row.line, DataError(row.message)
            continue
        number, values = row
        pair = _pair(values)
        if pair is None:
            shape = "an object with 'video' (a path, or the paths of all frames) and 'label'"
            shown = str(values)[:_SHOWN]
            yield number, DataError(f"{table.path}:{number}: expected {shape}, got {shown!r}")
        else:
            yield number, pair


def _pair(values: dict[str, Any]) -> _Row | None:
    """Return video and label of a row; None where it lacks one."""
    lower = {name.strip().lower(): value for name, value in values.items() if value is not None}
    video, label = (
        next((lower[name] for name in names if name in lower), None)
        for names in (_VIDEO_COLUMNS, _LABEL_COLUMNS)
    )
    if isinstance(video, dict):  # as the library `datasets` writes files
        video = video.get("path")
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, list | int | float) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(video, str | list) or not isinstance(label, str) or not label.strip():
        return None
    return video, label.strip()


def _refuse_several(label: str, known: set[str], *, path: Path, number: int) -> None:
    """Check that a label is one.

    Raises:
        DataError: it is a list of numbers, or of classes that also stand alone.
    """
    parts = re.split(r"\s*[;|,]\s*", label)
    written_as_list = _SEVERAL.fullmatch(label) or label.startswith(("['", '["'))
    if written_as_list or (parts[1:] and known.issuperset(parts)):
        raise DataError(
            f"{path}:{number}: several labels for one video, {label[:_SHOWN]!r}; a list with "
            "several labels a video (multi-label) cannot be read: keep one label a line"
        )
