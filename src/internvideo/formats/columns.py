"""Which columns of a table of captioned clips say what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Literal

from pydantic import Field, NonNegativeInt

from internvideo.config import config_class

__all__ = ["CAPTION_PRESETS", "KNOWN_COLUMNS", "PLACEHOLDER", "CaptionColumns", "has_captions"]

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
"""A column in the pattern of a path."""

KNOWN_COLUMNS = {
    "path": (
        *("path", "video", "image", "file", "filename", "video_path", "image_path"),
        *("file_name", "file_path", "filepath", "video_file", "clip_path"),
    ),
    "caption": ("caption", "captions", "text", "sentence"),
    "start": ("start", "start_time", "start_timestamp"),
    "end": ("end", "end_time", "end_timestamp"),
    "duration": ("duration",),
    "id": ("id", "clip_id"),
}
"""The usual names of columns, in lower case."""


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
        start: start of the clip, in seconds or as HH:MM:SS.mmm.
        end: its end.
        duration: length of the whole video.
        id: what no two rows may share.
        min_words: captions of fewer words are left out (ViCLIP trains with 2).

    Raises:
        ConfigError: an unknown preset, both `path` and `file`, or a broken pattern.
    """

    preset: Literal["webvid", "internvid"] | None = None
    path: str | None = None
    file: str | None = Field(default=None, description="pattern such as {YoutubeID}.mp4")
    caption: str | None = None
    start: str | None = None
    end: str | None = None
    duration: str | None = None
    id: str | None = None
    min_words: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.path and self.file:
            raise ValueError("columns.path and columns.file both tell where videos are; give one")
        if self.file and not PLACEHOLDER.search(self.file):
            raise ValueError(
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


def has_captions(names: Iterable[str]) -> bool:
    """Tell whether columns of these names are those of captioned clips."""
    given = set(names)
    if any(marks <= given for marks in _MARKS.values()):
        return True
    lower = {name.strip().lower() for name in given}
    return all(not lower.isdisjoint(KNOWN_COLUMNS[name]) for name in ("path", "caption"))
