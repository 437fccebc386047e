"""Measure a detector of state changes by COCO's average precision, or score a list of boxes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.annotations import VideoAnnotation
from internvideo.data.feature_videos import read_videos
from internvideo.data.samples import EvaluationSource
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import failures_of
from internvideo.files import replacing
from internvideo.formats.ego4d_scod import pixel_box
from internvideo.formats.files import read_json
from internvideo.tasks.state_change.finding import MAX_BOXES, ObjectFinder, ScoredBoxes
from internvideo.tasks.state_change.metric import PictureBoxes, box_ap
from internvideo.tasks.state_change.pictures import PictureSource, read_pictures
from internvideo.tasks.state_change.report import StateChangeReport
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "measure", "open_pictures", "score"]

_LOG = logging.getLogger(__name__)


def open_pictures(data: AnnotatedData, protocol: Preprocessing | None = None) -> PictureSource:
    """Open annotated key frames; what cannot be used is warned of.

    Raises:
        DataError: the file cannot be used, or has no boxes.
        ConfigError: an option that such data do not have.
    """
    del protocol
    if data.is_world:
        raise ConfigError("the world has no list of state changes; give an annotation file")
    path, labels = Path(data.path), data.labels and Path(data.labels)
    annotated = read_videos(
        path, kind=data.format, root=data.root, labels=labels or None, split=data.split
    )
    for line in annotated.bad_lines[:1]:
        _LOG.warning(
            "%s: %d lines cannot be used and are left out: %s",
            path,
            len(annotated.bad_lines),
            line.message,
        )
    return read_pictures(UntrimmedSource(annotated))


def evaluate(
    model: LoadedModel,
    pictures: PictureSource,
    *,
    loop: EvalLoop,
    max_boxes: Annotated[int, Option("Surest boxes of a picture.", minimum=1)] = MAX_BOXES,
    submission: Annotated[
        Path | None, Option("Write the boxes into this file, as lists of results of COCO.")
    ] = None,
) -> StateChangeReport:
    """Measure how well a detector finds the object that changes its state.

    Average precision by the rules of COCO: the mean over overlaps from 0.50 to 0.95 at 100 boxes a
    picture, all other numbers at 1000. A picture that cannot be read has no boxes, so those that
    are truly there are missed. --predictions scores such a file of boxes without a model.

    Raises:
        ConfigError: the model does not find objects in pictures.
        MissingExtraError: the extra "detection" is not installed.
    """
    finder = ObjectFinder(model, limit=max_boxes)
    if (num_classes := finder.detector.config.num_classes) != 1:
        raise ConfigError(
            f"{model.name} has {num_classes} classes; state changes are measured for one"
        )
    answered = loop.run(finder, pictures)
    found = {each.index: each.answer for each in answered if each.answer is not None}
    if submission is not None and loop.is_first:
        _write(submission, pictures.annotated.videos, found)
    return replace(
        _report(pictures, found),
        failures=failures_of(answered),
        protocol=finder.describe(),
        model=model.name,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> StateChangeReport:
    """Measure a detector in its training."""
    del quick
    if not isinstance(source, UntrimmedSource):
        raise ConfigError("state changes are measured on key frames: data.kind must be untrimmed")
    return evaluate(model, read_pictures(source), loop=loop)


def score(data: AnnotatedData, predictions: Path) -> StateChangeReport:
    """Score a list of boxes as `evaluate` writes it.

    Raises:
        DataError: the annotations or the boxes cannot be used, or do not belong together.
    """
    pictures = open_pictures(data)
    videos = pictures.annotated.videos
    places = {video.id: number for number, video in enumerate(videos)}
    found: dict[int, list[tuple[list[float], float]]] = {number: [] for number in places.values()}
    content = read_json(predictions)
    if not isinstance(content, list):
        raise DataError(f"{predictions}: expected a list of boxes, each with image_id and score")
    for number, each in enumerate(cast("list[Any]", content), start=1):
        try:
            place = places[str(each["image_id"])]
            sides, sure = [float(side) for side in each["bbox"]], float(each["score"])
            if len(sides) != 4 or not np.isfinite([*sides, sure]).all():
                raise ValueError
        except KeyError as error:
            raise DataError(
                f"{predictions}: box {number} has no {error}, or is of a picture that is not there"
            ) from None
        except (TypeError, ValueError):
            raise DataError(
                f"{predictions}: box {number} is {str(each)[:80]}; expected numbers bbox "
                "[left, top, width, height] and score"
            ) from None
        found[place].append((sides, sure))
    boxes = [
        PictureBoxes(
            _true_boxes(video),
            _rows([sides for sides, _ in found[number]]),
            np.array([sure for _, sure in found[number]]),
        )
        for number, video in enumerate(videos)
    ]
    return _measured(pictures, boxes, num_answered=sum(map(bool, found.values())))


def _true_boxes(video: VideoAnnotation) -> Float[np.ndarray, "n 4"]:
    assert video.size is not None
    return _rows([pixel_box(box, video.size) for box in video.boxes])


def _rows(boxes: Sequence[Sequence[float]]) -> Float[np.ndarray, "n 4"]:
    rows = np.zeros((len(boxes), 4))
    for place, box in enumerate(boxes):
        rows[place] = box
    return rows


def _in_pixels(video: VideoAnnotation, found: ScoredBoxes) -> Float[Tensor, "n 4"]:
    assert video.size is not None
    boxes = found.boxes.double() * found.boxes.new_tensor(video.size).repeat(2)
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def _report(pictures: PictureSource, found: Mapping[int, ScoredBoxes]) -> StateChangeReport:
    none = np.zeros((0, 4)), np.zeros(0)
    boxes: list[PictureBoxes] = []
    for number, video in enumerate(pictures.annotated.videos):
        answer = found.get(number)
        parts = (
            none if answer is None else (_in_pixels(video, answer).numpy(), answer.scores.numpy())
        )
        boxes.append(PictureBoxes(_true_boxes(video), *parts))
    return _measured(pictures, boxes, num_answered=len(found))


def _measured(
    pictures: PictureSource, boxes: list[PictureBoxes], *, num_answered: int
) -> StateChangeReport:
    return StateChangeReport(
        measured=box_ap(boxes).headline(),
        num_pictures=len(boxes),
        num_pictures_answered=num_answered,
        num_true=sum(len(each.true) for each in boxes),
        num_found=sum(len(each.found) for each in boxes),
        num_left_out=len(pictures.annotated.bad_lines),
    )


def _write(
    path: Path, videos: tuple[VideoAnnotation, ...], found: Mapping[int, ScoredBoxes]
) -> None:
    rows: list[dict[str, Any]] = []
    for number, answer in found.items():
        video = videos[number]
        name = int(video.id) if video.id.isdecimal() else video.id
        rows += [
            {"image_id": name, "category_id": label + 1, "bbox": sides, "score": sure}
            for sides, sure, label in zip(
                as_list(_in_pixels(video, answer).round(decimals=3)),
                as_list(answer.scores),
                as_list(answer.labels),
                strict=True,
            )
        ]
    with replacing(path) as draft:
        draft.write_text(json.dumps(rows) + "\n", encoding="utf-8")
