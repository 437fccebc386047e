"""From a recipe to a trained model: build the parts, run the loop, save what came out."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.data.identity import clip_identity
from internvideo.data.questions import QuestionSource
from internvideo.errors import CheckpointError, ConfigError, DataError, VideoError, require
from internvideo.evaluation.engine import EvalLoop, joined_processes
from internvideo.evaluation.report import Report
from internvideo.files import write_whole
from internvideo.models.contract import has, num_classes_of
from internvideo.pipeline import VideoModel, load
from internvideo.recipe.building import (
    build_augmentation,
    build_preprocessing,
    build_source,
    build_task,
    with_described_model,
    with_external_encoder,
    with_feature_origin,
)
from internvideo.recipe.disk import refuse_trimmed, trim_run
from internvideo.recipe.loading import load_recipe
from internvideo.recipe.preview import RunParts, check_memory
from internvideo.recipe.schema import Recipe
from internvideo.tasks.registry import all_architectures, find_objective
from internvideo.tasks.task import Calibrate, Measure, Objective, Task
from internvideo.train.checkpoint import has_checkpoint, newest_readable, only_run
from internvideo.train.distribution import build_fabric, usable_workers
from internvideo.train.loop import Evaluation, Plan, train
from internvideo.train.lora import add_lora_, merge_lora_
from internvideo.train.optim import build_optimizer, count_weights, describe_trained, freeze_
from internvideo.train.settings import RunSettings
from internvideo.zoo import load_model, save_pretrained
from internvideo.zoo.architectures import kind_of
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.identify import fit_config
from internvideo.zoo.labels import label_names

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import ClipSource, EvaluationSource

__all__ = ["evaluate_recipe", "prepare_run", "run_recipe"]

_LOG = logging.getLogger(__name__)
_TRIALS = 3  # videos of the evaluation that are tried before the training


def run_recipe(recipe: Recipe, directory: Path, *, extend: bool = False) -> Path:
    """Train what the recipe says; run again with the same arguments to continue after a stop.

    Args:
        recipe: the resolved recipe.
        directory: the run directory: `recipe.yaml`, `log.jsonl`, `last.ckpt`, curves, `model/`;
            where the recipe has an `evaluation`, `best/` and `report.json`.
        extend: the run there may go on to the longer schedule of this recipe.

    Returns:
        The directory of the trained model (safetensors and config.json).

    Raises:
        ConfigError: another process trains in the directory.
        PreemptedError: SIGTERM or SIGINT; the same call goes on.
        InternVideoError: a recipe, data or weights that cannot be used; see `train.loop.train`.
    """
    parts = prepare_run(recipe, directory)
    trained, whole = count_weights(parts.task)
    if trained < 0.99 * whole and parts.fabric.is_global_zero:
        _LOG.info(describe_trained(parts.task))
    directory.mkdir(parents=True, exist_ok=True)
    with only_run(directory) if parts.fabric.is_global_zero else nullcontext():
        return _run(
            parts.recipe,
            parts.objective,
            parts.task,
            parts.source,
            parts.evaluated,
            directory,
            parts.fabric,
            note=partial(_note_recipe, parts.written, directory, extend=extend),
            extend=extend,
        )


def prepare_run(recipe: Recipe, directory: Path) -> RunParts:
    """Build and check everything that a run needs; weights are read when all else is known good.

    Args:
        recipe: the resolved recipe.
        directory: of the run, which may be there to go on; nothing is written.

    Raises:
        InternVideoError: a recipe, data or weights that cannot be used, or too little memory.
    """
    refuse_trimmed(directory)
    if recipe.runtime.wandb_project is not None:
        require("wandb", extra="wandb")
    if recipe.runtime.mlflow_experiment is not None:
        require("mlflow", extra="mlflow")
    fabric = build_fabric(recipe.runtime)
    written = with_described_model(with_feature_origin(with_external_encoder(recipe)))
    objective = find_objective(written.task)
    workers = {"num_workers": usable_workers(written.runtime)}
    recipe = written.model_copy(update={"runtime": written.runtime.model_copy(update=workers)})
    build_augmentation(recipe)
    with torch.device("meta"):  # no memory, no file
        draft: Any = build_task(recipe, with_weights=False)
    _narrow_(draft, recipe)
    build_optimizer(draft, recipe.optim, lr=recipe.optim.lr)
    source, evaluated = build_source(recipe), _evaluation_source(recipe, objective)
    if objective.labelled:
        for clips in (source, evaluated):
            if clips is not None:
                clips.check_labels(draft.model.config.num_classes)
    resumed = has_checkpoint(directory) and objective.clips is None
    with _with_start(recipe, resumed) as started:
        task: Any = build_task(started)
    _narrow_(task, recipe)
    return RunParts(
        recipe=recipe,
        written=written,
        fabric=fabric,
        objective=objective,
        task=task,
        source=source,
        evaluated=evaluated,
    )


def _narrow_(task: Any, recipe: Recipe) -> None:
    """Leave to train what the recipe says."""
    if recipe.lora is not None:
        add_lora_(task, recipe.lora)
    freeze_(task, recipe.optim.freeze)


def _run(
    recipe: Recipe,
    objective: Objective[Any],
    task: Any,
    source: EvaluationSource,
    evaluated: EvaluationSource | None,
    directory: Path,
    fabric: Fabric,
    *,
    note: Callable[[], None],
    extend: bool,
) -> Path:
    """Train, measure and save."""
    saver = _Saver(recipe, source)
    identities = {"data": clip_identity(source), "evaluation.data": clip_identity(evaluated)}
    plan = Plan(
        optim=recipe.optim,
        schedule=recipe.schedule,
        runtime=recipe.runtime,
        settings=RunSettings(values=recipe.settings(), clips=identities),
        extend=extend,
    )
    clips: ClipSource = source
    if objective.clips is not None and recipe.sampling is None:
        clips = objective.clips(
            task, source, directory, num_workers=recipe.runtime.num_workers, fabric=fabric
        )
    clips = task.over(clips)
    check_memory(recipe, task, clips, fabric)
    evaluation = None
    if evaluated is not None and objective.measure is not None:
        evaluation = _evaluation(recipe, objective.measure, evaluated, directory, saver, fabric)
    weights = train(
        task,
        clips,
        plan,
        directory,
        fabric=fabric,
        evaluation=evaluation,
        on_start=note,
    )
    if fabric.is_global_zero:
        saver.save(weights, directory / "model")
    fabric.barrier()
    if objective.calibrate is not None:
        _calibrate(recipe, objective.calibrate, source, directory, fabric)
    if evaluation is not None and recipe.evaluation and recipe.evaluation.final_views:
        assert evaluated is not None
        assert objective.measure is not None
        _final_report(recipe, objective.measure, evaluated, directory, fabric)
    if fabric.is_global_zero:
        trim_run(directory, keep_state=recipe.runtime.keep_state)
    return directory / "model"


def _calibrate(
    recipe: Recipe, calibrate: Calibrate, source: EvaluationSource, directory: Path, fabric: Fabric
) -> None:
    """Fit what the trained models of a run need besides, and save them with it."""
    for place in (directory / "model", directory / "best"):
        if not place.is_dir():
            continue
        trained = load_model(place, device=fabric.device, architectures=all_architectures())
        calibrate(trained, source, loop=_loop(recipe, fabric))
        if fabric.is_global_zero:
            trained.save_pretrained(place)
        fabric.barrier()


def _note_recipe(recipe: Recipe, directory: Path, *, extend: bool) -> None:
    """Write the recipe that a run goes by; answers of shorter training are no longer its own."""
    write_whole(directory / "recipe.yaml", recipe.to_yaml())
    if extend:
        for path in directory.glob("predictions.jsonl*"):
            path.unlink()


class _Saver:
    """Makes model directories of the weights of a run, whatever device or processes have them."""

    def __init__(self, recipe: Recipe, source: EvaluationSource | None = None) -> None:
        self.recipe = recipe
        self.source = source

    def save(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write the model to `directory`, which holds the old one until the new one is whole."""
        with torch.device("meta"):
            task: Any = build_task(self.recipe, with_weights=False)
        if self.recipe.lora is not None:
            add_lora_(task, self.recipe.lora)
        task.load_state_dict(weights, assign=True)
        merge_lora_(task)
        draft = directory.with_name(f".{directory.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        save_pretrained(
            task.model,
            draft,
            preprocessing=build_preprocessing(self.recipe),
            labels=self.labels(task.model),
            provenance={**_provenance(self.recipe), **self._origin()},
            architectures=all_architectures(),
        )
        _replace(draft, directory)

    def labels(self, network: nn.Module) -> tuple[str, ...] | None:
        """Return the names of a model's outputs, where the data or the recipe tell them."""
        names = None if self.source is None else self.source.class_names
        if self.recipe.init_labels is not None:
            names = label_names(self.recipe.init_labels)
        outputs = network.config.num_classes if has(network, "answers") else num_classes_of(network)
        return names if len(names or ()) == outputs else None

    def _origin(self) -> dict[str, str]:
        """Return where the answers of a model that answers questions come from."""
        if isinstance(self.source, QuestionSource) and self.source.answers is not None:
            return {"answers": self.source.answers.origin}
        return {}


@contextmanager
def _with_start(recipe: Recipe, resumed: bool) -> Generator[Recipe]:
    """Yield the recipe; an `init` that is a run without a model yet becomes one of its weights.

    A run that is resumed needs no `init`, which may be gone; what it was stays in its settings.
    """
    if resumed:
        yield recipe.model_copy(update={"init": None, "init_labels": None})
        return
    run = None if recipe.init is None else Path(recipe.init)
    found = None
    if run is not None and (run / "recipe.yaml").is_file() and not _has_model(run):
        found = newest_readable(run)
    if run is None or found is None:
        yield recipe
        return
    path, state = found
    _LOG.info("starting from step %d of %s", state["step"], path)
    with TemporaryDirectory() as folder:
        model = Path(folder) / run.name
        _Saver(load_recipe(run / "recipe.yaml")).save(state["average"] or state["task"], model)
        yield recipe.model_copy(update={"init": str(model)})


def _has_model(run: Path) -> bool:
    return any((run / name).is_dir() for name in ("best", "model"))


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
    root = getattr(recipe.evaluation.data, "root", None)
    below = "" if root is None else f" (evaluation.data.root is {root}; null: beside the list)"
    raise DataError(
        f"no video of the evaluation can be read, {_TRIALS} were tried: {reason}{below}; "
        "`internvideo data check` looks at all"
    )


def _loop(recipe: Recipe, fabric: Fabric, directory: Path | None = None) -> EvalLoop:
    return EvalLoop(
        batch_size=recipe.runtime.batch_size,
        num_workers=recipe.runtime.num_workers,
        fabric=fabric,
        directory=directory,
    )


def _evaluation(
    recipe: Recipe,
    measure: Measure,
    source: EvaluationSource,
    directory: Path,
    saver: _Saver,
    fabric: Fabric,
) -> Evaluation:
    """Return how the run is measured on the way: one central view of each video."""
    assert recipe.evaluation is not None
    protocol = build_preprocessing(recipe)

    def measured(model: nn.Module) -> dict[str, float]:
        record = Record(preprocessing=protocol, labels=saver.labels(model))
        loaded = LoadedModel(model, record, architectures=all_architectures())
        return measure(loaded, source, loop=_loop(recipe, fabric), quick=True).metrics()

    return Evaluation(
        measure=measured,
        every_epochs=recipe.evaluation.every_epochs,
        keep=lambda weights: saver.save(weights, directory / "best"),
    )


def _final_report(
    recipe: Recipe, measure: Measure, source: EvaluationSource, directory: Path, fabric: Fabric
) -> None:
    """Measure the best weights on all views, and write `report.json`."""
    best = load_model(directory / "best", device=fabric.device, architectures=all_architectures())
    loop = _loop(recipe, fabric, directory)
    report = measure(best, source, loop=loop, quick=False)
    data: Any = recipe.evaluation and recipe.evaluation.data
    report = dataclasses.replace(
        report, model=recipe.name, data=str(getattr(data, "annotations", data.kind))
    )
    loop.write(report)
    if fabric.is_global_zero:
        headline, value = next(iter(report.metrics().items()))
        _LOG.info("best weights, %s: %s %.2f", report.protocol, headline, value)
    fabric.barrier()


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
    recipe = with_described_model(with_feature_origin(with_external_encoder(recipe)))
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
    shown = getattr(data, "annotations", None) or getattr(data, "shards", None) or data.kind
    report = dataclasses.replace(report, data=str(shown), model=f"{recipe.name} ({weights})")
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
        why = fit.explain(limit=3) if found == kind.id else f"a {found} is not a {kind.id}"
        raise CheckpointError(
            f"{weights} does not fit the model of {recipe.name}: {why}; give weights of this "
            "recipe, or change its `model`"
        )


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
        "task": recipe.task.kind,
        "recipe_sha256": recipe.fingerprint(),
        "internvideo": version("internvideo"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
