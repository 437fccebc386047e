"""How well a classifier recognises actions: every view of every video, and what they say together.

source ──► logits of all views of a video (`answering`) ──► merged
       ──► predictions.jsonl, one line a video ──► RecognitionReport
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from internvideo.results import RecognitionReport, VideoPrediction
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import DataError
from internvideo.evaluation.engine import Line, Running, answer_videos
from internvideo.tasks.recognition.merge import ViewLogits, best_classes, merge_views
from internvideo.video.preprocessing import Preprocessing, Sampling
from internvideo.zoo.fingerprint import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import EvaluationSource

__all__ = ["center_view", "evaluate_classifier"]

_VALIDATION: dict[str, Sampling] = {"dense": "center", "sparse": "segment"}
_BEST = 5
_DIGITS = 8


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


def evaluate_classifier(
    model: nn.Module,
    source: EvaluationSource,
    protocol: Preprocessing,
    *,
    views: Literal["all", "center"] = "all",
    batch_size: int = 16,
    num_workers: int = 2,
    fabric: Fabric | None = None,
    predictions: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RecognitionReport:
    """Measure a classifier on labelled videos.

    A video that cannot be read is never left out in silence: it is listed in the report's
    `failures`, and counts as a miss in its `top1_of_all`.

    Args:
        model: gives logits for a batch of clips; its `config` tells `num_classes`. It is used
            where it is, in evaluation mode, and left in the mode in which it was.
        source: the videos.
        protocol: frames, clips and crops, resolution.
        views: all of the protocol, or the one of `center_view`.
        batch_size: views that go through the model together.
        num_workers: videos that are decoded at once, in threads; 0 decodes in between.
        fabric: brings precision and, where there are several processes, their share of the videos;
            every process gets the whole report.
        predictions: file of the answers, see `predictions`; an interrupted evaluation goes on.
        progress: called with (videos done, videos in all) by this process.

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: `predictions` is a file of another evaluation.
    """
    if not len(source):
        raise DataError("there are no videos to evaluate: the list is empty")
    num_classes: int = model.config.num_classes  # type: ignore[assignment]
    source.check_labels(num_classes)
    if views == "center":
        protocol = center_view(protocol)
    lines = answer_videos(
        model,
        model,
        partial(_line, source, protocol),
        source,
        protocol,
        evaluation=_identity(model, source, protocol, predictions),
        running=Running(
            batch_size=batch_size,
            num_workers=num_workers,
            fabric=fabric,
            predictions=predictions,
            progress=progress,
        ),
    )
    return _report(lines, num_classes, protocol)


def _identity(
    model: nn.Module, source: EvaluationSource, protocol: Preprocessing, path: Path | None
) -> dict[str, Any]:
    """Return what makes two evaluations the same one; nothing where none can be continued."""
    if path is None:
        return {}
    return {
        "protocol": protocol.to_dict(),
        "weights": weights_sha256(model),
        "num_videos": len(source),
        "first_video": source.key(0),
    }


def _line(
    source: EvaluationSource, protocol: Preprocessing, index: int, logits: Float[Tensor, "v k"]
) -> Line:
    """Return what the predictions file says of a video: its probabilities, averaged over views."""
    view = torch.arange(len(logits))
    merged = merge_views(
        ViewLogits(
            logits=logits,
            video=torch.zeros_like(view),
            clip=view // protocol.num_crops,
            crop=view % protocol.num_crops,
        )
    )
    [scores], label = merged.scores, source.label(index)
    order = best_classes(scores[None], len(scores))[0].tolist()
    prediction = VideoPrediction(
        index=index,
        video=source.key(index),
        label=int(label),  # type: ignore[arg-type]
        rank=order.index(label),
        best=tuple(order[:_BEST]),
        probabilities=tuple(round(float(scores[each]), _DIGITS) for each in order[:_BEST]),
        num_views=len(logits),
    )
    return {**prediction.to_dict(), "scores": [round(each, _DIGITS) for each in scores.tolist()]}


def _report(
    lines: Sequence[Mapping[str, Any]], num_classes: int, protocol: Preprocessing
) -> RecognitionReport:
    return RecognitionReport(
        labels=tuple(f"class {number}" for number in range(num_classes)),
        predictions=tuple(VideoPrediction.from_dict(each) for each in lines if "error" not in each),
        failures=tuple((each["video"], each["error"]) for each in lines if "error" in each),
        protocol=protocol.describe(),
    )
