"""Measure how well a model detects actions, or score a result file of any origin."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (tensors and arrays leave the types of their lists open)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.data.key_frames import KeyFrameSource, open_key_frames
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import answered_and_failures
from internvideo.formats.ava import read_persons
from internvideo.formats.box_rows import (
    EVALUATED,
    NUM_CLASSES,
    BoxRows,
    image_key,
    read_excluded,
    read_label_map,
    read_rows,
    write_results,
)
from internvideo.tasks.action_detection.finding import ActionFinder, ActorActions, check_detector
from internvideo.tasks.action_detection.metric import frame_ap
from internvideo.tasks.action_detection.report import DetectionReport
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.labels import label_names

__all__ = ["evaluate", "measure", "open_boxes", "score"]

_DIGITS = 5  # of sides and scores in a result file, with which the official evaluation works
_SHOWN = 3

PersonFile: TypeAlias = Annotated[
    Path | None,
    Option("Boxes that a detector of persons found (json, csv); by default the true ones."),
]
ExcludedFile: TypeAlias = Annotated[
    Path | None, Option("A csv of movie,timestamp: pictures that do not count.")
]
LabelMapFile: TypeAlias = Annotated[
    Path | None,
    Option("Which classes count, such as ava_action_list_v2.2_for_activitynet_2019.pbtxt."),
]
Overlap: TypeAlias = Annotated[float, Option("Least overlap of a hit.", minimum=0.0)]


def open_boxes(data: AnnotatedData, protocol: Preprocessing) -> KeyFrameSource:
    """Read annotated boxes.

    Raises:
        DataError: the file cannot be used.
        ConfigError: an option that such data do not have.
    """
    if data.is_world:
        raise ConfigError("write boxes of the world first: internvideo world --format ava")
    if data.split is not None or data.first_label is not None:
        raise ConfigError("--split and --first-label do not go with boxes; leave them out")
    return open_key_frames(
        Path(data.path),
        protocol,
        root=data.root,
        kind=data.format,
        labels=None if data.labels is None else Path(data.labels),
        strict=False,
    )


def evaluate(
    model: LoadedModel,
    source: KeyFrameSource,
    *,
    loop: EvalLoop,
    persons: PersonFile = None,
    least_score: Annotated[float, Option("Of the boxes of --persons.")] = 0.8,
    excluded: ExcludedFile = None,
    label_map: LabelMapFile = None,
    overlap: Overlap = 0.5,
    result: Annotated[
        Path | None, Option("Write the detections here, as the challenge takes them (csv).")
    ] = None,
) -> DetectionReport:
    """Measure how well a detector tells what is done in boxes: the official frame mAP of AVA.

    The boxes are those of a detector of persons, from --least-score on, or the true ones. Videos
    that are missing or cannot be read are listed, and their true boxes count as missed. Of 80
    classes the 60 of the official evaluation count; --label-map names others. Beside the model
    stands what the frequency of each class gives on the same boxes. --predictions scores a result
    file of any origin, without a model.

    Raises:
        ConfigError: the model is no detector, or knows other classes.
        DataError: the annotations or boxes cannot be used.
    """
    asked = source
    if persons is not None:
        videos = source.annotated
        found = read_persons(persons, {each.id: each.size for each in videos.videos})
        asked = KeyFrameSource(
            videos, source.protocol, root=source.root, persons=found, least_score=least_score
        )
    finder = ActionFinder(model, asked)
    _check_classes(model, source)
    answered = loop.run(finder, asked)
    answers, failures = answered_and_failures(answered)
    good = [each for each in answered if each.answer is not None]
    names = [asked.frames[each.index].name for each in good]
    rows = result_rows(names, answers)
    if result is not None and loop.is_first:
        write_results(result, _lines(rows))
    out = frozenset[str]() if excluded is None else read_excluded(excluded)
    report = _report(source.annotated, rows, out, label_map, overlap=overlap)
    return replace(
        report,
        model=model.name,
        failures=failures,
        missing=source.missing,
        num_frames=len(answers),
        protocol=describe(model.protocol, persons),
    )


def describe(protocol: Preprocessing, persons: Path | None) -> str:
    """Return how key frames were looked at, in one line."""
    boxes = "true boxes" if persons is None else f"boxes of {persons.name}"
    return (
        f"{protocol.num_frames} frames stride {protocol.frame_stride} around the key frame, short "
        f"side {protocol.resize_size}, whole pictures, {boxes}"
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> DetectionReport:
    """Measure in a training run.

    Raises:
        ConfigError: the data of the evaluation have no boxes.
    """
    del quick
    if not isinstance(source, KeyFrameSource):
        raise ConfigError("a detector is measured on boxes: evaluation.data.kind must be boxes")
    return evaluate(model, source, loop=loop)


def score(
    data: AnnotatedData,
    predictions: Path,
    *,
    excluded: ExcludedFile = None,
    label_map: LabelMapFile = None,
    overlap: Overlap = 0.5,
) -> DetectionReport:
    """Score a result csv as the challenge of AVA takes it.

    Raises:
        DataError: a file cannot be used; the line is named.
    """
    labels = None if data.labels is None else Path(data.labels)
    videos = read_videos(Path(data.path), kind=data.format, root=data.root, labels=labels)
    rows = read_rows(predictions, scored=True)
    out = frozenset[str]() if excluded is None else read_excluded(excluded)
    report = _report(videos, rows, out, label_map or labels, overlap=overlap)
    return replace(report, num_frames=len(np.unique(rows.image)))


def _check_classes(model: LoadedModel, source: KeyFrameSource) -> None:
    held = source.class_names
    outputs: int = check_detector(model).config.num_classes
    if held is not None and len(held) != outputs:
        raise ConfigError(
            f"{model.name} knows {outputs} actions, {source.annotated.file} has {len(held)}; give "
            "annotations of the actions that it was trained on"
        )
    source.check_labels(outputs)


def result_rows(names: Sequence[str], answers: Sequence[ActorActions]) -> BoxRows:
    """Return detections as the rows of a result file would be read: pictures, boxes, classes."""
    images, boxes, scores = list[int](), list[np.ndarray](), list[np.ndarray]()
    for number, answer in enumerate(answers):
        sides = np.array([each.box for each in answer.boxes], np.float64).reshape(-1, 4)
        boxes.append(sides.clip(0, 1))
        scores.append(answer.scores.double().numpy())
        images += [number] * len(sides)
    classes = max((each.shape[1] for each in scores if each.size), default=0)
    flat = np.concatenate([each.reshape(-1) for each in scores]) if scores else np.zeros(0)
    sides = np.concatenate(boxes) if boxes else np.zeros((0, 4))
    return BoxRows(
        tuple(names),
        np.repeat(np.array(images, np.int32), classes),
        np.repeat(sides.round(_DIGITS), classes, axis=0),
        np.tile(np.arange(1, classes + 1, dtype=np.int32), len(sides)),
        flat.round(_DIGITS),
        np.arange(len(flat)),
    )


def _lines(rows: BoxRows) -> Iterable[tuple[str, int, Sequence[float], int, float]]:
    for place, box, action, value in zip(
        rows.image.tolist(), rows.boxes.tolist(), rows.actions.tolist(), rows.values.tolist(),
        strict=True,
    ):  # fmt: skip
        movie, _, stamp = rows.images[place].rpartition(",")
        yield movie, int(stamp), box, action, value


def true_rows(videos: AnnotatedVideos) -> BoxRows:
    """Return the true boxes as rows: one for each action of each box."""
    names: dict[str, int] = {}
    images, boxes, actions = list[int](), list[Sequence[float]](), list[int]()
    for video in videos.videos:
        for each in video.boxes:
            name = image_key(video.id or Path(video.path).stem, each.time + video.offset)
            place = names.setdefault(name, len(names))
            for label in each.labels:
                images.append(place)
                boxes.append(each.box)
                actions.append(label + 1)
    return BoxRows(
        tuple(names),
        np.array(images, np.int32),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(actions, np.int32),
        np.full(len(images), np.nan),
        np.arange(len(images)),
    )


def _report(
    videos: AnnotatedVideos,
    found: BoxRows,
    excluded: frozenset[str],
    label_map: Path | None,
    *,
    overlap: float,
) -> DetectionReport:
    names = _class_names(videos, label_map)
    truth = true_rows(videos)
    if not len(truth):
        raise DataError(f"{videos.file} has no true boxes with actions, so nothing is measured")
    classes = sorted(names)
    measured = frame_ap(truth, found, classes, excluded=excluded, overlap=overlap)
    constant = frame_ap(
        truth, _with_frequencies(truth, found), classes, excluded=excluded, overlap=overlap
    )
    return DetectionReport(
        measured=measured,
        baseline=constant,
        names=names,
        overlap=overlap,
        missing={},
        remarks=tuple(_remarks(videos, truth, found)),
        data=str(videos.file),
    )


def _class_names(videos: AnnotatedVideos, label_map: Path | None) -> Mapping[int, str]:
    """Return the classes that count, by their ids."""
    if label_map is not None:
        return read_label_map(label_map)
    if videos.class_names is not None and len(videos.class_names) != NUM_CLASSES:
        return dict(enumerate(videos.class_names, start=1))
    names = videos.class_names or label_names("ava/official")
    return {number: names[number - 1] for number in EVALUATED}


def _with_frequencies(truth: BoxRows, found: BoxRows) -> BoxRows:
    """Return the found boxes with the frequency of each class among the true ones as its score."""
    if not len(found):
        return found
    last = int(max(truth.actions.max(), found.actions.max()))
    counts: Int[np.ndarray, " k"] = np.bincount(truth.actions, minlength=last + 1)
    shares: Float[np.ndarray, " k"] = counts / max(int(counts.sum()), 1)
    return replace(found, values=shares[found.actions])


def _remarks(videos: AnnotatedVideos, truth: BoxRows, found: BoxRows) -> Iterable[str]:
    if videos.bad_lines:
        first = "; ".join(line.message for line in videos.bad_lines[:_SHOWN])
        more = "; …" if len(videos.bad_lines) > _SHOWN else ""
        yield f"{len(videos.bad_lines)} entries of the annotations are left out: {first}{more}"
    beyond = int(((truth.boxes < 0) | (truth.boxes > 1)).any(axis=1).sum())
    if beyond:
        yield f"{beyond} true boxes reach beyond the picture; they count as they are"
    unknown = sum(name not in set(truth.images) for name in found.images)
    if unknown:
        yield f"{unknown} pictures with detections have no true boxes; what is found there is wrong"
