"""Measure a model on annotated videos: from a recipe, or from a model and an annotation file.

recipe + checkpoint ─┐
model + list ────────┴─► Subject ──► measure ──► RecognitionReport
                                            └──► report.json, predictions.jsonl
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from internvideo.data.build import ListKind, open_list
from internvideo.data.samples import EvaluationSource
from internvideo.errors import CheckpointError, ConfigError
from internvideo.evaluation.running import in_processes, write_report
from internvideo.pipeline import VideoModel, load
from internvideo.recipe import Recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.inputs import build_preprocessing, build_source
from internvideo.recipe.schema import ProbeTask, SupervisedTask
from internvideo.results import RecognitionReport
from internvideo.tasks.recognition.evaluate import evaluate_classifier
from internvideo.zoo.architectures import kind_of
from internvideo.zoo.identify import fit_config

__all__ = ["Subject", "measure", "subject_of_list", "subject_of_recipe"]

_DIFFERING = 0.1  # share of the names that may be spelt otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is measured, and on what.

    Attributes:
        model: the classifier with its input protocol and its labels.
        source: the videos.
        data: name of the data, for the report.
        name: name of the weights, likewise.
    """

    model: VideoModel
    source: EvaluationSource
    data: str
    name: str


def subject_of_recipe(
    recipe: Recipe, checkpoint: str | Path, *, device: str | torch.device = "auto"
) -> Subject:
    """Return the evaluation that a recipe describes, of these weights.

    Raises:
        ConfigError: the recipe trains no classifier, or names no data to evaluate on.
        CheckpointError: the weights cannot be read, or have another shape than the recipe's model.
        DataError: the annotations cannot be used.
    """
    if not isinstance(recipe.task, SupervisedTask | ProbeTask):
        raise ConfigError(
            f"the recipe {recipe.name} trains no classifier (task {recipe.task.kind!r}); evaluate "
            "recipes of the tasks 'supervised' and 'probe'"
        )
    if recipe.evaluation is None:
        raise ConfigError(
            f"the recipe {recipe.name} names no evaluation.data; add "
            "evaluation.data.kind=kinetics evaluation.data.annotations=val.csv"
        )
    model = load(checkpoint, device=device)
    _check_classifier(model)
    _check_shape(model, recipe, checkpoint)
    data = recipe.evaluation.data
    source: Any = build_source(recipe.model_copy(update={"data": data, "sampling": None}))
    name = getattr(data, "annotations", None) or getattr(data, "shards", None) or data.kind
    return Subject(
        model=model.with_preprocessing(build_preprocessing(recipe)),
        source=source,
        data=str(name),
        name=f"{recipe.name} ({checkpoint})",
    )


def subject_of_list(
    model: VideoModel,
    kind: ListKind,
    annotations: Path,
    *,
    name: str | None = None,
    root: Path | str | None = None,
    labels: Path | None = None,
    split: str | None = None,
) -> Subject:
    """Return the evaluation of a model on the videos of an annotation file.

    Args:
        model: a classifier, with the protocol to use.
        kind: format of the annotations.
        annotations: the file.
        name: of the weights, for the report; by default that of the model.
        root: folder of the videos; by default that of the annotations.
        labels: the class list, for formats that name classes in words.
        split: for files that hold several.

    Raises:
        ConfigError: the model is no classifier.
        DataError: the annotations cannot be used.
    """
    _check_classifier(model)
    source = open_list(
        kind, annotations, protocol=model.preprocessing, root=root, labels=labels, split=split
    )
    return Subject(model=model, source=source, data=str(annotations), name=name or model.name)


def measure(
    subject: Subject,
    *,
    views: Literal["all", "center"] = "all",
    batch_size: int = 16,
    num_workers: int = 2,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RecognitionReport:
    """Run an evaluation; under `torchrun` the processes share the videos.

    Args:
        subject: from `subject_of_recipe` or `subject_of_list`.
        views: all of the protocol, or one clip and its central crop.
        batch_size: views that go through the model together.
        num_workers: videos that are decoded at once.
        directory: takes `predictions.jsonl` while it runs, from which it goes on after a stop, and
            `report.json` in the end.
        progress: called with (videos done, videos in all).

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: `directory` holds another evaluation.
    """
    model, names = subject.model, _class_names(subject)
    fabric = in_processes(model)
    report = evaluate_classifier(
        model.model,
        subject.source,
        model.preprocessing,
        views=views,
        batch_size=batch_size,
        num_workers=num_workers,
        fabric=fabric,
        predictions=None if directory is None else directory / "predictions.jsonl",
        progress=progress,
    )
    named = dataclasses.replace(report, labels=names, model=subject.name, data=subject.data)
    write_report(named, directory, fabric)
    return named


def _check_classifier(model: VideoModel) -> None:
    if model.labels is None:
        raise ConfigError(
            f"{model.name} has no classes of its own, so there is no accuracy to measure; give a "
            "classifier, such as one that `internvideo train` made of a supervised recipe"
            + (
                ", or ask it with sentences: `internvideo evaluate zero-shot`"
                if model.tokenizer is not None
                else ""
            )
        )


def _check_shape(model: VideoModel, recipe: Recipe, checkpoint: str | Path) -> None:
    """Compare the weights with the model of the recipe, which is built without memory."""
    with torch.device("meta"):
        expected = build_task(recipe.model_copy(update={"init": None, "init_labels": None})).model
    shapes = {name: tuple(tensor.shape) for name, tensor in model.model.state_dict().items()}
    fit = fit_config(shapes, kind_of(expected).id, expected.config)
    if not fit.ok:
        raise CheckpointError(
            f"{checkpoint} does not fit the model of {recipe.name}: {fit.explain(limit=3)}; give "
            "weights of this recipe, or change its `model`"
        )


def _class_names(subject: Subject) -> tuple[str, ...]:
    """Return the names of the classes: of the model, or else of the data, or else numbers.

    Raises:
        ConfigError: model and data name the same number of classes in another order.
    """
    count: int = subject.model.model.config.num_classes  # type: ignore[assignment]
    own, named = subject.model.loaded.labels, _names_of_data(subject.source)
    if named is None or len(named) != count:
        return own or tuple(f"class {number}" for number in range(count))
    if own is None:
        return named
    differing = [
        n for n, (a, b) in enumerate(zip(own, named, strict=True)) if _plain(a) != _plain(b)
    ]
    if len(differing) > _DIFFERING * count:
        number = differing[0]
        raise ConfigError(
            f"{subject.name} calls class {number} {own[number]!r}, {subject.data} calls it "
            f"{named[number]!r} ({len(differing)} of {count} names differ): the classes are in "
            "another order, so the accuracy would be wrong; put one of them into the order of the "
            "other (`--classes` does so for a known label map)"
        )
    return own


def _names_of_data(source: Any) -> tuple[str, ...] | None:
    """Return the class names that annotations or a world bring."""
    if (world := getattr(source, "world", None)) is not None:
        return tuple(world.style.actions)
    return getattr(getattr(source, "clips", None), "class_names", None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
