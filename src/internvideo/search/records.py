"""What a library keeps: a row for each part of a video, and how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

from internvideo.config import Positive, config_class, config_from_dict, config_to_dict
from internvideo.errors import ConfigError, DataError
from internvideo.video.preprocessing import Preprocessing

__all__ = ["Cut", "IndexedVideo", "Manifest", "Part", "VideoFile", "part_id"]

_FORMAT = 1


@config_class
class Cut:
    """Where videos are cut.

    Attributes:
        kind: "windows" of equal length, or "shots", from one hard cut to the next; a shot longer
            than two windows is divided evenly.
        window: length of a window in seconds.
        stride: seconds from one window to the next; None sets window to window.
    """

    kind: Literal["windows", "shots"] = "windows"
    window: Positive = 4.0
    stride: Positive | None = None

    def __post_init__(self) -> None:
        if self.kind == "shots" and self.stride is not None:
            raise ValueError("a stride belongs to windows; shots follow one another")

    def describe(self) -> str:
        """Return the rule in words."""
        if self.kind == "shots":
            return f"shots of at most {2 * self.window:g} s"
        every = "" if self.stride is None else f", every {self.stride:g} s"
        return f"windows of {self.window:g} s{every}"


@config_class
class Manifest:
    """How the vectors of a library were made.

    Attributes:
        model: what `internvideo.load` takes.
        weights: checksum of the weights.
        preprocessing: how a part is looked at.
        dimension: length of a vector.
        cut: where videos are cut.
        format: version of the rows.
    """

    model: str
    weights: str
    preprocessing: Preprocessing
    dimension: PositiveInt
    cut: Cut
    format: int = _FORMAT

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(config_to_dict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes | None, *, source: str) -> Manifest:
        """Return the manifest in what a store keeps; the inverse of `to_json`.

        Args:
            text: None where the store keeps none.
            source: names the store.

        Raises:
            DataError: it is no library, or of another version.
        """
        try:
            values = json.loads(text or b"")
        except ValueError:
            raise DataError(f"{source} was not written by `internvideo index`") from None
        if values.get("format") != _FORMAT:
            raise DataError(
                f"{source} has format {values.get('format')}, this version reads {_FORMAT}; "
                "index the videos again into another library"
            )
        return config_from_dict(cls, values, source=source)

    def check_same(self, other: Manifest, *, source: str) -> None:
        """Refuse to go on with another model, preprocessing or cut.

        Args:
            other: what is asked for.
            source: names the library.

        Raises:
            ConfigError: the first difference.
        """
        if self.weights != other.weights:
            what = f"the model {self.model}", other.model
            if what[1] == self.model:
                what = f"other weights of {self.model}", "these"
        elif self.preprocessing != other.preprocessing:
            what = self.preprocessing.describe(), other.preprocessing.describe()
        elif self.cut != other.cut:
            what = self.cut.describe(), other.cut.describe()
        else:
            return
        raise ConfigError(
            f"{source} was made with {what[0]}, not with {what[1]}, and keeps to that: leave the "
            "option out, or index into another library"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFile:
    """A video file, and what tells whether it is still the same.

    Attributes:
        path: absolute, or an address.
        size: bytes; for a folder of frames, their number. -1 where unknown.
        modified: seconds since 1970; 0 where unknown.
        digest: of the content, see `files.digest`; empty where it has not been looked at.
    """

    path: str
    size: int = -1
    modified: float = 0.0
    digest: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> VideoFile:
        """Return the file in a row; other keys are passed over."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedVideo:
    """A video in a library.

    Attributes:
        file: as it was when it was indexed.
        num_parts: rows of the library about it.
        duration: seconds.
        incomplete: why it could not be read to its end; empty where it could.
    """

    file: VideoFile
    num_parts: int
    duration: float
    incomplete: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> IndexedVideo:
        """Return the video of the first of its rows; other keys are passed over."""
        return cls(
            file=VideoFile.from_row(row),
            num_parts=row["num_parts"],
            duration=row["duration"],
            incomplete=row["incomplete"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a video; a row of a library.

    Attributes:
        file: the video.
        number: of the part in the video, from 0.
        num_parts: of the video.
        start: seconds from the start of the video.
        end: likewise.
        first_frame: number of its first frame in the video.
        num_frames: how many it has.
        fps: frames per second of the video.
        duration: seconds of the video.
        height: of its frames in pixels.
        width: likewise.
        incomplete: why the video could not be read to its end.
        thumbnail: a frame from its middle, as JPEG.
        vector: "d" float32, of unit length.
    """

    file: VideoFile
    number: int
    num_parts: int = 0
    start: float
    end: float
    first_frame: int
    num_frames: int
    fps: float
    duration: float
    height: int
    width: int
    incomplete: str = ""
    thumbnail: bytes = b""
    vector: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def id(self) -> str:
        """The key of the row: equal for the same part of the same video, whoever indexes it."""
        return part_id(self.file.path, self.number)

    def to_row(self) -> dict[str, Any]:
        """Return the fields as a flat row."""
        row = {name: getattr(self, name) for name in self.__slots__ if name != "file"}
        row |= {name: getattr(self.file, name) for name in VideoFile.__slots__}
        return row | {"id": self.id, "length": self.length}

    @property
    def length(self) -> float:
        """Seconds that the part lasts, to the millisecond."""
        return round(self.end - self.start, 3)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Part:
        """Return the part of a row; other keys are passed over."""
        own = {name: row[name] for name in cls.__slots__ if name != "file"}
        own["vector"] = np.asarray(own["vector"], np.float32)
        return cls(file=VideoFile.from_row(row), **own)


def part_id(path: str, number: int) -> str:
    """Return the key of a part of a video."""
    hashed = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{hashed}-{number:06d}"
