"""The queries of annotated videos as training samples: reduced rows, read words, the true span."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.data.feature_videos import FeatureVideoSource
from internvideo.data.features import FeatureSequence
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.models.vslnet import VSLNetConfig
from internvideo.tasks.language_queries.queries import Query, queries_of
from internvideo.tasks.language_queries.reading import QueryReader, Reading, padded
from internvideo.tasks.language_queries.spans import reduce_rows, spans_of_times

__all__ = ["QuerySample", "QuerySource", "feature_source", "seconds_of", "whole_rows"]

_LOG = logging.getLogger(__name__)
_EMPTY = 1 / 30  # seconds: a frame


def _no_frames() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySample(Sample):
    """A query about a video, as the tensors that a step stacks: see `SpanTraining.prepare`."""

    frames: np.ndarray = field(default_factory=_no_frames)
    tensors: dict[str, Tensor]


def whole_rows(seconds: float, features: FeatureSequence) -> float:
    """Return a time cut off to whole rows of features."""
    rate = features.fps / features.stride
    return int(seconds * features.fps / features.stride) / rate


def seconds_of(features: FeatureSequence, duration: float | None, config: VSLNetConfig) -> float:
    """Return how long a video is to a model.

    Args:
        features: of the video.
        duration: by its annotation.
        config: says whether whole rows count.
    """
    seconds = duration or features.duration or len(features) * features.seconds_per_row
    if config.times == "exact":
        return seconds
    return max(whole_rows(seconds, features), features.seconds_per_row)


class QuerySource:
    """The queries of videos with features, one sample a query.

    Args:
        source: the videos.
        config: of the model that learns from them.
        reader: reads the sentences, all of them now.
        skip_empty: leave out queries of no length.
        keep_vectors: read them by the frozen text encoder now, once and for all.

    Raises:
        DataError: there are no queries with known times.
        ConfigError: a query has no words, or the features are not those of the model.
    """

    def __init__(
        self,
        source: FeatureVideoSource,
        config: VSLNetConfig,
        reader: QueryReader,
        *,
        skip_empty: bool,
        keep_vectors: bool,
    ) -> None:
        self.source = source
        self.config = config
        self._queries = _trainable(source, skip_empty=skip_empty)
        texts = [query.text for _, query in self._queries]
        self._readings = reader.read_vectors(texts) if keep_vectors else reader.read(texts)
        self._letters_behind = reader.letters_behind
        # A batch is stacked as it is, so all queries are as long as the longest; a step trims them.
        most = {name: _largest(self._readings, name) for name in self._readings[0]}
        self._longest: Reading = {
            name: torch.zeros(shape, dtype=self._readings[0][name].dtype)
            for name, shape in most.items()
        }
        _check_width(source, config)
        source.store.origin(config.origin)

    def __len__(self) -> int:
        return len(self._queries)

    def key(self, index: int) -> str:
        """Return what a query is called."""
        return self._queries[index][1].name

    def read(self, index: int, rng: np.random.Generator) -> QuerySample:
        """Return a query with the features of its video; nothing is drawn.

        Raises:
            VideoError: the features cannot be read.
        """
        del rng
        place, query = self._queries[index]
        features = self.source.features(place)
        rows = reduce_rows(features.features, self.config.max_length)
        span = self._span(query, features, len(rows), self.source.annotated.videos[place].duration)
        reading = self._readings[index]
        words = padded([self._longest, reading], letters_behind=self._letters_behind)
        tensors = {name: getattr(words, name)[1] for name in reading}
        video = rows.new_zeros(self.config.max_length, rows.shape[1])
        video[: len(rows)] = rows
        sizes = {"rows": len(rows), "words": int(words.shown[1].sum())}
        if "letters" in reading:
            sizes["letters"] = reading["letters"].shape[1] + self._letters_behind
        return QuerySample(
            key=query.name,
            tensors={
                "video": video,
                "span": torch.from_numpy(span),  # pyright: ignore[reportUnknownMemberType]
                **tensors,
                **{f"num_{name}": torch.tensor(size) for name, size in sizes.items()},
                **{f"host_{name}": torch.tensor(size) for name, size in sizes.items()},
            },
        )

    def _span(
        self, query: Query, features: FeatureSequence, num_rows: int, duration: float | None
    ) -> Float[np.ndarray, "2"]:
        assert query.times is not None
        start, end = query.times
        seconds = seconds_of(features, duration, self.config)
        if self.config.times == "whole-rows":
            start, end = whole_rows(start, features), whole_rows(end, features)
        times = np.array([[max(0.0, start), min(end, seconds)]])
        return spans_of_times(times, num_rows, seconds)[0]


def feature_source(source: Any) -> FeatureVideoSource:
    """Return the videos of a recipe, which must be features.

    Raises:
        ConfigError: they are something else.
    """
    if not isinstance(source, FeatureVideoSource):
        raise ConfigError(
            "language queries are learnt from features: data: {kind: features, annotations: …, "
            "features: {folders: …}}; `internvideo extract` makes them of videos"
        )
    return source


def _trainable(source: FeatureVideoSource, *, skip_empty: bool) -> list[tuple[int, Query]]:
    found: list[tuple[int, Query]] = []
    skipped = 0
    for place, video in enumerate(source.annotated.videos):
        for query in queries_of(video):
            if query.times is None:
                continue
            if skip_empty and query.times[1] - query.times[0] <= _EMPTY:
                skipped += 1
                continue
            found.append((place, query))
    if skipped:
        _LOG.info("%s: %d queries of no length are left out", source.annotated.file, skipped)
    if not found:
        raise DataError(
            f"{source.annotated.file} has no queries with known times; is it a test split?"
        )
    return found


def _largest(readings: Sequence[Reading], name: str) -> list[int]:
    shapes = [each[name].shape for each in readings]
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _check_width(source: FeatureVideoSource, config: VSLNetConfig) -> None:
    """Look at the first video that can be read.

    Raises:
        ConfigError: its features are not as wide as those that the model takes.
    """
    for place in range(len(source)):
        try:
            features = source.features(place)
        except VideoError:
            continue
        width = features.features.shape[1]
        if width != config.video_width:
            raise ConfigError(
                f"{features.source} has {width} channels, model.video_width is "
                f"{config.video_width}; give the features that the model is made for, or change it"
            )
        return
    raise DataError(f"no features of any video of {source.annotated.file} can be read")
