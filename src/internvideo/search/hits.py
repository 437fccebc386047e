"""What a search finds: parts of videos, near-identical ones folded into the best of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.search.records import Part
from internvideo.search.store import Found

__all__ = ["Hit", "clock", "folded"]

_ALIKE_COSINE = 0.95
_ALIKE_PICTURE = 6.0  # grey levels between the cells of two thumbnails, on average
_CELLS = (9, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A part of a video that was found.

    Attributes:
        part: what the library keeps of it.
        score: cosine of its vector and the vector that was asked for.
        match: probability that it fits the text, by a model with a matching head; None without.
        num_similar: further hits that look the same, or overlap with it.
    """

    part: Part
    score: float
    match: float | None = None
    num_similar: int = 0

    @property
    def path(self) -> str:
        """The video: an absolute path, or an address."""
        return self.part.file.path

    @property
    def start(self) -> float:
        """Seconds from the start of the video."""
        return self.part.start

    @property
    def end(self) -> float:
        """Likewise."""
        return self.part.end

    @property
    def thumbnail(self) -> bytes:
        """A frame from its middle, as JPEG."""
        return self.part.thumbnail

    @property
    def date(self) -> datetime:
        """When the file was last modified."""
        return datetime.fromtimestamp(self.part.file.modified, timezone.utc)

    def data_uri(self) -> str:
        """Return the thumbnail as a data URI."""
        return "data:image/jpeg;base64," + base64.b64encode(self.thumbnail).decode("ascii")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the thumbnail as a data URI."""
        part = self.part
        return {
            "video": self.path,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "match": self.match,
            "num_similar": self.num_similar,
            "first_frame": part.first_frame,
            "num_frames": part.num_frames,
            "fps": part.fps,
            "duration": part.duration,
            "height": part.height,
            "width": part.width,
            "date": self.date.isoformat(),
            "thumbnail": self.data_uri(),
        }


def folded(found: Iterable[Found], limit: int) -> list[Hit]:
    """Return a hit for each group of parts that are near-identical, the best part of each.

    Two parts are near-identical where their vectors have a cosine of 0.95 or more and their
    thumbnails differ by no more than six grey levels on average over a coarse grid; so copies of a
    video and the windows of a still scene are one hit. Parts of a video that overlap are, too.

    Args:
        found: best first.
        limit: hits at most; what is found after the last is only compared with them.
    """
    hits: list[Hit] = []
    vectors: list[np.ndarray] = []
    grid = cache(_grid)  # of the thumbnails that are compared
    for each in found:
        part = each.part
        cosines = np.stack(vectors) @ part.vector if vectors else ()
        for number, (hit, cosine) in enumerate(zip(hits, cosines, strict=True)):
            alike = cosine >= _ALIKE_COSINE and (
                np.abs(grid(part.thumbnail) - grid(hit.thumbnail)).mean() <= _ALIKE_PICTURE
            )
            if alike or _overlap(part, hit.part):
                hits[number] = replace(hit, num_similar=hit.num_similar + 1)
                break
        else:
            if len(hits) < limit:
                hits.append(Hit(part=part, score=each.score))
                vectors.append(part.vector)
    return hits


def _overlap(one: Part, other: Part) -> bool:
    return (
        one.file.path == other.file.path
        and one.first_frame < other.first_frame + other.num_frames
        and other.first_frame < one.first_frame + one.num_frames
    )


def _grid(thumbnail: bytes) -> Float[np.ndarray, "y x c"]:
    """Return the mean colours of the cells of a coarse grid over a picture."""
    from PIL import Image

    picture = Image.open(io.BytesIO(thumbnail)).convert("RGB")
    return np.asarray(picture.resize(_CELLS, Image.Resampling.BOX), np.float32)


def clock(seconds: float) -> str:
    """Return a time in a video as people write it.

    >>> clock(75.25), clock(3723)
    ('1:15.2', '1:02:03.0')
    """
    whole, tenths = divmod(int(seconds * 10 + 1e-6), 10)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{front}:{whole:02}.{tenths}"
