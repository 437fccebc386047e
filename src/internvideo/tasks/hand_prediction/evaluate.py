"""Measure a model on Ego4D's future hand prediction, or score a submission of any origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float

from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.data.samples import EvaluationSource
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData, open_untrimmed
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import failures_of, interval_over_groups
from internvideo.formats.ego4d_fhp import read_answers, write_answers
from internvideo.tasks.hand_prediction.finding import HandFinder
from internvideo.tasks.hand_prediction.metric import (
    displacements,
    distances,
    mean_hands,
    targets_of,
)
from internvideo.tasks.hand_prediction.report import HandReport
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "measure", "open_clips", "score"]


def open_clips(data: AnnotatedData, protocol: Preprocessing) -> UntrimmedSource:
    """Open annotated clips; no video is touched.

    Raises:
        DataError: the file cannot be used.
        ConfigError: an option that such data do not have.
    """
    del protocol
    return open_untrimmed(data, kind="ego4d-fhp")


def evaluate(
    model: LoadedModel,
    source: UntrimmedSource,
    *,
    loop: EvalLoop,
    submission: Annotated[
        Path | None, Option("Write the answers here, as the challenge takes them (json).")
    ] = None,
) -> HandReport:
    """Measure where a model expects the hands in Ego4D's future hand prediction.

    Mean distance of the hands over five key frames and at contact, in pixels of the annotated
    frame, each hand by itself. A clip that cannot be read has no distance: it is listed and left
    out. Beside the model stand the mean place of each hand over these clips, and hands that stay
    where they are annotated first, which no model is told. --predictions scores a submission of any
    origin, without a model.

    Raises:
        ConfigError: the model does not predict hands.
        DataError: no clip can be read.
    """
    return _measured(HandFinder(model), model, source, loop, submission)


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> HandReport:
    """Measure in a training run."""
    if not isinstance(source, UntrimmedSource):
        raise ConfigError("hands are measured on annotated clips: data.kind must be untrimmed")
    protocol = replace(model.protocol, num_clips=1) if quick else None
    return _measured(HandFinder(model, protocol), model, source, loop, None)


def _measured(
    finder: HandFinder,
    model: LoadedModel,
    source: UntrimmedSource,
    loop: EvalLoop,
    submission: Path | None,
) -> HandReport:
    answered = loop.run(finder, source)
    found = {each.video: each.answer for each in answered if each.answer is not None}
    failures = failures_of(answered)
    if not found:
        raise DataError(f"no clip of {source.annotated.file} can be read: {failures[0][1]}")
    if submission is not None and loop.is_first:
        write_answers(submission, found)
    report = _report(source.annotated, found)
    return replace(
        report,
        failures=report.failures + failures,
        model=model.name,
        protocol=finder.protocol.describe(),
    )


def score(data: AnnotatedData, predictions: Path) -> HandReport:
    """Score a submission to the challenge of Ego4D's future hand prediction.

    Raises:
        DataError: the annotations or the submission cannot be used, or do not belong together.
        ConfigError: an option that such annotations do not have.
    """
    data.only_file()
    annotated = open_untrimmed(data, kind="ego4d-fhp").annotated
    answers = read_answers(predictions)
    names = [video.id for video in annotated.videos]
    if not answers.keys() & set(names):
        raise DataError(
            f"{predictions} answers none of the {len(names)} entries of {annotated.file}; expected "
            f"names such as {names[0]}"
        )
    silent = [name for name in names if name not in answers]
    remarks: list[str] = []
    if unknown := sorted(answers.keys() - set(names)):
        remarks.append(f"{len(unknown)} answers are to no entry, such as {unknown[0]}")
    if silent:
        remarks.append(f"{len(silent)} entries have no answer and are left out of the distances")
    report = _report(annotated, answers)
    unanswered = ((name, f"{predictions} has no answer to {name}") for name in silent)
    return replace(
        report,
        remarks=tuple(remarks),
        failures=(*report.failures, *unanswered),
        protocol="Ego4D's official rules, pixels of the annotated frame",
    )


def _report(
    annotated: AnnotatedVideos, answers: Mapping[str, Float[np.ndarray, " 20"]]
) -> HandReport:
    """Return the displacements of what is answered; the other entries have none."""
    videos = [video for video in annotated.videos if video.id in answers]
    targets = np.stack([targets_of(video) for video in videos])
    given = np.stack([answers[video.id] for video in videos])
    measured = {k: v for k, v in displacements(given, targets).items() if v == v}
    if not measured:
        raise DataError(f"{annotated.file} has no hands in the {len(videos)} answered entries")
    distance, shown = distances(given, targets)
    groups = np.array([video.id.rpartition("_")[0] for video in videos])
    baselines = {
        "mean_place": np.broadcast_to(mean_hands(targets), targets.shape),
        "at_rest": _at_rest(targets),
    }
    return HandReport(
        measured=measured,
        intervals={name: _interval(name, distance, shown, groups) for name in measured},
        baselines={
            name: {key: displacements(each, targets)[key] for key in measured}
            for name, each in baselines.items()
        },
        num_entries=len(videos),
        num_hands=int(shown.sum()),
        failures=tuple((annotated.file.name, line.message) for line in annotated.bad_lines),
    )


def _at_rest(targets: Float[np.ndarray, "n 20"]) -> Float[np.ndarray, "n 20"]:
    """Return for each hand the place of the first key frame where it is annotated."""
    points = np.reshape(targets, (len(targets), -1, 2, 2))
    first = (points != 0).any(axis=-1).argmax(axis=1)  # "n 2"
    still = np.take_along_axis(points, first[:, None, :, None], axis=1)  # "n 1 2 2"
    return np.reshape(np.broadcast_to(still, points.shape), targets.shape)


def _interval(
    name: str,
    distance: Float[np.ndarray, "n 5 2"],
    annotated: Bool[np.ndarray, "n 5 2"],
    groups: np.ndarray,
) -> tuple[float, float]:
    hand, _, kind = name.partition("_")
    where = np.s_[:, slice(-1, None) if kind == "contact" else slice(None), int(hand == "right")]
    held = annotated[where]
    of_clip = np.broadcast_to(groups[:, None], held.shape)[held]
    low, high = interval_over_groups(distance[where][held], of_clip).tolist()
    return low, high
