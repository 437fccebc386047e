"""What a collection of clips yields, and what the training loop needs of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

__all__ = ["ClipSource", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip, decoded, and whatever is known about it.

    Attributes:
        frames: uint8 RGB "t h w c".
        caption: one sentence, or None.
        label: class index, or None.
        key: what tells the video from all others of its source: its path or member name.
    """

    frames: UInt8[np.ndarray, "t h w c"]
    caption: str | None = None
    label: int | None = None
    key: str = ""


class ClipSource(Protocol):
    """A finite collection of clips with random access."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return clip `index`; every random choice (frames, caption) is drawn from `rng`.

        Raises:
            VideoError: the video cannot be read; the training loop skips, counts and lists it.
        """
        ...

    def key(self, index: int) -> str:
        """Return the name of clip `index` without reading it."""
        ...
