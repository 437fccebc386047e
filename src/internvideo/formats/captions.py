"""Captioned clips in tables: WebVid, InternVid, ViCLIP's and VindLU's lists, and one's own.

A row has the path of a video or image, a caption (or a list of them), and perhaps where in the
video the clip begins and ends: it is then read straight from the long file. A file may have
hundreds of millions of rows; they are read one after the other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from internvideo.annotations import Annotations, BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError, did_you_mean
from internvideo.formats import labelled
from internvideo.formats.columns import (
    KNOWN_COLUMNS,
    PLACEHOLDER,
    CaptionColumns,
    has_captions,
)
from internvideo.formats.frame_paths import frames_annotation
from internvideo.formats.tables import Table, TableRow, open_table
from internvideo.formats.timestamps import parse_seconds
from internvideo.video.rawframes import is_image

if TYPE_CHECKING:
    from internvideo.formats.detect import Glimpse

__all__ = ["looks_like", "read"]

_TABLES = (".jsonl", ".ndjson", ".parquet", ".sqlite", ".sqlite3", ".db")
_SHOWN = 120


def looks_like(file: Glimpse) -> bool:
    """Tell whether this is a table with the columns of captioned clips, or with unknown ones."""
    if any(map(has_captions, (file.keys, file.header(","), file.header("\t")))):
        return True
    return file.suffix in _TABLES and not labelled.looks_like(file)


def read(path: Path, root: Path | str, *, columns: CaptionColumns | None = None) -> Annotations:
    """Read a table of captioned clips: csv, tsv, json lines, a json list, parquet or SQLite.

    A SQLite file has a table `annos(id, video or image, caption)` and is only read.

    Raises:
        DataError: no such columns, or no row that can be used.
        MissingExtraError: a parquet file, without pyarrow.
    """
    table, columns = open_table(path), columns or CaptionColumns()
    rows, kind = _Rows(table, columns), table.kind
    found = Annotations(
        records=rows.records(),
        file=path,
        root=root,
        description=f"captions ({kind})",
        copying="lines" if kind == "jsonl" else "rows" if kind in ("csv", "tsv") else "none",
    )

    def corrected() -> Annotations | None:
        """Look again, with an eye on ids that more than one row has; rare, and only now known."""
        suspects = frozenset(rows.repeated_ids().tolist())
        again = _Rows(table, columns, suspects=suspects)
        return replace(found, records=again.records()) if suspects else None

    return replace(found, corrected=corrected)


class _Rows:
    """Turns the rows of a table into clips.

    Args:
        table: the file.
        columns: which columns say what.
        suspects: hashes of ids that more than one row has.
    """

    def __init__(
        self, table: Table, columns: CaptionColumns, *, suspects: frozenset[int] = frozenset()
    ) -> None:
        self.table, self.columns, self.suspects = table, columns, suspects
        self._names: dict[str, tuple[str, ...]] = {}
        self._hashes = array("q")
        self._first: dict[str, int] = {}

    def repeated_ids(self) -> np.ndarray:
        """Return the hashes of ids that came more than once; 8 bytes a row instead of the ids."""
        hashes, counts = np.unique(np.frombuffer(self._hashes, np.int64), return_counts=True)
        return hashes[counts > 1]

    def records(self) -> Iterator[VideoAnnotation | BadLine]:
        rows = self.table.rows()
        for row in rows:
            if isinstance(row, BadLine):
                yield row
                continue
            self._choose_columns(row)
            for each in chain((row,), rows):
                if isinstance(each, BadLine):
                    yield each
                elif (clip := self._clip(each)) is not None:
                    yield clip

    def _choose_columns(self, row: TableRow) -> None:
        number, values = row
        names = list(values)
        self.columns = self.columns.filled(names)
        for field, known in KNOWN_COLUMNS.items():
            wanted = getattr(self.columns, field)
            if wanted is None:
                # The rows of a json may differ: one has a video, the next an image.
                here = [name for name in names if name.lower() in known]
                self._names[field] = tuple(dict.fromkeys((*here, *known)))
            else:
                self._names[field] = (wanted,) if wanted else ()
            if wanted and wanted not in values:
                raise self._no_column(number, f"no column {wanted!r} for {field}", wanted, names)
        if not self.columns.file and not any(name in values for name in self._names["path"]):
            raise self._no_column(number, "no column with the path of the video", "video", names)
        if not any(name in values for name in self._names["caption"]):
            raise self._no_column(number, "no column with captions", "caption", names)

    def _no_column(self, number: int, what: str, wanted: str, names: list[str]) -> DataError:
        return DataError(
            f"{self.table.where(number)}: {what}; the columns are {', '.join(names)[:_SHOWN]}: "
            f"say which one with columns (such as caption: text).{did_you_mean(wanted, names)}"
        )

    def _clip(self, row: TableRow) -> VideoAnnotation | BadLine | None:
        number, values = row
        try:
            segments = self._segments(values)
            captions = self._captions(values)
            if not captions:
                return None
            self._check_id(number, self._value(values, "id"))
            duration = self._value(values, "duration")
            facts: dict[str, Any] = {
                "captions": captions,
                "segments": segments,
                "duration": None if duration is None else parse_seconds(duration),
                "line": number,
            }
            path = self._path(values)
            if isinstance(path, str):
                return VideoAnnotation(path=path, **facts)
            return frames_annotation(path, **facts)
        except DataError as error:
            return self.table.bad(number, str(error))

    def _value(self, values: dict[str, Any], field: str) -> Any:
        """Return what the first column of a kind says; None where it is missing or blank."""
        for name in self._names[field]:
            value = values.get(name)
            if value is not None and value != "":
                return value
        return None

    def _segments(self, values: dict[str, Any]) -> tuple[Segment, ...]:
        start, end = self._value(values, "start"), self._value(values, "end")
        if start is None and end is None:
            return ()
        first = 0.0 if start is None else parse_seconds(start)
        last = None if end is None else parse_seconds(end)
        if last is not None and last <= first:
            how = "ends before it begins" if last < first else "lasts no time"
            raise DataError(f"the clip from {start} to {end} {how}")
        return (Segment(start=first, end=last),)

    def _captions(self, values: dict[str, Any]) -> tuple[str, ...]:
        given = self._value(values, "caption")
        several = given if isinstance(given, list) else [given]
        captions = [text.strip() if isinstance(text, str) else text for text in several]
        for caption in captions or [""]:
            if caption is None or caption == "":
                raise DataError("the caption is empty")
            if not isinstance(caption, str):
                raise DataError(f"the caption is {str(caption)[:_SHOWN]!r}; expected a sentence")
            _check_text(caption, "caption")
        return tuple(c for c in captions if len(c.split()) >= self.columns.min_words)

    def _path(self, values: dict[str, Any]) -> str | list[Any]:
        if self.columns.file:
            path = PLACEHOLDER.sub(
                lambda match: self._part_of_path(values, match[1]), self.columns.file
            )
        else:
            path = self._value(values, "path")
        if path is None:
            raise DataError("there is no path; expected a video or an image")
        if isinstance(path, list):  # the frames one by one
            return path
        if not isinstance(path, str):
            raise DataError(f"the path is {str(path)[:_SHOWN]!r}; expected a video or an image")
        if "\0" in path:
            raise DataError(f"the path {path[:_SHOWN]!r} has a character 0")
        _check_text(path, "path")
        if not is_image(path) and path == values.get("image"):
            raise DataError(f"the image {path[:_SHOWN]!r} has not the ending of an image")
        return path

    def _part_of_path(self, values: dict[str, Any], name: str) -> str:
        value = values.get(name)
        if value is None or value == "":
            raise DataError(f"there is no {name!r}, which columns.file {self.columns.file!r} needs")
        return str(value)

    def _check_id(self, number: int, value: Any) -> None:
        if value is None:
            return
        text = str(value)
        if self.suspects and hash(text) in self.suspects:
            first = self._first.setdefault(text, number)
            if first != number:
                raise DataError(
                    f"the id {text[:_SHOWN]!r} is that of row {first}, too; where ids may repeat, "
                    "set columns.id to ''"
                )
        self._hashes.append(hash(text))


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the {what} is no UTF-8 from its character {error.start + 1} on; save the file as "
            "UTF-8"
        ) from None
