"""The metadata of a clip collection such as InternVid, and which clips of it are wanted.

A row tells of a clip the video, begin and end, a caption and scores.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from internvideo.errors import ConfigError, DataError, did_you_mean
from internvideo.formats.timestamps import parse_seconds

__all__ = ["ClipFilter", "Condition", "MetadataColumns", "score"]

_KNOWN: dict[str, tuple[str, ...]] = {
    "video": ("youtubeid", "videoid", "video_id", "video", "path"),
    "start": ("start_timestamp", "start", "start_time"),
    "end": ("end_timestamp", "end", "end_time"),
    "aesthetic": ("aesthetic_score", "aesthetic"),
    "umt_sim": ("umt_score", "umt_sim"),
    "language": ("language", "lang"),
    "caption": ("caption", "text"),
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(rf"([^<>=!]+?)\s*({'|'.join(_OPERATORS)})\s*(.*)", re.DOTALL)
_ID_LENGTH = 11  # of a YouTube id
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class MetadataColumns:
    """What the columns of a file are called; None where there is no such column."""

    video: str | None
    start: str | None
    end: str | None
    aesthetic: str | None
    umt_sim: str | None
    language: str | None
    caption: str | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> MetadataColumns:
        """Find the columns by their usual names, whatever their case."""
        given = tuple(names)
        by_lower = {name.lower(): name for name in reversed(given)}
        found = {
            what: next((by_lower[name] for name in known if name in by_lower), None)
            for what, known in _KNOWN.items()
        }
        return cls(**found, names=given)

    def seconds(self, values: dict[str, Any]) -> float:
        """Return how long a clip is.

        Raises:
            DataError: a time is none, or the clip ends when or before it begins.
        """
        first = parse_seconds(values.get(self.start or ""))
        last = parse_seconds(values.get(self.end or ""))
        if last <= first:
            raise DataError(f"the clip from {first:g} to {last:g} s lasts no time")
        return last - first

    def video_of(self, values: dict[str, Any]) -> str:
        """Return the id of the video: the first 11 characters of its name without folders."""
        return PurePosixPath(str(values.get(self.video or "", ""))).name[:_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a column with a value, such as `Type=Sports` or `views>=1000`."""

    column: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Take `column=value` apart; the signs are = != < <= > >=.

        Raises:
            ConfigError: it has none of these signs.
        """
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"the condition {text!r} is not of the form column=value; signs are "
                f"{' '.join(_OPERATORS)}"
            )
        return cls(*match.groups())

    def holds(self, values: dict[str, Any]) -> bool:
        """Return whether a row fulfils it: as numbers where both are, else as texts."""
        said = values.get(self.column)
        if said is None:
            return self.sign == "!="
        pair: tuple[Any, Any] = (_number(said), _number(self.value))
        if None in pair:
            pair = (str(said), self.value)
        return _OPERATORS[self.sign](*pair)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFilter:
    """Which clips are wanted; None is any.

    Attributes:
        min_aesthetic: least aesthetic score.
        min_umt_sim: least similarity of clip and caption.
        languages: languages of the video, such as "en".
        min_duration: least length of the clip in seconds.
        max_duration: its greatest length.
        where: further comparisons, all of which must hold.
    """

    min_aesthetic: float | None = None
    min_umt_sim: float | None = None
    languages: tuple[str, ...] = ()
    min_duration: float | None = None
    max_duration: float | None = None
    where: tuple[Condition, ...] = ()

    def check_columns(self, columns: MetadataColumns, where: str) -> None:
        """Check that a file has the columns that the filter asks about.

        Raises:
            DataError: one is missing.
        """
        needed = {
            "aesthetic": self.min_aesthetic is not None,
            "umt_sim": self.min_umt_sim is not None,
            "language": bool(self.languages),
        }
        for what, wanted in needed.items():
            if wanted and getattr(columns, what) is None:
                raise DataError(
                    f"{where}: no column with the {what} ({' or '.join(_KNOWN[what])}); the "
                    f"columns are {', '.join(columns.names)}"
                )
        for condition in self.where:
            if condition.column not in columns.names:
                raise DataError(
                    f"{where}: no column {condition.column!r}; the columns are "
                    f"{', '.join(columns.names)}.{did_you_mean(condition.column, columns.names)}"
                )

    def takes(self, values: dict[str, Any], columns: MetadataColumns) -> bool:
        """Return whether a clip is wanted.

        Raises:
            DataError: the clip lasts no time, or a score is no number.
        """
        if columns.start is not None and columns.end is not None:
            seconds = columns.seconds(values)
            if self.min_duration is not None and seconds < self.min_duration:
                return False
            if self.max_duration is not None and seconds > self.max_duration:
                return False
        elif self.min_duration is not None or self.max_duration is not None:
            raise DataError("there are no columns with begin and end of the clip")
        for column, least in (
            (columns.aesthetic, self.min_aesthetic),
            (columns.umt_sim, self.min_umt_sim),
        ):
            if column is not None and least is not None and score(values, column) < least:
                return False
        if self.languages and values.get(columns.language or "") not in self.languages:
            return False
        return all(condition.holds(values) for condition in self.where)


def score(values: dict[str, Any], column: str) -> float:
    """Return a score of a row.

    Raises:
        DataError: it is no number.
    """
    number = _number(values.get(column))
    if number is None:
        raise DataError(f"{column} is {str(values.get(column))[:_SHOWN]!r}; expected a number")
    return number
