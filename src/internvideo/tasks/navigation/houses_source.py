"""Episodes as a source: those of a file, or of procedural houses, one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from internvideo.data.samples import ClipViews, EvaluationSource, Sample
from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.simulator.episodes import Episode, read_episodes, read_truth
from internvideo.simulator.instructions import make_episodes
from internvideo.video import Preprocessing

__all__ = ["EpisodeSource", "episodes_of_world", "open_episodes"]

_LOG = logging.getLogger(__name__)
_PER_HOUSE = 4
_FRUITLESS = 50  # houses without a way that is long enough, one after the other


class EpisodeSource:
    """Episodes by their numbers.

    Args:
        episodes: in order.
        scenes: the folder below which scenes lie that are files.
        truth: true walks by episode, for nDTW.
        num_left_out: lines of the file that cannot be used.
    """

    class_names: tuple[str, ...] | None = None

    def __init__(
        self,
        episodes: Sequence[Episode],
        *,
        scenes: str = "",
        truth: Mapping[str, Any] | None = None,
        num_left_out: int = 0,
    ) -> None:
        self.episodes = tuple(episodes)
        self.scenes, self.truth, self.num_left_out = scenes, truth or {}, num_left_out

    def __len__(self) -> int:
        return len(self.episodes)

    def key(self, index: int) -> str:
        """Return the name of an episode, which ends with its place."""
        episode = self.episodes[index]
        return f"{episode.scene_id}-{episode.episode_id}-{index}"

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return the name alone: nothing is seen before somebody walks."""
        del rng
        return Sample(frames=np.zeros((1, 1, 1, 3), np.uint8), key=self.key(index))

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return the name, with a view that shows nothing."""
        del protocol
        return ClipViews(torch.zeros(1, 3, 1, 1, 1), None, self.key(index))

    def label(self, index: int) -> None:
        """Episodes have no label."""
        del index

    def check_labels(self, num_classes: int) -> None:
        """Refuse: episodes have no classes."""
        raise DataError(f"episodes have no labels, expected {num_classes} classes")


def episodes_of_world(
    source: EvaluationSource, *, per_house: int = _PER_HOUSE
) -> tuple[Episode, ...]:
    """Return episodes in procedural houses, as many as the world has clips; its seed counts houses.

    Raises:
        ConfigError: the source is not the world.
        DataError: houses have no ways that are long enough.
    """
    if not isinstance(source, WorldSource):
        raise ConfigError("agents walk in procedural houses: data.kind must be world")
    first = source.world.seed + source.start // per_house
    episodes = list[Episode]()
    for drawn in _houses(first, per_house):
        episodes += drawn
        if len(episodes) >= len(source):
            break
    return tuple(
        replace(each, episode_id=str(number), trajectory_id=number)
        for number, each in enumerate(episodes[: len(source)])
    )


def _houses(first: int, per_house: int) -> Iterator[list[Episode]]:
    """Yield the episodes of one house after the other; those without long ways are passed over."""
    fruitless, number = 0, first
    while fruitless < _FRUITLESS:
        try:
            yield make_episodes([f"rooms/{number}.json"], per_house, brief=True)
            fruitless = 0
        except DataError:
            fruitless += 1
        number += 1
    raise DataError(f"{_FRUITLESS} houses from rooms/{first}.json on have no way of 5 to 15 m")


def open_episodes(data: AnnotatedData, protocol: Preprocessing | None = None) -> EpisodeSource:
    """Open a file of episodes, or those of procedural houses ("world").

    True walks are read where they lie beside it: `val_gt.json.gz` with `val.json.gz`.

    Raises:
        DataError: the file cannot be used.
        ConfigError: an option that episodes do not have.
    """
    del protocol
    if data.is_world:
        return EpisodeSource(episodes_of_world(data.world_source()))
    data.refuse("format", "labels", "split", "first_label")
    path = Path(data.path)
    found = read_episodes(path)
    for problem in found.problems[:1]:
        _LOG.warning(
            "%d episodes cannot be used and are left out: %s", len(found.problems), problem
        )
    name = path.name.partition(".json")[0].removesuffix("_bertidx")
    truth = path.with_name(f"{name}_gt.json.gz")
    return EpisodeSource(
        found.episodes,
        scenes=data.root or os.fspath(path.parent),
        truth=read_truth(truth) if truth.is_file() else None,
        num_left_out=len(found.problems),
    )
