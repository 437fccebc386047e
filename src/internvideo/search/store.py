"""The five methods of a store, and what they take and return."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

from internvideo.errors import ConfigError
from internvideo.search.records import IndexedVideo, Manifest, Part

__all__ = ["Filter", "Found", "Status", "Store", "quoted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which parts are searched.

    Attributes:
        min_duration: seconds that a part lasts at least.
        max_duration: seconds that it lasts at most.
        path: shell pattern of whole paths, such as `*/holidays/*.mp4`.
        after: the file was last modified at this time or later, in seconds since 1970.
        before: likewise, earlier.

    Raises:
        ConfigError: nothing can be between the limits.
    """

    min_duration: float | None = None
    max_duration: float | None = None
    path: str | None = None
    after: float | None = None
    before: float | None = None

    def __post_init__(self) -> None:
        for low, high in (
            (self.min_duration, self.max_duration),
            (self.after, self.before),
        ):
            if low is not None and high is not None and low > high:
                raise ConfigError(f"nothing lies between {low:g} and {high:g}; swap the limits")

    def condition(self, quote: str = "'") -> str:
        """Return what must hold, as SQL and Milvus both write it; empty where all parts do.

        Args:
            quote: around texts.
        """
        found = []
        for column, sign, value in (
            ("length", ">=", self.min_duration),
            ("length", "<=", self.max_duration),
            ("modified", ">=", self.after),
            ("modified", "<", self.before),
        ):
            if value is not None:
                found.append(f"{column} {sign} {float(value)!r}")
        if self.path is not None:
            found.append(f"path LIKE {quoted(_like(self.path), quote)}")
        return " and ".join(found)


def quoted(text: str, quote: str = "'") -> str:
    """Return a text as a literal of SQL, or with `"` of Milvus."""
    if quote == "'":
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=False)


def _like(pattern: str) -> str:
    """Return a shell pattern as one of SQL.

    A backslash, which stores escape in different ways, becomes any character.
    """
    plain = pattern.replace("\\", "?")
    escaped = "".join(f"\\{each}" if each in "%_" else each for each in plain)
    return escaped.replace("*", "%").replace("?", "_")


@dataclass(frozen=True, slots=True)
class Found:
    """A part, and the cosine of its vector and the vector that was asked for."""

    part: Part
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a store holds.

    Attributes:
        videos: those whose parts are all there.
        num_parts: rows.
        num_bytes: of the rows, thumbnails and vectors included.
        vector_index: how vectors are searched, in words.
    """

    videos: Sequence[IndexedVideo]
    num_parts: int
    num_bytes: int
    vector_index: str


class Store(Protocol):
    """Where a library is kept; several processes may use one at once.

    What a method has returned from is kept, whatever happens to the process afterwards.

    Attributes:
        manifest: as given when the store was made.
    """

    manifest: Manifest

    def add(self, parts: Sequence[Part]) -> None:
        """Keep all parts of some videos in place of those that are there of the same videos."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Forget videos."""
        ...

    def search(self, vector: Float[np.ndarray, " d"], limit: int, wanted: Filter) -> list[Found]:
        """Return the parts whose vectors have the largest cosines, best first."""
        ...

    def status(self) -> Status:
        """Return what there is."""
        ...

    def compact(self, *, only_if_due: bool = False) -> None:
        """Merge small files, drop old versions, and index the vectors where that pays.

        Args:
            only_if_due: leave it where there is little to gain, as after every small change.
        """
        ...
