"""Measure how well a classifier tells its classes apart, and unknown ones from them.

known videos ────► judgements ─┬─► closed-set accuracy
unknown videos ──► judgements ─┴─► AUROC, AUPR, FPR95; with a threshold the open macro-F1
training videos ─► the threshold, where the model does not bring one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from internvideo.data.samples import EvaluationSource
from internvideo.data.world import EVALUATION_SEED, WorldSource
from internvideo.errors import ConfigError, DataError, did_you_mean
from internvideo.evaluation.data import AnnotatedData, open_videos
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import answered_and_failures
from internvideo.models.open_set import OpenSetClassifier, Score
from internvideo.tasks.open_set.judging import Judge, Judged, calibrate, score_of
from internvideo.tasks.open_set.metrics import training_threshold
from internvideo.tasks.open_set.report import OpenSetReport
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import ACTIONS
from internvideo.zoo.hub import LoadedModel

__all__ = ["KnownData", "calibrate", "evaluate", "measure", "open_known"]

_FEWEST_CLASSES = 2


@dataclass(frozen=True, slots=True)
class KnownData:
    """The known videos as a user names them; which of the world's are known the model tells.

    Attributes:
        data: as named.
        protocol: of the model.
    """

    data: AnnotatedData
    protocol: Preprocessing


def open_known(data: AnnotatedData, protocol: Preprocessing) -> KnownData:
    """Return what `evaluate` takes; nothing is opened yet."""
    return KnownData(data, protocol)


def evaluate(
    model: LoadedModel,
    known: KnownData | EvaluationSource,
    *,
    loop: EvalLoop,
    unknown: Annotated[
        str | None, Option("Videos of other classes: a list or folder, or the word world.")
    ] = None,
    unknown_format: Annotated[str | None, Option("Format of --unknown, as --format.")] = None,
    unknown_root: Annotated[str | None, Option("Folder of the videos of --unknown.")] = None,
    unknown_labels: Annotated[str | None, Option("Class list of --unknown.")] = None,
    unknown_split: Annotated[str | None, Option("For an --unknown of several splits.")] = None,
    training: Annotated[
        str | None,
        Option("Training videos, as --data: the threshold comes from them, not from the model."),
    ] = None,
    score: Annotated[
        Score | None,
        Option("What makes a video unknown; by default what the model was trained for."),
    ] = None,
) -> OpenSetReport:
    """Measure a classifier on videos of its classes, and of others.

    The known videos of --data must show the model's own classes; those of --unknown count as
    unknown, whatever they show. Unknown is the positive class, and its score is the uncertainty. A
    threshold, for the open macro-F1, comes with an open-set model; for any other classifier, and
    for another --score, it is taken from --training videos: 95 % of them stay known. For `--data
    world --unknown world`, the known actions are the classes of the model, and all others are
    unknown.

    Raises:
        DataError: a known video of a class that the model does not have, videos that are in both
            lists, known videos of one class only.
        ConfigError: not a classifier, or a score that it does not have.
    """
    score = score_of(model, score)
    classes = model.class_names or ()
    source = _known_source(known, classes) if isinstance(known, KnownData) else known
    _check_known(source, classes, model.name)
    others = None
    if unknown is not None:
        seed = known.data.seed if isinstance(known, KnownData) else None
        clips = known.data.num_clips if isinstance(known, KnownData) else None
        is_world = unknown == "world"
        asked = AnnotatedData(
            path=unknown, format=unknown_format, root=unknown_root, labels=unknown_labels,
            split=unknown_split, seed=seed if is_world else None,
            num_clips=clips if is_world else None,
        )  # fmt: skip
        others = _unknown_source(asked, model.protocol, classes)
        _check_apart(source, others)
    elif any((unknown_format, unknown_root, unknown_labels, unknown_split)):
        raise ConfigError("--unknown-… describes the videos of --unknown; give that too")
    threshold = None
    if training is not None:
        if not isinstance(known, KnownData):
            raise ConfigError("--training goes with --data; a recipe names its own videos")
        named = replace(known.data, path=training)
        if named.is_world:  # other clips of it
            named = replace(named, seed=_other_seed(named, 2))
        trained = _known_source(KnownData(named, model.protocol), classes)
        _check_known(trained, classes, model.name)
        answers, _ = _judged(model, trained, loop, "training", score)
        doubts = np.array([each.uncertainty for each in answers])
        threshold = training_threshold(doubts, by_confidence=score == "softmax")
    elif isinstance(model.model, OpenSetClassifier) and score == model.model.config.score:
        threshold = model.model.threshold
    answers, failures = _judged(model, source, loop, "known", score)
    strangers: Sequence[Judged] = ()
    if others is not None:
        strangers, more = _judged(model, others, loop, "unknown", score)
        failures += more
    return OpenSetReport(
        labels=classes,
        known=tuple(answers),
        unknown=tuple(strangers),
        shared=_shared(classes, others),
        threshold=threshold,
        score=score,
        failures=failures,
        protocol=model.protocol.describe(),
        model=model.name,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> OpenSetReport:
    """Measure a classifier in a training run, on known videos: how well it tells them apart."""
    del quick
    return evaluate(model, source, loop=loop)


def _judged(
    model: LoadedModel, source: EvaluationSource, loop: EvalLoop, part: str, score: Score
) -> tuple[list[Judged], tuple[tuple[str, str], ...]]:
    """Return the judgements of videos, which are kept below the directory of the evaluation."""
    own = replace(loop, directory=None if loop.directory is None else loop.directory / part)
    return answered_and_failures(own.run(Judge(model.model, model.protocol, source, score), source))


def _known_source(known: KnownData, classes: Sequence[str]) -> EvaluationSource:
    if not known.data.is_world:
        return open_videos(known.data, known.protocol)
    strange = [name for name in classes if name not in ACTIONS]
    if strange:
        raise ConfigError(
            f"the class {strange[0]!r} of the model is no action of the world; give --data with "
            "videos of its classes"
        )
    return known.data.world_source(tuple(classes))


def _unknown_source(
    data: AnnotatedData, protocol: Preprocessing, classes: Sequence[str]
) -> EvaluationSource:
    if not data.is_world:
        return open_videos(data, protocol)
    others = tuple(name for name in ACTIONS if name not in classes)
    if not others:
        raise DataError("the model knows all actions of the world: none of them is unknown")
    # Other clips than the known ones, so that not even their backgrounds are the same.
    return replace(data, seed=_other_seed(data, 1)).world_source(others)


def _other_seed(data: AnnotatedData, offset: int) -> int:
    return (EVALUATION_SEED if data.seed is None else data.seed) + offset


def _check_known(source: EvaluationSource, classes: Sequence[str], model: str) -> None:
    """Refuse known videos that do not show the classes of the model.

    Raises:
        DataError: a class that it does not have, or only one class.
    """
    seen = {source.label(index) for index in range(len(source))}
    numbered = tuple(f"class {n}" for n in range(len(classes)))
    if source.class_names is not None and tuple(classes) != numbered:
        own = [_letters(name) for name in classes]
        names = {n: name for n, name in enumerate(source.class_names) if n in seen}
        strange = [name for name in names.values() if _letters(name) not in own]
        if strange:
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            raise DataError(
                f"the known videos show {strange[0]!r}{more}, which is not one of the "
                f"{len(classes)} classes of {model}.{did_you_mean(strange[0], classes)} Videos of "
                "unknown classes belong to --unknown"
            )
        for number, name in names.items():
            if number >= len(own) or _letters(name) != own[number]:
                raise DataError(
                    f"class {number} is {name!r} in the known videos, but not in {model}: put the "
                    "classes into one order (--classes, --labels)"
                )
    source.check_labels(len(classes))
    if len(seen) < _FEWEST_CLASSES:
        raise DataError(
            f"all {len(source)} known videos show class {next(iter(seen), None)}; nothing is told "
            "apart there: give videos of at least two of the model's classes"
        )


def _check_apart(known: EvaluationSource, unknown: EvaluationSource) -> None:
    """Refuse videos that are in both lists.

    Raises:
        DataError: names the first.
    """
    keys = {known.key(index) for index in range(len(known))}
    both = [key for index in range(len(unknown)) if (key := unknown.key(index)) in keys]
    if both:
        raise DataError(
            f"{both[0]} is in the list of the known videos and in that of the unknown ones "
            f"({len(both)} are in both); take it out of one of them"
        )


def _shared(classes: Sequence[str], unknown: EvaluationSource | None) -> tuple[str, ...]:
    """Return the unknown classes that have the name of a known one."""
    own = {_letters(name) for name in classes}
    names = () if unknown is None or isinstance(unknown, WorldSource) else unknown.class_names
    return tuple(name for name in names or () if _letters(name) in own)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
