"""How a classifier judges annotated videos, and what training videos tell about its judgements."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.predictions import Answered
from internvideo.evaluation.report import answered_and_failures
from internvideo.models.contract import Judgement
from internvideo.models.open_set import OpenSetClassifier, Score
from internvideo.models.openmax import OpenMax
from internvideo.tasks.open_set.metrics import training_threshold
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["Judge", "Judged", "calibrate", "score_of"]

_OPENMAX_THRESHOLD = 0.5
"""Where the probability of none of the classes is as high as that of the best one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a model makes of one video.

    Attributes:
        index: number of the video in its list.
        video: its name.
        label: its class in its list; None where the list says none.
        predicted: the likeliest of the known classes.
        confidence: its probability.
        uncertainty: by the score that was asked for.
        doubt: 1 - the highest softmax probability of the same logits: the trivial score.
    """

    index: int
    video: str
    label: int | None
    predicted: int
    confidence: float
    uncertainty: float
    doubt: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def score_of(model: LoadedModel, score: Score | None) -> Score:
    """Return the score that a model is judged by.

    Raises:
        ConfigError: it does not have that score.
    """
    network = model.model
    if model.class_names is None:
        raise ConfigError(f"{model.name} has no classes of its own; give a classifier")
    chosen: Score = score or "softmax"
    if isinstance(network, OpenSetClassifier):
        chosen = score or network.config.score
        try:
            network.refuse(chosen)
        except ValueError as error:
            raise ConfigError(f"{model.name}: {error}") from None
    elif chosen not in ("softmax", "entropy"):
        raise ConfigError(
            f"{model.name} has no score {score!r}; a plain classifier has softmax and entropy, "
            "others come with a recipe of task open-set"
        )
    return chosen


class Judge(Answerer[Judged]):
    """Says of each video what it shows, and how unsure that is."""

    def __init__(
        self, network: nn.Module, protocol: Preprocessing, source: EvaluationSource, score: Score
    ) -> None:
        super().__init__(network, protocol)
        self.source = source
        self.score: Score = score

    def answer(self, batch: Batch) -> list[Judged]:
        """Return a judgement of each video, from the logits averaged over its views."""
        found: list[Judged] = []
        network: Any = self.network
        is_open = isinstance(network, OpenSetClassifier)
        for video, rows in batch.each(network.pooled if is_open else network):
            plain = network.judge(rows, score="softmax") if self._keeps_softmax else None
            judged = (
                network.judge(rows, score=self.score)
                if is_open
                else Judgement.of_logits(rows.mean(dim=0), by_entropy=self.score == "entropy")
            )
            best = int(judged.probabilities.argmax())
            found.append(
                Judged(
                    index=video.index,
                    video=video.name,
                    label=self.source.label(video.index),
                    predicted=best,
                    confidence=float(judged.probabilities[best]),
                    uncertainty=judged.uncertainty,
                    doubt=float(1 - (plain or judged).probabilities.max()),
                )
            )
        return found

    @property
    def _keeps_softmax(self) -> bool:
        return isinstance(self.network, OpenSetClassifier) and self.score != "bayesian"

    def from_json(self, line: dict[str, Any]) -> Judged:
        """Return the judgement of a line."""
        return Judged(**line)

    def identity(self) -> dict[str, Any]:
        """Return what must not change for a stopped evaluation to resume."""
        return {**super().identity(), "score": self.score}


class _Views(Answerer[Tensor]):
    """Returns the pooled features of all views."""

    network: OpenSetClassifier

    def answer(self, batch: Batch) -> list[Float[Tensor, "v d"]]:
        return [rows for _, rows in batch.each(self.network.pooled)]


class _InMemory:
    """Keeps answers while a pass runs, and no longer."""

    def __init__(self) -> None:
        self.kept: dict[int, Answered[Tensor]] = {}
        self.finished: frozenset[int] = frozenset()

    def add(self, answered: Answered[Tensor]) -> None:
        self.kept[answered.index] = answered

    def close(self) -> None:
        """Do nothing."""

    def complete(self, answered: Any) -> None:
        """Do nothing."""


def calibrate(model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop) -> None:
    """Give an open-set classifier the threshold, and its distributions, of its training videos.

    Each is looked at as in a test; 95 % of them stay known. OpenMax takes the videos that are
    recognised, and is unsure where "none of them" is likelier than the best class.

    Raises:
        DataError: no training video can be read, or a label is not one of the classes.
        ConfigError: not an open-set classifier.
    """
    network = model.model
    if not isinstance(network, OpenSetClassifier):
        raise ConfigError(f"{model.name} is no open-set classifier; it has no threshold to keep")
    source.check_labels(network.config.num_classes)
    answered = loop.run(_Views(network, model.protocol), source, _InMemory())
    places = [each.index for each in answered if each.answer is not None]
    views, _ = answered_and_failures(answered)
    threshold = _OPENMAX_THRESHOLD
    if network.config.score == "openmax":
        labels = torch.tensor([source.label(place) or 0 for place in places])
        guessed = torch.tensor([int(network.judge(v, score="softmax").probabilities.argmax())
                                for v in views])  # fmt: skip
        right = guessed == labels
        means = torch.stack([each.mean(dim=0) for each in views])
        classes = network.config.num_classes
        network.keep_openmax(OpenMax.fit(means[right], labels[right], classes))
    else:
        score = network.config.score
        doubts = np.array([network.judge(each).uncertainty for each in views])
        threshold = training_threshold(doubts, by_confidence=score == "softmax")
    network.config = dataclasses.replace(network.config, threshold=threshold)
