"""Clips of rare classes as often as those of frequent ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from internvideo.data.samples import ClipSource, Sample

__all__ = ["BalancedClips"]


class BalancedClips:
    """The clips of a source in an order that has every class equally often.

    An epoch is as long as before: of a frequent class a part is seen, another in each epoch, of a
    rare one everything, several times.

    Args:
        source: the clips.
        labels: the class of each clip.
    """

    def __init__(self, source: ClipSource, labels: list[int]) -> None:
        self.source = source
        self.labels = np.asarray(labels)

    def __len__(self) -> int:
        return len(self.source)

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return self.source.key(index)

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a clip."""
        return self.source.read(index, rng)

    def order(self, rng: np.random.Generator) -> Any:
        """Return the clips of an epoch."""
        classes = np.unique(self.labels)
        share, rest = divmod(len(self.labels), len(classes))
        more = set(rng.permutation(classes)[:rest].tolist())
        drawn = [
            np.resize(rng.permutation(np.flatnonzero(self.labels == each)), share + (each in more))
            for each in classes.tolist()
        ]
        return rng.permutation(np.concatenate(drawn))
