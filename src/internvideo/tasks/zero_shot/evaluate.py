"""How well sentences recognise labelled videos, video by video, and what was said of each.

    source ──► scores "v k" of all views of a video (`answering`) ──► their mean ──► rank of the
    true class ──► predictions.jsonl, one line a video ──► ZeroShotReport

The scores of all videos are kept too (n x k float32), for the dual softmax over them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import torch
from internvideo.metrics import dual_softmax, top_k_accuracy
from internvideo.results import VideoPrediction, ZeroShotReport
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import DataError
from internvideo.evaluation.engine import Line, Running, answer_videos, gathered
from internvideo.evaluation.predictions import stored_scores
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier
from internvideo.zoo.fingerprint import weights_sha256

if TYPE_CHECKING:
    from internvideo.data.samples import EvaluationSource

__all__ = ["evaluate_zero_shot"]

_BEST = 5
_DIGITS = 8
_RUNNING = Running()


def evaluate_zero_shot(
    classifier: ZeroShotClassifier, source: EvaluationSource, *, running: Running = _RUNNING
) -> ZeroShotReport:
    """Measure a model on labelled videos by the sentences of their classes.

    A video that cannot be read is never left out in silence: it is listed in the report's
    `failures`, and counts as a miss in its `top1_of_all`.

    Args:
        classifier: the model, its protocol, and the sentences; labels of the source count them.
        source: the videos; each is decoded once, whatever the number of classes.
        running: batch size, workers, and the file of the answers, whose `scores` are the mean
            cosines (or probabilities) of all classes.

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: the file of the answers is one of another evaluation.
    """
    if not len(source):
        raise DataError("there are no videos to evaluate: the list is empty")
    source.check_labels(len(classifier.labels))
    rows = {index: torch.tensor(row) for index, row in stored_scores(running.predictions)}
    labels = classifier.labels

    def to_line(index: int, scores: Float[Tensor, "v k"]) -> Line:
        mean = scores.mean(dim=0)
        rows[index] = mean
        return _line(classifier, source, index, mean, num_views=len(scores))

    lines = answer_videos(
        cast(nn.Module, classifier.model),
        classifier.scores,
        to_line,
        source,
        classifier.preprocessing,
        evaluation=_identity(classifier, source, running),
        running=running,
    )
    for part in gathered(rows, running.fabric):
        rows |= part
    answered = [line for line in lines if "error" not in line]
    return ZeroShotReport(
        labels=labels,
        predictions=tuple(VideoPrediction.from_dict(line) for line in answered),
        failures=tuple((line["video"], line["error"]) for line in lines if "error" in line),
        protocol=classifier.preprocessing.describe(),
        model=classifier.name,
        sentences=tuple(classifier.prompts[labels[0]]),
        ensemble=classifier.ensemble,
        dual_softmax=_reranked(rows, answered),
    )


def _identity(
    classifier: ZeroShotClassifier, source: EvaluationSource, running: Running
) -> dict[str, Any]:
    """Return what makes two evaluations the same one; nothing where none can be continued."""
    if running.predictions is None:
        return {}
    said = json.dumps(
        [[name, *texts] for name, texts in classifier.prompts.items()], ensure_ascii=False
    )
    return {
        "protocol": classifier.preprocessing.to_dict(),
        "weights": weights_sha256(cast(nn.Module, classifier.model)),
        "classes": hashlib.sha256(said.encode()).hexdigest(),
        "ensemble": classifier.ensemble,
        "num_videos": len(source),
        "first_video": source.key(0),
    }


def _line(
    classifier: ZeroShotClassifier,
    source: EvaluationSource,
    index: int,
    scores: Float[Tensor, " k"],
    *,
    num_views: int,
) -> Line:
    # Of equal scores the last class comes first, as in the reference and in `metrics`.
    order = scores.argsort(stable=True).flip(0).tolist()
    shares = classifier.probabilities(scores)
    label = cast(int, source.label(index))
    prediction = VideoPrediction(
        index=index,
        video=source.key(index),
        label=label,
        rank=order.index(label),
        best=tuple(order[:_BEST]),
        probabilities=tuple(round(float(shares[each]), _DIGITS) for each in order[:_BEST]),
        num_views=num_views,
    )
    return {**prediction.to_dict(), "scores": [round(each, _DIGITS) for each in scores.tolist()]}


def _reranked(rows: dict[int, Tensor], answered: list[Line]) -> dict[str, float]:
    """Return the numbers after the dual softmax; nothing where no video could be read."""
    if not answered:
        return {}
    scores = dual_softmax(torch.stack([rows[line["index"]] for line in answered]))
    labels = torch.tensor([line["label"] for line in answered])
    top1, top5 = (top_k_accuracy(scores, labels, k) for k in (1, 5))
    return {"top1": top1, "top5": top5, "avg": round((top1 + top5) / 2, 3)}
