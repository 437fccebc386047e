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

import torch
from torch import Tensor, nn

from internvideo.errors import ConfigError
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
    task = build_task(recipe)
    source = build_source(recipe)
    if isinstance(recipe.task, SupervisedTask | ProbeTask):
        source.check_labels(task.model.config.num_classes)  # type: ignore[union-attr, arg-type]
    directory.mkdir(parents=True, exist_ok=True)
    with only_run(directory) if fabric.is_global_zero else nullcontext():
        return _run(recipe, task, source, directory, fabric)


def _run(
    recipe: Recipe, task: Any, source: EvaluationSource, directory: Path, fabric: Fabric
) -> Path:
    """Train, measure and save."""
    saver = _Saver(recipe, source)
    evaluation = _evaluation(recipe, directory, saver, fabric)
    if fabric.is_global_zero and not has_checkpoint(directory):
        (directory / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    plan = Plan(
        optim=recipe.optim,
        schedule=recipe.schedule,
        runtime=recipe.runtime,
        settings=recipe.settings(),
    )
    clips = _training_clips(recipe, task, source, directory, fabric)
    weights = train(task, clips, plan, directory, fabric=fabric, evaluation=evaluation)
    if fabric.is_global_zero:
        saver.save(weights, directory / "model")
    fabric.barrier()
    if recipe.evaluation is not None and recipe.evaluation.final_views:
        _final_report(recipe, directory, fabric)
    return directory / "model"


def _training_clips(
    recipe: Recipe, task: Any, source: EvaluationSource, directory: Path, fabric: Fabric
) -> ClipSource:
    """Return the clips, or of a probe that always sees the same ones the features of them."""
    if not isinstance(recipe.task, ProbeTask) or recipe.sampling is not None:
        return source
    from internvideo.tasks.classification.features import cache_features

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


def _evaluation(
    recipe: Recipe, directory: Path, saver: _Saver, fabric: Fabric
) -> Evaluation | None:
    """Return how the run is measured on the way: one central view of each video."""
    if recipe.evaluation is None:
        return None
    if not isinstance(recipe.task, SupervisedTask | ProbeTask):
        raise ConfigError(
            f"evaluation measures classifiers; a {recipe.task.kind} task has none, remove it"
        )
    source = _evaluation_source(recipe)
    protocol = build_preprocessing(recipe)

    def measure(model: nn.Module) -> dict[str, float]:
        from internvideo.tasks.classification.evaluation import evaluate_classifier

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


def _evaluation_source(recipe: Recipe) -> EvaluationSource:
    assert recipe.evaluation is not None
    return build_source(
        recipe.model_copy(update={"data": recipe.evaluation.data, "sampling": None})
    )


def _final_report(recipe: Recipe, directory: Path, fabric: Fabric) -> None:
    """Measure the best weights on all views, and write `report.json`."""
    from internvideo.tasks.classification.evaluation import evaluate_classifier

    best = load_model(directory / "best", device=fabric.device)
    report = evaluate_classifier(
        best.model,
        _evaluation_source(recipe),
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
