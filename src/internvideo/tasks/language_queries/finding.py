"""Where in the features of a video is what sentences ask for?

`SpanFinder` asks a trained `VSLNet`. `SimilarityFinder` needs no training: of features that are
embeddings of a two-tower model it takes the longest stretches that are like the sentence. That is
the baseline which a trained model has to beat.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from internvideo.data.feature_videos import FeatureVideoSource
from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.stretches import similar_stretches, times_of_stretches
from internvideo.evaluation.text import embed_sentences, prompt_rule
from internvideo.models.contract import has
from internvideo.models.tokenizer import clean_caption
from internvideo.models.vslnet import VSLNet
from internvideo.tasks.language_queries.clips import seconds_of
from internvideo.tasks.language_queries.queries import check_words, queries_of
from internvideo.tasks.language_queries.reading import QueryReader
from internvideo.tasks.language_queries.report import Spans
from internvideo.tasks.language_queries.spans import best_spans, reduce_rows, times_of_spans
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.hub import LoadedModel

__all__ = ["QueryFinder", "SimilarityFinder", "SpanFinder", "finder_for"]

_QUERIES = 64  # about one video, through the model together
_DIGITS = 6
_FEATURES = "tal-features"


class QueryFinder(Answerer[tuple[Spans, ...]]):
    """Answers all queries about each video of a source.

    Args:
        model: what is asked.
        top_k: spans a query.
        source: the videos; None where `find` is called on its own.
    """

    def __init__(
        self, model: LoadedModel, *, top_k: int, source: FeatureVideoSource | None = None
    ) -> None:
        super().__init__(model.model.eval(), model.preprocessing or PRESETS[_FEATURES])
        self.top_k = top_k
        self.source = source

    @abstractmethod
    def find(
        self, features: FeatureSequence, duration: float | None, texts: Sequence[str]
    ) -> list[Spans]:
        """Return the best spans for each sentence.

        Args:
            features: of the video.
            duration: of the video in seconds, where its annotation says it.
            texts: what is asked for.

        Raises:
            ConfigError: the features are not those of the model, or a sentence has no words.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return in words how spans are found."""

    def answer(self, batch: Batch) -> list[tuple[Spans, ...]]:
        """Return the spans of the queries about each video."""
        source = self.source
        assert source is not None
        answers: list[tuple[Spans, ...]] = []
        for video in batch.videos:
            annotation = source.annotated.videos[video.index]
            features = replace(source.features(video.index), features=video.views[0])
            texts = [query.text for query in queries_of(annotation)]
            with torch.no_grad(), batch.precision():
                found = self.find(features, annotation.duration, texts) if texts else []
            answers.append(tuple(found))
        return answers

    def to_json(self, answer: tuple[Spans, ...]) -> dict[str, Any]:
        """Return plain data: the spans of each query."""
        return {
            "queries": [{"times": each.times, "scores": each.scores} for each in answer],
        }

    def from_json(self, line: dict[str, Any]) -> tuple[Spans, ...]:
        """Return the spans of a line."""
        return tuple(
            Spans(tuple((start, end) for start, end in each["times"]), tuple(each["scores"]))
            for each in line["queries"]
        )

    def identity(self) -> dict[str, Any]:
        """Add the queries, and how spans are found."""
        asked = [queries_of(video) for video in self.source.annotated.videos] if self.source else []
        digest = hashlib.sha256(repr(asked).encode()).hexdigest()
        return {**super().identity(), "queries": digest, "found_by": self.describe()}


class SpanFinder(QueryFinder):
    """Asks a trained `VSLNet`."""

    network: VSLNet

    def __init__(
        self,
        model: LoadedModel,
        *,
        top_k: int,
        source: FeatureVideoSource | None = None,
        towers: LoadedModel | None = None,
    ) -> None:
        super().__init__(model, top_k=top_k, source=source)
        self.reader = QueryReader(self.network, towers)

    def find(
        self, features: FeatureSequence, duration: float | None, texts: Sequence[str]
    ) -> list[Spans]:
        """Return the likeliest spans for each sentence; the video is encoded once."""
        config, parameter = self.network.config, next(self.network.parameters())
        if features.features.shape[1] != config.video_width:
            raise ConfigError(
                f"{features.source} has {features.features.shape[1]} channels, the model takes "
                f"{config.video_width}; give the features that it was trained on"
            )
        rows = reduce_rows(features.features, config.max_length)
        rows = rows.to(parameter.device, parameter.dtype)[None]
        shown = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        video = self.network.encode_video(rows, shown)
        seconds = seconds_of(features, duration, config)
        readings = self.reader.read(texts)
        found: list[Spans] = []
        for start in range(0, len(readings), _QUERIES):
            query = self.reader.padded(readings[start : start + _QUERIES]).to(rows.device)
            if query.vectors is not None:
                query = replace(query, vectors=query.vectors.to(rows.dtype))
            count = len(query.shown)
            words = self.network.encode_query(query)
            logits = self.network.locate(
                video.expand(count, -1, -1), shown.expand(count, -1), words, query.shown
            )
            spans, scores = best_spans(logits.start, logits.end, self.top_k)
            times = times_of_spans(spans.cpu().numpy(), rows.shape[1], seconds)
            found += map(_spans, times, scores.cpu())
        return found

    def describe(self) -> str:
        """Return the size of the model's input."""
        return f"at most {self.network.config.max_length} rows, the likeliest {self.top_k} spans"


class SimilarityFinder(QueryFinder):
    """Compares every window with a sentence, and keeps stretches above a threshold.

    Args:
        model: made the features by `embed`.
        top_k: as for `QueryFinder`.
        source: likewise.
        threshold: 0 is the cosine of the window that is least like the sentence, 1 of the most.

    Raises:
        ConfigError: the model has no text tower, or an impossible threshold.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        top_k: int,
        source: FeatureVideoSource | None = None,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(model, top_k=top_k, source=source)
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold:g}; it must be between 0 and 1")
        self.towers = model.two_towers
        self.clean = prompt_rule(model.architecture).clean
        self.threshold = threshold
        self.name = model.name

    def find(
        self, features: FeatureSequence, duration: float | None, texts: Sequence[str]
    ) -> list[Spans]:
        """Return the stretches that rise most above the threshold, for each sentence."""
        spoken = [check_words(text) for text in texts]
        if self.clean:
            spoken = [clean_caption(text) for text in spoken]
        sentences = embed_sentences(self.towers, spoken).cpu()
        if features.features.shape[1] != sentences.shape[1]:
            raise ConfigError(
                f"{features.source} has {features.features.shape[1]} channels, the sentences of "
                f"{self.name} have {sentences.shape[1]}; give its own embeddings of windows"
            )
        rows = F.normalize(features.features.float().cpu(), dim=1)
        end = duration or features.duration or len(rows) * features.seconds_per_row
        found: list[Spans] = []
        for cosines in sentences @ rows.T:
            stretches = similar_stretches(cosines, self.threshold)[: self.top_k]
            *ends, scores = (np.array(column) for column in zip(*stretches, strict=True))
            times = times_of_stretches(np.stack(ends, axis=1), features, end)
            found.append(_spans(times, from_numpy(scores)))
        return found

    def describe(self) -> str:
        """Return the rule and its threshold."""
        return f"stretches of windows like the sentence, threshold {self.threshold:g}"


def finder_for(
    model: LoadedModel,
    *,
    top_k: int,
    threshold: float,
    source: FeatureVideoSource | None = None,
    towers: LoadedModel | None = None,
) -> QueryFinder:
    """Return how a model finds spans: by training, or else by similarity.

    Raises:
        ConfigError: it is neither a `VSLNet` nor one with a text tower.
    """
    if isinstance(model.model, VSLNet):
        return SpanFinder(model, top_k=top_k, source=source, towers=towers)
    if has(model.model, "text"):
        return SimilarityFinder(model, top_k=top_k, source=source, threshold=threshold)
    raise ConfigError(
        f"{model.name} finds nothing by words; give a model that `internvideo train` made of a "
        "recipe for language queries, or one with a text tower, such as viclip-nano"
    )


def _spans(times: Float[np.ndarray, "k 2"], scores: Float[Tensor, " k"]) -> Spans:
    pairs = tuple((round(float(a), _DIGITS), round(float(b), _DIGITS)) for a, b in times)
    return Spans(pairs, tuple(round(each, _DIGITS) for each in as_list(scores)))
