"""From a recipe to a trained model: build the parts, run the loop, save what came out."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shutil
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.recipe import Recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.inputs import (
    build_preprocessing,
    build_source,
    class_names,
)
from internvideo.recipe.schema import ProbeTask, SupervisedTask
from internvideo.train.checkpoint import has_checkpoint
from internvideo.train.lock import only_run
from internvideo.train.loop import Evaluation, Plan, build_fabric, train
from internvideo.zoo import load_model, save_pretrained

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import ClipSource, EvaluationSource

__all__ = ["run_recipe"]

_LOG = logging.getLogger(__name__)
_LOOKED_AT = 3  # videos of the evaluation, before the training


def run_recipe(recipe: Recipe, directory: Path) -> Path:
    """Train what the recipe says; run again with the same arguments to continue after a stop.

    Args:
        recipe: the resolved recipe.
        directory: the run directory: `recipe.yaml`, `log.jsonl`, `last.ckpt`, curves, `model/`;
            where the recipe has an `evaluation`, `best/` and `report.json`.

    Returns:
        The directory of the trained model (safetensors and config.json).

    Raises:
        ConfigError: another process trains in the directory.
        PreemptedError: SIGTERM or SIGINT; the same call goes on.
        InternVideoError: a recipe, data or weights that cannot be used; see `train.loop.train`.
    """
    fabric = build_fabric(recipe.runtime)
    task: Any = build_task(recipe)
    source, evaluated = build_source(recipe), _evaluation_source(recipe)
    if isinstance(recipe.task, SupervisedTask | ProbeTask):
        for clips in (source, evaluated):
            if clips is not None:
                clips.check_labels(task.model.config.num_classes)
    directory.mkdir(parents=True, exist_ok=True)
    with only_run(directory) if fabric.is_global_zero else nullcontext():
        return _run(recipe, task, source, evaluated, directory, fabric)


def _run(
    recipe: Recipe,
    task: Any,
    source: EvaluationSource,
    evaluated: EvaluationSource | None,
    directory: Path,
    fabric: Fabric,
) -> Path:
    """Train, measure and save."""
    saver = _Saver(recipe, source)
    if fabric.is_global_zero and not has_checkpoint(directory):
        (directory / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    plan = Plan(
        optim=recipe.optim,
        schedule=recipe.schedule,
        runtime=recipe.runtime,
        settings=recipe.settings(),
    )
    clips = _training_clips(recipe, task, source, directory, fabric)
    evaluation = (
        None if evaluated is None else _evaluation(recipe, evaluated, directory, saver, fabric)
    )
    weights = train(task, clips, plan, directory, fabric=fabric, evaluation=evaluation)
    if fabric.is_global_zero:
        saver.save(weights, directory / "model")
    fabric.barrier()
    if evaluated is not None and recipe.evaluation and recipe.evaluation.final_views:
        _final_report(recipe, evaluated, directory, fabric)
    return directory / "model"


def _training_clips(
    recipe: Recipe, task: Any, source: EvaluationSource, directory: Path, fabric: Fabric
) -> ClipSource:
    """Return the clips, or of a probe that always sees the same ones the features of them."""
    if not isinstance(recipe.task, ProbeTask) or recipe.sampling is not None:
        return source
    from internvideo.tasks.recognition.features import cache_features

    return cache_features(
        task.model.to(fabric.device),
        source,
        build_preprocessing(recipe),
        directory / "features",
        num_workers=recipe.runtime.num_workers,
        fabric=fabric,
    )


class _Saver:
    """Makes model directories of the weights of a run, whatever device or processes have them."""

    def __init__(self, recipe: Recipe, source: EvaluationSource) -> None:
        self.recipe = recipe
        self.source = source

    def save(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write the model to `directory`, which holds the old one until the new one is whole."""
        with torch.device("meta"):
            task: Any = build_task(self.recipe, with_weights=False)
        task.load_state_dict(weights, assign=True)
        names = class_names(self.recipe, self.source)
        if len(names or ()) != getattr(task.model.config, "num_classes", None):
            names = None
        draft = directory.with_name(f".{directory.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        save_pretrained(
            task.model,
            draft,
            preprocessing=build_preprocessing(self.recipe),
            labels=names,
            provenance=_provenance(self.recipe),
        )
        _replace(draft, directory)


def _evaluation_source(recipe: Recipe) -> EvaluationSource | None:
    """Return the clips that the run is measured with, if it is; a few are looked at now.

    Raises:
        ConfigError: the task is none that can be measured.
        DataError: the list cannot be used, or no video that was tried can be read.
    """
    if recipe.evaluation is None:
        return None
    if not isinstance(recipe.task, SupervisedTask | ProbeTask):
        raise ConfigError(
            f"evaluation measures classifiers; a {recipe.task.kind} task has none, remove it"
        )
    source = build_source(
        recipe.model_copy(update={"data": recipe.evaluation.data, "sampling": None})
    )
    for index in np.linspace(0, len(source) - 1, _LOOKED_AT, dtype=int).tolist():
        try:
            source.read(index, np.random.default_rng(0))
            return source
        except VideoError as error:
            reason = str(error)
    raise DataError(
        f"no video of the evaluation can be read, {_LOOKED_AT} were tried: {reason}; `internvideo "
        "data check` looks at all"
    )


def _evaluation(
    recipe: Recipe, source: EvaluationSource, directory: Path, saver: _Saver, fabric: Fabric
) -> Evaluation:
    """Return how the run is measured on the way: one central view of each video."""
    assert recipe.evaluation is not None
    protocol = build_preprocessing(recipe)

    def measure(model: nn.Module) -> dict[str, float]:
        from internvideo.tasks.recognition.evaluate import evaluate_classifier

        report = evaluate_classifier(
            model,
            source,
            protocol,
            views="center",
            batch_size=recipe.runtime.batch_size,
            num_workers=recipe.runtime.num_workers,
            fabric=fabric,
        )
        return report.metrics()

    return Evaluation(
        measure=measure,
        every_epochs=recipe.evaluation.every_epochs,
        keep=lambda weights: saver.save(weights, directory / "best"),
    )


def _final_report(
    recipe: Recipe, source: EvaluationSource, directory: Path, fabric: Fabric
) -> None:
    """Measure the best weights on all views, and write `report.json`."""
    from internvideo.tasks.recognition.evaluate import evaluate_classifier

    best = load_model(directory / "best", device=fabric.device)
    report = evaluate_classifier(
        best.model,
        source,
        build_preprocessing(recipe),
        batch_size=recipe.runtime.batch_size,
        num_workers=recipe.runtime.num_workers,
        fabric=fabric,
        predictions=directory / "predictions.jsonl",
    )
    data: Any = recipe.evaluation and recipe.evaluation.data
    report = dataclasses.replace(
        report,
        labels=best.labels or report.labels,
        model=recipe.name,
        data=str(getattr(data, "annotations", data.kind)),
    )
    if fabric.is_global_zero:
        (directory / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
        _LOG.info("best weights, %s: top-1 %.2f %%", report.protocol, report.top1)
    fabric.barrier()


def _replace(new: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _provenance(recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.fingerprint(),
        "internvideo": version("internvideo"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
