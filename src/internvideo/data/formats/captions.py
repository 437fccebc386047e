"""Captioned clips in tables: WebVid, InternVid, ViCLIP's and VindLU's lists, and one's own.

A row has the path of a video or image, a caption (or a list of them), and perhaps where in the
video the clip begins and ends: it is then read straight from the long file. A file may have
hundreds of millions of rows; they are read one after the other.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt

from internvideo.config import config_class
from internvideo.data.clip_list import BadLine, ClipEntry, ClipList, is_image
from internvideo.data.formats.frame_paths import frames_entry
from internvideo.data.formats.tables import Table, TableRow, open_table
from internvideo.data.timestamps import parse_seconds
from internvideo.errors import ConfigError, DataError, did_you_mean

__all__ = ["CAPTION_PRESETS", "CaptionColumns", "looks_like_captions", "read_captions"]

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_SHOWN = 120
_KNOWN = {
    "path": ("path", "video", "image", "file", "filename", "video_path", "image_path"),
    "caption": ("caption", "captions", "text", "sentence"),
    "start": ("start", "start_time", "start_timestamp"),
    "end": ("end", "end_time", "end_timestamp"),
    "duration": ("duration",),
    "id": ("id", "clip_id"),
}


@config_class
class CaptionColumns:
    """Which columns say what.

    A column that is None is found by its usual name, such as `video` or `caption`, whatever its
    case; one that is "" is not looked at.

    Attributes:
        preset: "webvid" or "internvid"; recognised from the columns where nothing is given.
        path: path of the video or image, or in json a list of all its frames.
        file: pattern of the path where no column has it, such as `{page_dir}/{videoid}.mp4`.
        caption: a sentence, or in json a list of sentences.
        start: begin of the clip, in seconds or as HH:MM:SS.mmm.
        end: its end.
        duration: length of the whole video.
        id: what no two rows may share.
        min_words: captions of fewer words are left out (ViCLIP trains with 2).

    Raises:
        ConfigError: an unknown preset, both `path` and `file`, or a broken pattern.
    """

    preset: Literal["webvid", "internvid"] | None = None
    path: str | None = None
    file: str | None = None
    caption: str | None = None
    start: str | None = None
    end: str | None = None
    duration: str | None = None
    id: str | None = None
    min_words: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.path and self.file:
            raise ConfigError("columns.path and columns.file both tell where videos are; give one")
        if self.file and not _PLACEHOLDER.search(self.file):
            raise ConfigError(
                f"columns.file {self.file!r} names no column; expected a pattern such as "
                "'{YoutubeID}.mp4'"
            )

    def filled(self, names: list[str]) -> CaptionColumns:
        """Return the columns with those of the preset, named or recognised, where None is said."""
        preset = self.preset
        if preset is None and self == replace(CaptionColumns(), min_words=self.min_words):
            preset = next((p for p, marks in _MARKS.items() if marks <= set(names)), None)
        if preset is None:
            return self
        base, changed = CAPTION_PRESETS[preset], {}
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None:
                changed[field.name] = value
        if self.path:
            changed["file"] = None
        return replace(base, **changed)


CAPTION_PRESETS: dict[str, CaptionColumns] = {}
CAPTION_PRESETS |= {
    "webvid": CaptionColumns(
        path="", file="{page_dir}/{videoid}.mp4", caption="name", start="", end="", id="videoid"
    ),
    "internvid": CaptionColumns(
        path="",
        file="{YoutubeID}.mp4",
        caption="Caption",
        start="Start_timestamp",
        end="End_timestamp",
        id="",
    ),
}
"""The columns of public files."""
_MARKS = {
    "webvid": {"videoid", "page_dir", "name"},
    "internvid": {"YoutubeID", "Start_timestamp", "End_timestamp"},
}


def looks_like_captions(names: Iterable[str]) -> bool:
    """Return whether columns of these names are those of captioned clips."""
    given = set(names)
    if any(marks <= given for marks in _MARKS.values()):
        return True
    lower = {name.strip().lower() for name in given}
    return not lower.isdisjoint(_KNOWN["path"]) and not lower.isdisjoint(_KNOWN["caption"])


def read_captions(
    path: Path,
    *,
    root: Path | str | None = None,
    columns: CaptionColumns | None = None,
) -> ClipList:
    """Read a table of captioned clips: csv, tsv, json lines, a json list, parquet or SQLite.

    Args:
        path: the file; a SQLite file has a table `annos(id, video or image, caption)` and is only
            read.
        root: paths are below this; by default the folder of `path`.
        columns: which columns say what.

    Raises:
        DataError: no such columns, or no row that can be used.
        MissingExtraError: a parquet file, without pyarrow.
    """
    table = open_table(path)
    rows = _Rows(table, columns or CaptionColumns())
    clips = rows.clips(root or path.parent)
    repeated = rows.repeated_ids()
    if len(repeated):  # rare, and only now known: read again with an eye on these
        rows = _Rows(table, columns or CaptionColumns(), suspects=frozenset(repeated.tolist()))
        clips = rows.clips(root or path.parent)
    return clips


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

    def clips(self, root: Path | str) -> ClipList:
        kind = self.table.kind
        return ClipList(
            self._entries(),
            file=self.table.path,
            root=root,
            description=f"captions ({kind})",
            copying="lines" if kind == "jsonl" else "rows" if kind in ("csv", "tsv") else "none",
        )

    def repeated_ids(self) -> np.ndarray:
        """Return the hashes of ids that came more than once; 8 bytes a row instead of the ids."""
        hashes, counts = np.unique(np.frombuffer(self._hashes, np.int64), return_counts=True)
        return hashes[counts > 1]

    def _entries(self) -> Iterator[ClipEntry | BadLine]:
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
        for field, known in _KNOWN.items():
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

    def _clip(self, row: TableRow) -> ClipEntry | BadLine | None:
        number, values = row
        try:
            start, end = self._part(values)
            captions = self._captions(values)
            if not captions:
                return None
            self._check_id(number, self._value(values, "id"))
            duration = self._value(values, "duration")
            facts: dict[str, Any] = {
                "captions": captions,
                "start": start,
                "end": end,
                "duration": None if duration is None else parse_seconds(duration),
                "line": number,
            }
            path = self._path(values)
            if isinstance(path, str):
                return ClipEntry(path=path, **facts)
            return frames_entry(path, **facts)
        except DataError as error:
            return self.table.bad(number, str(error))

    def _value(self, values: dict[str, Any], field: str) -> Any:
        """Return what the first column of a kind says; None where it is missing or blank."""
        for name in self._names[field]:
            value = values.get(name)
            if value is not None and value != "":
                return value
        return None

    def _part(self, values: dict[str, Any]) -> tuple[float | None, float | None]:
        start, end = self._value(values, "start"), self._value(values, "end")
        if start is None and end is None:
            return None, None
        first = 0.0 if start is None else parse_seconds(start)
        last = None if end is None else parse_seconds(end)
        if last is not None and last <= first:
            how = "ends before it begins" if last < first else "lasts no time"
            raise DataError(f"the clip from {start} to {end} {how}")
        return first, last

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
            path = _PLACEHOLDER.sub(
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
