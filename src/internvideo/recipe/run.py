"""From a recipe to a trained model: build the parts, run the loop, save what came out."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError, ConfigError, DataError, VideoError
from internvideo.evaluation.engine import EvalLoop, joined_processes
from internvideo.evaluation.report import Report
from internvideo.models.contract import has
from internvideo.pipeline import VideoModel, load
from internvideo.recipe.building import build_preprocessing, build_source, build_task
from internvideo.recipe.schema import Recipe
from internvideo.tasks.registry import all_architectures, find_objective
from internvideo.tasks.task import Objective, Task
from internvideo.train.checkpoint import has_checkpoint, only_run
from internvideo.train.distribution import build_fabric
from internvideo.train.loop import Evaluation, Plan, train
from internvideo.zoo import load_model, save_pretrained
from internvideo.zoo.architectures import kind_of
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.identify import fit_config
from internvideo.zoo.labels import label_names

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import ClipSource, EvaluationSource

__all__ = ["evaluate_recipe", "run_recipe"]

_LOG = logging.getLogger(__name__)
_TRIALS = 3  # videos of the evaluation that are tried before the training


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
    objective = find_objective(recipe.task)
    task: Any = build_task(recipe)
    source, evaluated = build_source(recipe), _evaluation_source(recipe, objective)
    if objective.labelled:
        for clips in (source, evaluated):
            if clips is not None:
                clips.check_labels(task.model.config.num_classes)
    directory.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, objective, task, source, evaluated, directory, fabric)
    with only_run(directory) if fabric.is_global_zero else nullcontext():
        return run.carry_out()


def _evaluation_source(recipe: Recipe, objective: Objective[Any]) -> EvaluationSource | None:
    """Return the clips that the run is measured on, if any, after reading one as a trial."""
    if recipe.evaluation is None:
        return None
    if objective.measure is None:
        raise ConfigError(f"a {objective.kind} task has no evaluation; remove it from the recipe")
    source = build_source(
        recipe.model_copy(update={"data": recipe.evaluation.data, "sampling": None})
    )
    for index in np.linspace(0, len(source) - 1, _TRIALS, dtype=int).tolist():
        try:
            source.read(index, np.random.default_rng(0))
            return source
        except VideoError as error:
            reason = str(error)
    raise DataError(
        f"no video of the evaluation can be read, {_TRIALS} were tried: {reason}; `internvideo "
        "data check` looks at all"
    )


@dataclass(frozen=True)
class _Run:
    """A recipe with what was built from it."""

    recipe: Recipe
    objective: Objective[Any]
    task: Any
    source: EvaluationSource
    evaluated: EvaluationSource | None
    directory: Path
    fabric: Fabric

    def carry_out(self) -> Path:
        """Train, measure and save; return the directory of the model."""
        recipe, directory, fabric = self.recipe, self.directory, self.fabric
        if fabric.is_global_zero and not has_checkpoint(directory):
            (directory / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        plan = Plan(
            optim=recipe.optim,
            schedule=recipe.schedule,
            runtime=recipe.runtime,
            settings=recipe.settings(),
        )
        clips: ClipSource = self.source
        if self.objective.clips is not None and recipe.sampling is None:
            workers = recipe.runtime.num_workers
            clips = self.objective.clips(
                self.task, self.source, directory, num_workers=workers, fabric=fabric
            )
        evaluation = None
        if recipe.evaluation is not None:
            evaluation = Evaluation(
                measure=self.measure_quickly,
                every_epochs=recipe.evaluation.every_epochs,
                keep=lambda weights: self.save(weights, directory / "best"),
            )
        weights = train(self.task, clips, plan, directory, fabric=fabric, evaluation=evaluation)
        if fabric.is_global_zero:
            self.save(weights, directory / "model")
        fabric.barrier()
        if recipe.evaluation is not None and recipe.evaluation.final_views:
            self.report_best(_data_name(recipe.evaluation.data))
        return directory / "model"

    def save(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write the model to `directory`, which holds the old one until the new one is whole."""
        with torch.device("meta"):
            task: Any = build_task(self.recipe, with_weights=False)
        task.load_state_dict(weights, assign=True)
        labels = self.recipe.init_labels
        names = self.source.class_names if labels is None else label_names(labels)
        network: nn.Module = task.model
        if not has(network, "classes") or len(names or ()) != network.config.num_classes:
            names = None
        draft = directory.with_name(f".{directory.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        save_pretrained(
            task.model,
            draft,
            preprocessing=build_preprocessing(self.recipe),
            labels=names,
            provenance=_provenance(self.recipe),
            architectures=all_architectures(),
        )
        _replace(draft, directory)

    def measure_quickly(self, model: nn.Module) -> dict[str, float]:
        """Measure the model on the way, by one central view of each video."""
        record = Record(preprocessing=build_preprocessing(self.recipe))
        loaded = LoadedModel(model, record, architectures=all_architectures())
        return self._measure(loaded, self._loop(), quick=True).metrics()

    def report_best(self, data: str) -> None:
        """Measure the best weights on all views, and write `report.json`."""
        best = load_model(
            self.directory / "best", device=self.fabric.device, architectures=all_architectures()
        )
        loop = self._loop(self.directory)
        report = self._measure(best, loop, quick=False)
        report = dataclasses.replace(report, model=self.recipe.name, data=data)
        loop.write(report)
        if self.fabric.is_global_zero:
            headline, value = next(iter(report.metrics().items()))
            _LOG.info("best weights, %s: %s %.2f", report.protocol, headline, value)
        self.fabric.barrier()

    def _measure(self, model: LoadedModel, loop: EvalLoop, *, quick: bool) -> Report:
        assert self.objective.measure is not None
        assert self.evaluated is not None
        return self.objective.measure(model, self.evaluated, loop=loop, quick=quick)

    def _loop(self, directory: Path | None = None) -> EvalLoop:
        return EvalLoop(
            batch_size=self.recipe.runtime.batch_size,
            num_workers=self.recipe.runtime.num_workers,
            fabric=self.fabric,
            directory=directory,
        )


def evaluate_recipe(
    recipe: Recipe,
    weights: str | Path,
    task: Task,
    *,
    loop: EvalLoop,
    device: str = "auto",
    card: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Measure weights on the evaluation data of the recipe that they were trained by.

    Args:
        recipe: names the data and the input protocol.
        weights: what to load, see `load`; they must be of the shape of the recipe's model.
        task: what is measured; it takes the videos of a recipe as they are.
        loop: how the evaluation runs; under `torchrun` the processes share the videos.
        device: see `load`.
        card: see `load`.
        options: of the task, see `evaluate` in its room.

    Raises:
        ConfigError: the recipe trains something else, or names no data to measure on.
        CheckpointError: the weights cannot be read, or have another shape than the recipe's model.
        DataError: the annotations cannot be used.
    """
    objective = find_objective(recipe.task)
    if objective not in task.objectives or task.evaluate is None:
        raise ConfigError(
            f"the recipe {recipe.name} trains a {objective.kind} task, which `evaluate "
            f"{task.name}` does not measure"
        )
    if recipe.evaluation is None:
        raise ConfigError(
            f"the recipe {recipe.name} names no evaluation.data; add "
            "evaluation.data.kind=kinetics evaluation.data.annotations=val.csv"
        )
    model = load(weights, device=device, card=card)
    _check_shape(model, recipe, weights)
    data = recipe.evaluation.data
    source = build_source(recipe.model_copy(update={"data": data, "sampling": None}))
    loop = dataclasses.replace(loop, fabric=joined_processes(model.model))
    loaded = model.with_preprocessing(build_preprocessing(recipe)).loaded
    report = task.evaluate(loaded, source, loop=loop, **(options or {}))
    name = f"{recipe.name} ({weights})"
    report = dataclasses.replace(report, data=_data_name(data), model=name)
    loop.write(report)
    return report


def _check_shape(model: VideoModel, recipe: Recipe, weights: str | Path) -> None:
    """Compare the weights with the model of the recipe, which is built without memory."""
    with torch.device("meta"):
        expected: Any = build_task(recipe, with_weights=False).model
    shapes = {name: tuple(tensor.shape) for name, tensor in model.model.state_dict().items()}
    kind = kind_of(expected, architectures=all_architectures())
    fit = fit_config(shapes, kind, expected.config)
    if not fit.ok:
        found = model.loaded.architecture
        why = fit.explain(limit=3) if found == kind.id else f"a {found} is no {kind.id}"
        raise CheckpointError(
            f"{weights} does not fit the model of {recipe.name}: {why}; give weights of this "
            "recipe, or change its `model`"
        )


def _data_name(data: Any) -> str:
    """Return what a report calls the data of a recipe."""
    return str(getattr(data, "annotations", None) or getattr(data, "shards", None) or data.kind)


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
