"""What a run will be, before it begins: sizes, steps and memory, and whether a step fits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from internvideo.data.samples import ClipSource
from internvideo.errors import DataError
from internvideo.train.data import ClipDataset, collate
from internvideo.train.distribution import usable_precision
from internvideo.train.memory import MemoryNeed, free_memory, memory_need
from internvideo.train.optim import describe_lr, describe_trained, scaled_lr
from internvideo.train.schedules import Schedule

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from internvideo.data.samples import EvaluationSource
    from internvideo.recipe.schema import Recipe
    from internvideo.tasks.task import Objective

__all__ = ["RunParts", "check_memory", "describe_run"]

_GIB = 2**30
_SMALL = 20_000_000  # weights; a step of a smaller model is not looked at before


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What a run is made of, all of it checked.

    Attributes:
        recipe: as it is carried out here.
        written: as `recipe.yaml` has it, for any machine.
        fabric: device, precision, processes.
        objective: of the task.
        task: with its weights, on the CPU.
        source: the training clips.
        evaluated: the clips that the run is measured on.
    """

    recipe: Recipe
    written: Recipe
    fabric: Fabric
    objective: Objective[Any]
    task: Any
    source: EvaluationSource
    evaluated: EvaluationSource | None


def check_memory(recipe: Recipe, task: Any, clips: ClipSource, fabric: Fabric) -> None:
    """Refuse a run whose first step would not fit into the memory of this machine.

    Raises:
        ConfigError: more is needed than is free; the message names a batch that fits.
    """
    small = sum(parameter.numel() for parameter in task.parameters()) < _SMALL
    if small or not recipe.runtime.check_memory or recipe.runtime.strategy == "fsdp":
        return
    need = _need(recipe, task, _one_clip(recipe, task, clips), fabric)
    need.check(free_memory(fabric.device), recipe.runtime)


def describe_run(parts: RunParts) -> dict[str, str]:
    """Return what a run will be, name → value for people; one clip is read, no step taken.

    Raises:
        DataError: the clip cannot be read, or there are fewer than a step takes.
    """
    recipe, task, fabric = parts.recipe, parts.task, parts.fabric
    runtime, clips = recipe.runtime, len(parts.source)
    batch = runtime.batch_size * runtime.accumulate * fabric.world_size
    if clips < batch:
        raise DataError(
            f"{clips} clips do not fill one step of {batch}; lower runtime.batch_size or "
            "runtime.accumulate"
        )
    lr = scaled_lr(recipe.optim, global_batch_size=batch)
    schedule = Schedule(recipe.optim, recipe.schedule, lr=lr, steps_per_epoch=clips // batch)
    began = time.perf_counter()
    rows = _one_clip(recipe, task, parts.source)
    seconds = time.perf_counter() - began
    need, free = _need(recipe, task, rows, fabric), free_memory(fabric.device)
    shapes = ", ".join(
        f"{name} {'x'.join(map(str, tensor.shape[1:])) or '1'} {str(tensor.dtype)[6:]}"
        for name, tensor in rows.items()
    )
    repeats = max(tensor.shape[0] for tensor in rows.values())
    facts = {
        "task": f"{recipe.task.kind}, {type(task.model).__name__}; {describe_trained(task)}",
        "start": recipe.init or "random weights",
        "clips": f"{clips} to train on"
        + (f", {len(parts.evaluated)} to measure on" if parts.evaluated is not None else ""),
        "a clip": f"{shapes}{f', {repeats} times' if repeats > 1 else ''}; read in {seconds:.2f} s",
        "a step": f"{batch} clips ({runtime.batch_size} x {runtime.accumulate} micro-steps x "
        f"{fabric.world_size} processes)",
        "steps": f"{schedule.total_steps}, {schedule.steps_per_epoch} an epoch, "
        f"{schedule.warmup_steps} of warm-up",
        "rate": describe_lr(recipe.optim, global_batch_size=batch),
        "machine": f"{fabric.device}, {usable_precision(runtime)}, {runtime.num_workers} workers",
        "memory": f"{need} of {'?' if free is None else f'{free / _GIB:.2f}'} GiB free",
    }
    if runtime.check_memory:
        need.check(free, runtime)
    return facts


def _one_clip(recipe: Recipe, task: Any, clips: ClipSource) -> dict[str, Tensor]:
    example = ClipDataset(clips, task.prepare, seed=recipe.runtime.seed)[0, 0]
    if example.error:
        raise DataError(example.error)
    return collate([example]).tensors


def _need(recipe: Recipe, task: Any, rows: dict[str, Tensor], fabric: Fabric) -> MemoryNeed:
    return memory_need(
        task,
        rows,
        optim=recipe.optim,
        runtime=recipe.runtime,
        device=fabric.device,
        precision=usable_precision(recipe.runtime),
    )
