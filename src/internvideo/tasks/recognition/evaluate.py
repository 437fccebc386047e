"""How well a classifier recognises actions: every view of every video, and what they say together.

source ──► logits of all views of a video ──► merged ──► predictions.jsonl ──► RecognitionReport
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import nn

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError
from internvideo.evaluation.accuracy import RecognitionReport, VideoPrediction
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.report import answered_and_failures
from internvideo.tasks.recognition.merge import ViewLogits, best_classes, merge_views
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing, Sampling
from internvideo.zoo.hub import LoadedModel

__all__ = ["ClassPredictor", "center_view", "evaluate", "measure"]

_VALIDATION: dict[str, Sampling] = {"dense": "center", "sparse": "segment"}
_DIFFERING = 0.1  # share of the names that may be spelt otherwise


def center_view(protocol: Preprocessing) -> Preprocessing:
    """Return the protocol of a quick look: one clip in the middle, through its central crop.

    As in the reference, whose validation takes its frames by other rules than the test.
    """
    sampling = _VALIDATION.get(protocol.sampling)
    if sampling is None:
        return dataclasses.replace(protocol, num_clips=1, num_crops=1)
    return dataclasses.replace(
        protocol, sampling=sampling, num_clips=1, num_crops=1, crop_rounding="even"
    )


class ClassPredictor(Answerer[VideoPrediction]):
    """Ranks the true class of a video among the classes of a model.

    Args:
        network: gives logits for a batch of clips.
        protocol: frames, clips and crops, resolution.
        label: the true class of a video, by its number.
    """

    def __init__(
        self, network: nn.Module, protocol: Preprocessing, label: Callable[[int], int | None]
    ) -> None:
        super().__init__(network, protocol)
        self.label = label

    def answer(self, batch: Batch) -> list[VideoPrediction]:
        """Return the classes of each video by their probability, averaged over its views."""
        found = []
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
            shares = merged.scores[0].tolist()
            found.append(
                VideoPrediction.from_order(
                    best_classes(merged.scores, len(shares))[0].tolist(),
                    shares,
                    shares,
                    index=video.index,
                    video=video.name,
                    label=int(self.label(video.index)),  # type: ignore[arg-type]
                    num_views=len(logits),
                )
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
    Videos that cannot be read are listed; they are no part of top-1, and a second number counts
    them as misses.

    Args:
        model: a classifier with the protocol to use.
        source: the videos.
        loop: how the evaluation runs.
        views: all of the protocol, or the one of `center_view`.

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: the model is not a classifier, its classes are those of the data in another
            order, or the folder holds another evaluation.
    """
    names = _class_names(model, source)
    source.check_labels(len(names))
    protocol = model.protocol if views == "all" else center_view(model.protocol)
    answered = loop.run(ClassPredictor(model.model, protocol, source.label), source)
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
    """Measure a classifier in a training run: quickly on the way, with all views in the end."""
    return evaluate(model, source, loop=loop, views="center" if quick else "all")


def _class_names(model: LoadedModel, source: EvaluationSource) -> tuple[str, ...]:
    """Return the names of the classes: of the model, or else of the data, or else numbers.

    Raises:
        ConfigError: not a classifier, or model and data name the same number of classes in
            another order.
    """
    numbered = model.class_names
    if numbered is None:
        hint = ", or ask it with sentences: `internvideo evaluate zero-shot`"
        raise ConfigError(
            f"{model.name} has no classes of its own, so there is no accuracy to measure; give a "
            "classifier, such as one that `internvideo train` made of a supervised recipe"
            + (hint if model.tokenizer is not None else "")
        )
    own, named = model.labels, source.class_names
    if named is None or len(named) != len(numbered):
        return numbered
    if own is None:
        return named
    differing = [
        n for n, (a, b) in enumerate(zip(own, named, strict=True)) if _plain(a) != _plain(b)
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


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
