"""How well a classifier recognises actions: every view of every video, and what they say together.

    source ──► all views of a video (decoded once, a few videos ahead) ──► logits ──► merged
           ──► predictions.jsonl, one line a video ──► RecognitionReport

Only a few videos are in memory at any time. Several processes share the videos; each video belongs
to exactly one, so nothing has to be counted twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import DataError, VideoError
from internvideo.results import RecognitionReport, VideoPrediction
from internvideo.tasks.classification.merge import ViewLogits, best_classes, merge_views
from internvideo.tasks.classification.predictions import PredictionFile
from internvideo.video.preprocessing import Preprocessing, Sampling
from internvideo.video.read_ahead import read_ahead
from internvideo.zoo.fingerprint import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import EvaluationSource

__all__ = ["center_view", "evaluate_classifier"]

_VALIDATION: dict[str, Sampling] = {"dense": "center", "sparse": "segment"}
_BEST = 5
_DIGITS = 8


class _Read(NamedTuple):
    """One video as it comes from the decoder."""

    index: int
    views: Float[Tensor, "v c t h w"] | VideoError


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
    rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    file = PredictionFile(predictions, _identity(model, source, protocol, predictions), rank=rank)
    finished = frozenset().union(*_gathered(file.finished, fabric))
    left = [index for index in range(len(source)) if index not in finished][rank::world_size]
    done, total = len(file.finished), len(file.finished) + len(left)
    reads = read_ahead(
        partial(_read, source, protocol), left, threads=num_workers, depth=2 * num_workers
    )
    with _asked(model, fabric) as answer, torch.inference_mode():
        for read, scores in _merged(reads, answer, protocol, batch_size=batch_size):
            file.add(_line(read, scores, source))
            done += 1
            if progress is not None:
                progress(done, total)
    file.close()
    ordered = _in_order(_gathered(file.lines, fabric))
    if rank == 0:
        file.complete(ordered)
    return _report(ordered, num_classes, protocol)


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


def _read(source: EvaluationSource, protocol: Preprocessing, index: int) -> _Read:
    try:
        return _Read(index, source.read_views(index, protocol).views)
    except VideoError as error:
        return _Read(index, error)


@contextmanager
def _asked(
    model: nn.Module, fabric: Fabric | None
) -> Iterator[Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b k"]]]:
    """Yield the function from clips to logits; the model is in evaluation mode meanwhile."""
    parameter = next(model.parameters())
    precision = fabric.autocast if fabric else nullcontext
    dtype = torch.float32 if fabric else parameter.dtype
    was_training = model.training

    def answer(clips: Tensor) -> Tensor:
        with precision():
            return model(clips.to(parameter.device, dtype)).float().cpu()

    model.eval()
    try:
        yield answer
    finally:
        model.train(was_training)


def _merged(
    reads: Iterator[_Read],
    answer: Callable[[Tensor], Tensor],
    protocol: Preprocessing,
    *,
    batch_size: int,
) -> Iterator[tuple[_Read, Float[Tensor, " k"] | None]]:
    """Yield each video with its averaged probabilities; views of several fill a batch together."""
    waiting: list[_Read] = []
    for read in reads:
        waiting.append(read)
        if len(waiting) * protocol.num_views >= batch_size:
            yield from _flush(waiting, answer, protocol, batch_size=batch_size)
            waiting = []
    yield from _flush(waiting, answer, protocol, batch_size=batch_size)


def _flush(
    waiting: Sequence[_Read],
    answer: Callable[[Tensor], Tensor],
    protocol: Preprocessing,
    *,
    batch_size: int,
) -> Iterator[tuple[_Read, Float[Tensor, " k"] | None]]:
    good = {read.index: read.views for read in waiting if isinstance(read.views, Tensor)}
    scores: dict[int, Tensor] = {}
    if good:
        clips = torch.cat(list(good.values())).split(batch_size)
        view = torch.arange(protocol.num_views).repeat(len(good))
        merged = merge_views(
            ViewLogits(
                logits=torch.cat([answer(part) for part in clips]),
                video=torch.tensor(list(good)).repeat_interleave(protocol.num_views),
                clip=view // protocol.num_crops,
                crop=view % protocol.num_crops,
            )
        )
        scores = dict(zip(merged.video.tolist(), merged.scores, strict=True))
    for read in waiting:
        yield read, scores.get(read.index)


def _line(
    read: _Read, scores: Float[Tensor, " k"] | None, source: EvaluationSource
) -> dict[str, Any]:
    """Return what the predictions file says of a video."""
    index, label = read.index, source.label(read.index)
    if isinstance(read.views, VideoError) or scores is None:
        return {
            "index": index, "video": source.key(index), "label": label, "error": str(read.views),
        }  # fmt: skip
    order = best_classes(scores[None], len(scores))[0].tolist()
    prediction = VideoPrediction(
        index=index,
        video=source.key(index),
        label=int(label),  # type: ignore[arg-type]
        rank=order.index(label),
        best=tuple(order[:_BEST]),
        probabilities=tuple(round(float(scores[each]), _DIGITS) for each in order[:_BEST]),
        num_views=len(read.views),
    )
    return {**prediction.to_dict(), "scores": [round(each, _DIGITS) for each in scores.tolist()]}


def _gathered(value: Any, fabric: Fabric | None) -> list[Any]:
    """Return the value of every process."""
    if fabric is None or fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _in_order(parts: Sequence[Mapping[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the lines of all processes, one a video; an answer comes before a failure."""
    lines: dict[int, dict[str, Any]] = {}
    for part in parts:
        lines |= {i: line for i, line in part.items() if i not in lines or "error" in lines[i]}
    return [lines[index] for index in sorted(lines)]


def _report(
    lines: Sequence[Mapping[str, Any]], num_classes: int, protocol: Preprocessing
) -> RecognitionReport:
    return RecognitionReport(
        labels=tuple(f"class {number}" for number in range(num_classes)),
        predictions=tuple(VideoPrediction.from_dict(each) for each in lines if "error" not in each),
        failures=tuple((each["video"], each["error"]) for each in lines if "error" in each),
        protocol=protocol.describe(),
    )
