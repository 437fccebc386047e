"""How a model names what it sees: by sentences that a user gives, or by its own classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import ConfigError, UnknownNameError, VideoError, did_you_mean
from internvideo.models.dual_encoder import DualEncoder
from internvideo.pipeline.clips import answer_clips, answer_views
from internvideo.results import ActionWindow, Classification
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier
from internvideo.video.opening import AnyVideo
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.windows import VideoWindow

__all__ = [
    "Scorer",
    "best",
    "class_scorer",
    "is_classifier",
    "is_two_tower",
    "label_videos",
    "label_windows",
    "text_scorer",
]


@dataclass(frozen=True, slots=True)
class Scorer:
    """What a model answers with.

    Attributes:
        score: from clips "b c t y x" to scores "b k".
        names: the label of each column.
        scores: from the scores of one video, averaged over its views, to those of the labels.
        shares: likewise to probabilities.
    """

    score: Callable[[Tensor], Tensor]
    names: Sequence[str]
    scores: Callable[[Tensor], list[float]]
    shares: Callable[[Tensor], list[float]]

    def classification(
        self, video: str, scores: Float[Tensor, " k"], *, model: str = "", protocol: str = ""
    ) -> Classification:
        """Return the answer for one video."""
        return Classification.from_scores(
            video,
            self.names,
            self.scores(scores),
            self.shares(scores),
            model=model,
            protocol=protocol,
        )


def is_two_tower(model: nn.Module) -> TypeGuard[Any]:
    """Tell whether a model embeds videos and texts into one space."""
    return isinstance(model, DualEncoder)


def is_classifier(model: nn.Module) -> bool:
    """Tell whether a model has classes of its own."""
    return hasattr(getattr(model, "config", None), "num_classes")


def text_scorer(zero_shot: ZeroShotClassifier) -> Scorer:
    """Return the scorer of sentences: their cosines, or their probabilities."""
    return Scorer(
        zero_shot.scores,
        zero_shot.labels,
        lambda scores: scores.tolist(),
        lambda scores: zero_shot.probabilities(scores).tolist(),
    )


def class_scorer(
    classifier: nn.Module, own: Sequence[str], labels: Sequence[str] | None, *, name: str
) -> Scorer:
    """Return the scorer of some classes of a classifier, or of all where `labels` is None.

    Raises:
        UnknownNameError: a label is not one of the classes.
        ConfigError: an empty list of labels.
    """
    chosen = list(range(len(own))) if labels is None else _places(labels, own, name)

    def share(shares: Tensor) -> list[float]:
        return shares[chosen].tolist()

    names = [own[place] for place in chosen]
    return Scorer(lambda clips: classifier(clips).float().softmax(dim=1), names, share, share)


def _places(labels: Sequence[str], own: Sequence[str], name: str) -> list[int]:
    """Return the outputs of a classifier that these labels name."""
    places = {label: number for number, label in enumerate(own)}
    for label in labels:
        if label not in places:
            raise UnknownNameError(
                f"{name} has no class {label!r}.{did_you_mean(label, own)} A classifier answers "
                "with its own classes; a ViCLIP takes any sentence"
            )
    if not labels:
        raise ConfigError("no labels: give at least one, or none at all for every class")
    return [places[label] for label in dict.fromkeys(labels)]


def label_videos(
    model: nn.Module,
    scorer: Scorer,
    videos: Iterable[AnyVideo],
    protocol: Preprocessing,
    *,
    name: str,
    top_k: int | None,
) -> Iterator[Classification | VideoError]:
    """Yield the labels of each video, averaged over its views, or why it cannot be read.

    Args:
        model: that the scorer asks.
        scorer: how it answers.
        videos: as a user names them; they are decoded a few ahead.
        protocol: frames, clips and crops, resolution.
        name: of the model.
        top_k: labels to keep; None keeps all.
    """
    told = protocol.describe()
    for video, scores in answer_views(videos, protocol, partial(answer_clips, model, scorer.score)):
        if isinstance(scores, VideoError):
            yield scores
        else:
            whole = scorer.classification(video, scores.mean(dim=0), model=name, protocol=told)
            yield best(whole, top_k)


def label_windows(
    model: nn.Module, scorer: Scorer, parts: Iterable[Sequence[VideoWindow]], *, top_k: int
) -> Iterator[ActionWindow]:
    """Yield the best labels of each window of a long video.

    Args:
        model: that the scorer asks.
        scorer: how it answers.
        parts: windows that go through the model together, see `views.read_windows`.
        top_k: labels to keep.

    Raises:
        VideoError: the video cannot be read further.
    """
    for part in parts:
        scores = answer_clips(model, scorer.score, torch.stack([window.clip for window in part]))
        for window, row in zip(part, scores, strict=True):
            named = best(scorer.classification("", row), top_k)
            yield ActionWindow(
                start=window.start,
                end=window.end,
                labels=named.labels,
                probabilities=named.probabilities,
            )


def best(answer: Classification, k: int | None) -> Classification:
    """Return an answer with its `k` best labels only; None keeps all."""
    if k is None:
        return answer
    return dataclasses.replace(
        answer,
        labels=answer.labels[:k],
        scores=answer.scores[:k],
        probabilities=answer.probabilities[:k],
    )
