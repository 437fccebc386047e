"""Several collections of clips as one, in batches of one medium: all videos, or all still images.

An epoch takes each source as often as its weight says. The clips of one medium are mixed with each
other and cut into whole batches; the batches of both media follow each other in a random order.
All of it depends on the generator of the epoch and the size of the global batch alone, so that all
processes agree and an interrupted epoch can be taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from internvideo.data.samples import ClipViews, EvaluationSource, Sample
from internvideo.errors import ConfigError
from internvideo.video import Preprocessing

__all__ = ["MixSource"]


@dataclass(frozen=True, slots=True)
class _Group:
    """The clips of one medium in one source.

    Attributes:
        source: number of the source.
        still: whether they are images.
        places: their numbers in the source; None where these are all of it.
        size: how many they are.
        drawn: how many an epoch takes.
        start: number in the mix of the first of them.
    """

    source: int
    still: bool
    places: np.ndarray | None
    size: int
    drawn: int
    start: int

    @property
    def copies(self) -> int:
        """How often the group stands in the numbers of the mix: once for each pass begun."""
        return -(-self.drawn // self.size)


class MixSource:
    """Clips of several sources.

    A clip has a number for each pass that an epoch makes over its source, so that each pass has
    random numbers of its own.

    Args:
        sources: the collections.
        weights: passes over each source in an epoch; 0.5 takes half of it, another half in each
            epoch. All one by default.

    Raises:
        ConfigError: no sources, another number of weights, or one that is not positive.
    """

    def __init__(
        self, sources: Sequence[EvaluationSource], weights: Sequence[float] | None = None
    ) -> None:
        weights = [1.0] * len(sources) if weights is None else list(weights)
        if not sources or len(weights) != len(sources) or not all(w > 0 for w in weights):
            raise ConfigError(
                f"a mix needs sources and a positive weight for each, got {len(sources)} sources "
                f"and the weights {weights}"
            )
        self.sources = tuple(sources)
        self._groups: list[_Group] = []
        for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
            self._add(number, source, weight)
        self._starts = np.array([group.start for group in self._groups])

    def _add(self, number: int, source: EvaluationSource, weight: float) -> None:
        still = _still(source)
        for medium in (False, True):
            places = np.flatnonzero(still == medium)
            if len(places):
                self._groups.append(
                    _Group(
                        source=number,
                        still=medium,
                        places=None if len(places) == len(source) else places,
                        size=len(places),
                        drawn=max(round(weight * len(places)), 1),
                        start=len(self),
                    )
                )

    def __len__(self) -> int:
        if not self._groups:
            return 0
        last = self._groups[-1]
        return last.start + last.copies * last.size

    @property
    def still(self) -> np.ndarray:
        """Which clips are still images, bool."""
        counts = [group.copies * group.size for group in self._groups]
        return np.repeat([group.still for group in self._groups], counts)

    def num_batches(self, size: int) -> int:
        """Return the number of whole batches in an epoch."""
        return sum(
            sum(group.drawn for group in self._groups if group.still == still) // size
            for still in (False, True)
        )

    def batches(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return the clips of an epoch, batch after batch, each of one medium.

        Args:
            rng: generator of the epoch.
            size: clips of a global batch.

        Returns:
            Numbers `(num_batches * size,)`.
        """
        drawn = [self._draw(group, rng) for group in self._groups]
        media = []
        for still in (False, True):
            parts = [p for g, p in zip(self._groups, drawn, strict=True) if g.still == still]
            mixed = _interleaved(parts, rng) if parts else np.zeros(0, np.int64)
            media.append(mixed[: len(mixed) // size * size].reshape(-1, size))
        return _interleaved(media, rng).reshape(-1)

    def _draw(self, group: _Group, rng: np.random.Generator) -> np.ndarray:
        """Return the numbers in the mix that an epoch takes of a group, in the source's order."""
        passes = []
        for copy in range(group.copies):
            order = _order(self.sources[group.source], rng)
            if group.places is not None:
                rank = np.full(len(order), -1)
                rank[group.places] = np.arange(group.size)
                order = rank[order]
                order = order[order >= 0]
            passes.append(group.start + copy * group.size + order)
        return np.concatenate(passes)[: group.drawn]

    def replacement(self, index: int, rng: np.random.Generator) -> int:
        """Return another clip of the same source and medium, in place of one that is broken."""
        group = self._group(index)
        return group.start + int(rng.integers(group.copies * group.size))

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Decode one training clip.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        source, place = self._find(index)
        return source.read(place, rng)

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Decode a video once and return all its views.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        source, place = self._find(index)
        return source.read_views(place, protocol)

    def key(self, index: int) -> str:
        """Return the name of a clip without reading it."""
        source, place = self._find(index)
        return source.key(place)

    def label(self, index: int) -> int | None:
        """Return the label of a clip without reading it."""
        source, place = self._find(index)
        return source.label(place)

    @property
    def class_names(self) -> None:
        """Nothing: the sources need not number their classes alike."""
        return None

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        for source in self.sources:
            source.check_labels(num_classes)

    def _group(self, index: int) -> _Group:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of a mix of {len(self)}")
        return self._groups[int(np.searchsorted(self._starts, index, side="right")) - 1]

    def _find(self, index: int) -> tuple[EvaluationSource, int]:
        group = self._group(index)
        place = (index - group.start) % group.size
        return self.sources[group.source], (
            place if group.places is None else int(group.places[place])
        )


def _still(source: EvaluationSource) -> np.ndarray:
    """Return which clips of a source are images; a source that does not say has videos."""
    return np.asarray(getattr(source, "still", np.zeros(len(source), np.bool_)))


def _order(source: EvaluationSource, rng: np.random.Generator) -> np.ndarray:
    own = getattr(source, "order", None)
    return rng.permutation(len(source)) if own is None else own(rng)


def _interleaved(parts: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return the items of all parts at random places, those of one part in their own order.

    So shards that are read one after the other stay so where they are mixed with something else.
    """
    owner = rng.permutation(np.repeat(np.arange(len(parts)), [len(part) for part in parts]))
    mixed = np.empty((len(owner), *parts[0].shape[1:]), np.int64)
    for number, part in enumerate(parts):
        mixed[owner == number] = part
    return mixed
