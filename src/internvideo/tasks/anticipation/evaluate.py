"""Measure a model on Ego4D's short-term anticipation, or score a submission of any origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, TypeAlias

from internvideo.annotations import NextContact, VideoAnnotation
from internvideo.data.feature_videos import AnnotatedVideos
from internvideo.data.samples import EvaluationSource
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData, open_untrimmed
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import failures_of
from internvideo.formats.ego4d_sta import read_boxes, read_results, write_results
from internvideo.tasks.anticipation.clips import ContactSource
from internvideo.tasks.anticipation.finding import ContactFinder
from internvideo.tasks.anticipation.metric import Picture, headline
from internvideo.tasks.anticipation.report import AnticipationReport
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "measure", "open_frames", "score"]

TopK: TypeAlias = Annotated[
    int, Option("Of the average precision; 1 counts every wrong box.", flags=("-k",), minimum=1)
]
EveryBox: TypeAlias = Annotated[
    bool,
    Option("Count true boxes of pictures without any detection, too; officially left out."),
]
Contacts: TypeAlias = Sequence[NextContact]


def open_frames(data: AnnotatedData, protocol: Preprocessing) -> ContactSource:
    """Open annotated frames; no video is touched.

    Raises:
        DataError: the file cannot be used.
        ConfigError: an option that such data do not have.
    """
    del protocol
    return ContactSource(open_untrimmed(data, kind="ego4d-sta").annotated)


def evaluate(
    model: LoadedModel,
    source: ContactSource,
    *,
    loop: EvalLoop,
    boxes: Annotated[
        Path | None,
        Option("Objects that a detector found (object_detections.json); by default the true ones."),
    ] = None,
    top_k: TopK = 5,
    every_box: EveryBox = False,
    submission: Annotated[
        Path | None, Option("Write the answers here, as the challenge takes them (json).")
    ] = None,
) -> AnticipationReport:
    """Measure what a model expects in Ego4D's short-term object interaction anticipation.

    Top-5 mean average precision over nouns at overlap 0.5: of the noun, with the verb, with the
    time to contact within 0.25 s, and with both. Boxes and nouns are those of a detector, or the
    true ones, so that the noun is always right; the model tells verb and time. Beside it stand the
    most frequent verb and the median time of these annotations, in the same boxes. Frames that
    cannot be read, and objects that cannot be used, are listed. --predictions scores a submission
    of any origin, without a model.

    Raises:
        ConfigError: the model does not anticipate contacts.
        DataError: the annotations or boxes cannot be used, or have nothing to find.
    """
    annotated = source.annotated
    faults: list[str] = []
    asked = [_unanswered(video.contacts) for video in annotated.videos]
    if boxes is not None:
        given, faults = read_boxes(boxes)
        asked = [given.get(video.id, ()) for video in annotated.videos]
    finder = ContactFinder(model, asked, [_size(video) for video in annotated.videos])
    answered = loop.run(finder, source)
    found = {each.video: each.answer for each in answered if each.answer is not None}
    if submission is not None and loop.is_first:
        write_results(submission, found)
    report = _report(annotated, found, top_k=top_k, every_box=every_box)
    usual = _usual(annotated.videos)
    guessed = {
        name: [replace(each, verb=usual[0], seconds=usual[1]) for each in held]
        for name, held in found.items()
    }
    origin = "true boxes and nouns" if boxes is None else f"boxes and nouns of {boxes.name}"
    return replace(
        report,
        baseline=_report(annotated, guessed, top_k=top_k, every_box=every_box).measured,
        failures=(
            *report.failures,
            *((str(boxes), fault) for fault in faults),
            *failures_of(answered),
        ),
        protocol=f"{finder.describe()}, {origin}; {report.protocol}",
        model=model.name,
    )


def _unanswered(contacts: Contacts) -> tuple[NextContact, ...]:
    """Return boxes and nouns alone."""
    return tuple(replace(each, verb=None, seconds=None) for each in contacts)


def _size(video: VideoAnnotation) -> tuple[int, int]:
    if video.size is None:
        raise DataError(f"{video.id}: info.video_metadata has no width and height of {video.path}")
    return video.size


def _usual(videos: Sequence[VideoAnnotation]) -> tuple[int | None, float | None]:
    """Return the most frequent verb and the median time."""
    contacts = [each for video in videos for each in video.contacts]
    verbs = Counter(each.verb for each in contacts if each.verb is not None)
    times = [each.seconds for each in contacts if each.seconds is not None]
    if not verbs or not times:
        raise DataError(f"none of the {len(videos)} frames has objects with verb and time")
    return verbs.most_common(1)[0][0], median(times)


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> AnticipationReport:
    """Measure in a training run, on the true boxes."""
    del quick
    if not isinstance(source, UntrimmedSource):
        raise ConfigError("contacts are measured at annotated frames: data.kind must be untrimmed")
    return evaluate(model, ContactSource(source.annotated), loop=loop)


def score(
    data: AnnotatedData, predictions: Path, *, top_k: TopK = 5, every_box: EveryBox = False
) -> AnticipationReport:
    """Score a submission to the challenge of Ego4D's short-term object interaction anticipation.

    Raises:
        DataError: the annotations or the submission cannot be used, or have nothing to find.
        ConfigError: an option that such annotations do not have.
    """
    data.only_file()
    annotated = open_untrimmed(data, kind="ego4d-sta").annotated
    answers, faults = read_results(predictions)
    names = {video.id for video in annotated.videos}
    faults += [f"{predictions}: {name} has no answer" for name in sorted(names - answers.keys())]
    faults += [f"{predictions}: {name} is not annotated" for name in sorted(answers.keys() - names)]
    report = _report(annotated, answers, top_k=top_k, every_box=every_box)
    if not report.num_pictures_found:
        raise DataError(f"{predictions} has no usable detections in the pictures of {data.path}")
    return replace(
        report, failures=(*report.failures, *((predictions.name, fault) for fault in faults))
    )


def _report(
    annotated: AnnotatedVideos,
    answers: Mapping[str, Contacts],
    *,
    top_k: int,
    every_box: bool,
) -> AnticipationReport:
    pictures = [Picture.of(each.contacts, answers.get(each.id, ())) for each in annotated.videos]
    num_true = sum(len(each.true) for each in pictures)
    if not num_true:
        raise DataError(f"{annotated.file} has no usable objects in {len(pictures)} pictures")
    answered = [each for each in pictures if len(each.found)]
    return AnticipationReport(
        measured=headline(pictures, top_k=top_k, strict=every_box),
        top_k=top_k,
        every_box=every_box,
        num_pictures=len(pictures),
        num_pictures_found=len(answered),
        num_true=num_true,
        num_true_silent=num_true - sum(len(each.true) for each in answered),
        failures=tuple((annotated.file.name, line.message) for line in annotated.bad_lines),
        protocol="Ego4D's official rules" + (", but every true box counts" if every_box else ""),
    )
