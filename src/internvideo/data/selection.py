"""Some clips of a source, under names of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internvideo.data.samples import ClipViews, EvaluationSource, Sample
from internvideo.video import Preprocessing

__all__ = ["Selection"]


class Selection:
    """A source that has some of the clips of another one, in a given order.

    Args:
        source: has the clips.
        places: their numbers in it.
        keys: their names; by default those that they have there.
    """

    def __init__(
        self, source: EvaluationSource, places: Sequence[int], keys: Sequence[str] | None = None
    ) -> None:
        self.source = source
        self.places = tuple(places)
        self.keys = None if keys is None else tuple(keys)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Decode one training clip.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        return self.source.read(self.places[index], rng)

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Decode a video once and return all its views.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        return self.source.read_views(self.places[index], protocol)._replace(key=self.key(index))

    def key(self, index: int) -> str:
        """Return the name of a clip without reading it."""
        return self.source.key(self.places[index]) if self.keys is None else self.keys[index]

    def label(self, index: int) -> int | None:
        """Return the label of a clip without reading it."""
        return self.source.label(self.places[index])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels in their order, where the data names them."""
        return self.source.class_names

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip of the whole source has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        self.source.check_labels(num_classes)
