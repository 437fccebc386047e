"""Score answers to the challenge of future hand prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internvideo.errors import DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.report import interval_over_groups
from internvideo.tasks.hand_prediction.metric import displacements, distances
from internvideo.tasks.hand_prediction.reading import read_clips, read_predictions
from internvideo.tasks.hand_prediction.report import HandReport

__all__ = ["score"]


def score(data: AnnotatedData, predictions: Path) -> HandReport:
    """Score a submission to the challenge of Ego4D's future hand prediction.

    Mean distance of the hands over five key frames and at contact, in pixels of the annotated
    frame, each hand by itself. An entry without an answer has no distance: it is listed and left
    out. No model is asked: there is no training of one here, and no weights were released.

    Raises:
        DataError: the annotations or the submission cannot be used, or do not belong together.
        ConfigError: an option that such annotations do not have.
    """
    path = data.only_file()
    clips, faults = read_clips(path)
    answers = read_predictions(predictions)
    silent = [clip.name for clip in clips if clip.name not in answers]
    clips_answered = [clip for clip in clips if clip.name in answers]
    if not clips_answered:
        raise DataError(
            f"{predictions} answers none of the {len(clips)} entries of {path}; expected names "
            f"such as {clips[0].name if clips else '12_715'}"
        )
    targets = np.stack([np.reshape(clip.hands, 20) for clip in clips_answered])
    given = np.stack([answers[clip.name] for clip in clips_answered])
    measured = {k: v for k, v in displacements(given, targets).items() if v == v}
    distance, annotated = distances(given, targets)
    groups = np.array([clip.name.rpartition("_")[0] for clip in clips_answered])
    remarks: list[str] = []
    if unknown := sorted(answers.keys() - {clip.name for clip in clips}):
        remarks.append(f"{len(unknown)} answers are to no entry, such as {unknown[0]}")
    if silent:
        remarks.append(f"{len(silent)} entries have no answer and are left out of the distances")
    return HandReport(
        measured=measured,
        intervals={name: _interval(name, distance, annotated, groups) for name in measured},
        num_entries=len(clips_answered),
        num_hands=int(annotated.sum()),
        remarks=tuple(remarks),
        failures=(
            *((path.name, fault) for fault in faults),
            *((name, f"{predictions} has no answer to {name}") for name in silent),
        ),
        protocol="Ego4D's official rules, pixels of the annotated frame",
    )


def _interval(
    name: str, distance: np.ndarray, annotated: np.ndarray, groups: np.ndarray
) -> tuple[float, float]:
    hand, _, kind = name.partition("_")
    where = np.s_[:, slice(-1, None) if kind == "contact" else slice(None), int(hand == "right")]
    held = annotated[where]
    of_clip = np.broadcast_to(groups[:, None], held.shape)[held]
    low, high = interval_over_groups(distance[where][held], of_clip).tolist()
    return low, high
