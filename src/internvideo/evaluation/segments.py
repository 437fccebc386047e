"""Segments with scores and classes: what a model finds in an untrimmed video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Segments"]

_DIGITS = 8  # of a score; times are rounded to microseconds


@dataclass(frozen=True, eq=False, slots=True)
class Segments:
    """Segments of one video.

    Attributes:
        times: start and end in seconds.
        scores: larger is surer.
        labels: class numbers.
    """

    times: Float[np.ndarray, "n 2"]
    scores: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def none(cls) -> Segments:
        """Return no segments."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Segments]) -> Segments:
        """Return the segments of all parts, of which there is at least one, in their order."""
        return cls(
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )

    def __getitem__(self, places: Any) -> Segments:
        """Return some of them: a slice, a mask or an array of places."""
        return Segments(self.times[places], self.scores[places], self.labels[places])

    def by_score(self) -> Segments:
        """Return them from the surest to the least sure; equal ones stay in their order."""
        return self[np.argsort(-self.scores, kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: three lists."""
        return {
            "segments": np.round(self.times.astype(np.float64), 6).tolist(),
            "scores": np.round(self.scores.astype(np.float64), _DIGITS).tolist(),
            "labels": self.labels.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Segments:
        """Return the segments of `to_dict`."""
        return cls(
            np.reshape(np.array(values["segments"], np.float64), (-1, 2)),
            np.array(values["scores"], np.float64),
            np.array(values["labels"], np.int64),
        )
