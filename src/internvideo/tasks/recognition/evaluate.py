"""How well a classifier recognises actions, from all views of every video.

source ──► logits of all views of a video ──► mean ──► predictions.jsonl ──► RecognitionReport
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import nn

from internvideo.data.clips import VideoListSource
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, did_you_mean
from internvideo.evaluation.accuracy import RecognitionReport, VideoPrediction
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.report import answered_and_failures
from internvideo.evaluation.views import center_view
from internvideo.tasks.recognition.merge import ViewLogits, best_classes, merge_views
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.labels import letters_of

__all__ = ["ClassPredictor", "evaluate", "measure"]

_DIFFERING = 0.1  # share of the names that may be spelt differently


class ClassPredictor(Answerer[VideoPrediction]):
    """Ranks the true class of a video, `label(index)`, among the classes of a model."""

    def __init__(
        self, network: nn.Module, protocol: Preprocessing, label: Callable[[int], int | None]
    ) -> None:
        super().__init__(network, protocol)
        self.label = label

    def answer(self, batch: Batch) -> list[VideoPrediction]:
        """Return the classes of each video by their probability, averaged over its views."""
        found: list[VideoPrediction] = []
        for video, logits in batch.each(self.network):
            view = torch.arange(len(logits))
            merged = merge_views(
                ViewLogits(
                    logits=logits,
                    video=torch.zeros_like(view),
                    clip=view // self.protocol.num_crops,
                    crop=view % self.protocol.num_crops,
                )
            )
            [shares], label = merged.scores, self.label(video.index)
            [order] = best_classes(merged.scores, len(shares))
            found.append(
                VideoPrediction.of(video, label, order=order, shares=shares, scores=shares)
            )
        return found

    def from_json(self, line: dict[str, Any]) -> VideoPrediction:
        """Return the prediction of a line, without the scores of all classes."""
        return VideoPrediction.from_dict(line)


def evaluate(
    model: LoadedModel,
    source: EvaluationSource,
    *,
    loop: EvalLoop,
    views: Annotated[
        Literal["all", "center"], Option("All views of the protocol, or one clip and its centre.")
    ] = "all",
) -> RecognitionReport:
    """Measure a classifier on annotated videos.

    The answers of all views of a video are averaged. The protocol is printed with the numbers.
    The folders of a folder of classes are those of the model by their names, in any order.
    Videos that cannot be read are listed; top-1 leaves them out, and a second number counts them as
    misses.

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: the model is not a classifier, its classes are in another order than those of
            the data, or the folder belongs to another evaluation.
    """
    names, label = _classes(model, source)
    protocol = model.protocol if views == "all" else center_view(model.protocol)
    answered = loop.run(ClassPredictor(model.model, protocol, label), source)
    predictions, failures = answered_and_failures(answered)
    return RecognitionReport(
        labels=names,
        predictions=tuple(predictions),
        failures=failures,
        protocol=protocol.describe(),
        model=model.name,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> RecognitionReport:
    """Measure a classifier in a training run: quickly on the way, with all views at the end."""
    return evaluate(model, source, loop=loop, views="center" if quick else "all")


def _classes(
    model: LoadedModel, source: EvaluationSource
) -> tuple[tuple[str, ...], Callable[[int], int | None]]:
    """Return the names of a model's classes, and what tells that of a clip."""
    if model.labels is None or source.class_names is None or not _are_folders(source):
        names = _class_names(model, source)
        source.check_labels(len(names))
        return names, source.label
    exact = {name: place for place, name in enumerate(model.labels)}
    places = {letters_of(name): place for name, place in exact.items()} | exact
    folders = [name if name in exact else letters_of(name) for name in source.class_names]
    if unknown := [
        name for name, found in zip(source.class_names, folders, strict=True) if found not in places
    ]:
        raise ConfigError(
            f"the folder {unknown[0]!r} is none of the {len(model.labels)} classes of "
            f"{model.name}.{did_you_mean(unknown[0], model.labels, count=1)}"
        )
    source.check_labels(len(source.class_names))
    numbers = [places[folder] for folder in folders]

    def label(index: int) -> int | None:
        number = source.label(index)
        return None if number is None else numbers[number]

    return model.labels, label


def _are_folders(source: EvaluationSource) -> bool:
    """Tell whether classes are folders of videos, whose numbers say nothing."""
    return isinstance(source, VideoListSource) and Path(source.clips.file).is_dir()


def _class_names(model: LoadedModel, source: EvaluationSource) -> tuple[str, ...]:
    """Return the names of the classes, from the model, or else from the data, or else numbers."""
    numbered = model.class_names
    if numbered is None:
        hint = ", or ask it with sentences: `internvideo evaluate zero-shot`"
        raise ConfigError(
            f"{model.name} has no classes of its own, so there is no accuracy to measure; give a "
            "classifier, such as one that `internvideo train` made of a supervised recipe"
            + (hint if model.tokenizer is not None else "")
        )
    own, named = model.labels, source.class_names
    if named is None:
        return numbered
    if len(named) != len(numbered):
        raise ConfigError(
            f"{model.name} has {len(numbered)} classes, the data name {len(named)}, so their "
            "numbers mean different things; give the classes of the model in their order"
        )
    if own is None:
        return named
    differing = [
        n for n, (a, b) in enumerate(zip(own, named, strict=True)) if letters_of(a) != letters_of(b)
    ]
    if len(differing) > _DIFFERING * len(own):
        number = differing[0]
        raise ConfigError(
            f"{model.name} calls class {number} {own[number]!r}, the data calls it "
            f"{named[number]!r} ({len(differing)} of {len(own)} names differ): the classes are in "
            "another order, so the accuracy would be wrong; put one of them into the order of the "
            "other (`--classes` does so for a known label map)"
        )
    return own
