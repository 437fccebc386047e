"""Score answers to the challenge of short-term anticipation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from internvideo.errors import DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.tasks.anticipation.metric import headline
from internvideo.tasks.anticipation.reading import read_pictures
from internvideo.tasks.anticipation.report import AnticipationReport
from internvideo.tasks.task import Option

__all__ = ["score"]


def score(
    data: AnnotatedData,
    predictions: Path,
    *,
    top_k: Annotated[
        int, Option("Of the average precision; 1 counts every wrong box.", flags=("-k",), minimum=1)
    ] = 5,
    every_box: Annotated[
        bool,
        Option("Count true boxes of pictures without any detection, too; officially left out."),
    ] = False,
) -> AnticipationReport:
    """Score a submission to the challenge of Ego4D's short-term object interaction anticipation.

    Top-5 mean average precision over nouns at overlap 0.5: of the noun, with the verb, with the
    time to contact within 0.25 s, and with both. Pictures without an answer, and objects that
    cannot be used, are listed. No model is asked: there is no training of one here, and no weights
    were released.

    Raises:
        DataError: the annotations or the submission cannot be used, or have nothing to find.
        ConfigError: an option that such annotations do not have.
    """
    path = data.only_file()
    pictures, faults = read_pictures(path, predictions)
    num_true = sum(len(each.true) for each in pictures)
    if not num_true:
        raise DataError(f"{path} has no usable objects in {len(pictures)} pictures")
    answered = [each for each in pictures if len(each.found)]
    if not answered:
        raise DataError(f"{predictions} has no usable detections in the pictures of {path}")
    return AnticipationReport(
        measured=headline(pictures, top_k=top_k, strict=every_box),
        top_k=top_k,
        every_box=every_box,
        num_pictures=len(pictures),
        num_pictures_found=len(answered),
        num_true=num_true,
        num_true_silent=num_true - sum(len(each.true) for each in answered),
        failures=tuple((path.name, fault) for fault in faults),
        protocol="Ego4D's official rules" + (", but every true box counts" if every_box else ""),
    )
