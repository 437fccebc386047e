"""The training loop: fetch, forward, backward, clip, step, log, evaluate, save — and go on.

The loop knows nothing of tasks. A task is an `nn.Module` that owns the model, turns a sample into
tensors (`prepare`, run in the data workers) and a batch into `{"loss": …, parts…}`
(`training_loss`). Devices, precision, DDP and FSDP2 are Lightning Fabric's; start several processes
with `torchrun`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from internvideo.data.samples import ClipSource
from internvideo.errors import DataError
from internvideo.train.average import WeightAverage
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.train.data import (
    Batch,
    ClipDataset,
    EpochBatchSampler,
    build_loader,
    workers_end_on_error,
)
from internvideo.train.distribution import (
    build_fabric,
    compile_blocks,
    gathered,
)
from internvideo.train.journal import Journal
from internvideo.train.meter import Meter
from internvideo.train.optim import build_optimizer, scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.train.skips import SkipList
from internvideo.train.state import Best, RunState, full_weights
from internvideo.train.step import Objective, optimizer_step
from internvideo.train.watch import PreemptedError, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Evaluation", "Plan", "Task", "build_fabric", "train"]


class Task(Protocol):
    """What the loop needs of a task (which is also an `nn.Module`)."""

    @property
    def model(self) -> nn.Module:
        """Return what is trained and saved."""
        ...

    def prepare(self, sample: Any, rng: Any) -> list[dict[str, Any]]:
        """Turn one sample into tensors, one entry a repeat; runs in a data worker.

        What a step reads on the host has a name that begins with `host_` and is left there: a step
        that asked the device for it would wait.
        """
        ...

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `loss` and its named parts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a run.

    Attributes:
        optim: optimiser.
        schedule: length and rates.
        runtime: machine and bookkeeping.
        settings: what must not differ when the run is resumed, as plain nested values; without
            the batch size and the accumulation, of which only the product counts.
    """

    optim: OptimConfig
    schedule: ScheduleConfig
    runtime: RuntimeConfig
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a run is measured on the way.

    Attributes:
        measure: model in evaluation mode → metrics, the one to judge by first, higher is better;
            called in all processes, which share the work and all return the same numbers.
        every_epochs: how often; the last epoch is always measured.
        keep: takes the whole state of the task, on the CPU, whenever the first metric is the best
            so far; called in the first process only.
    """

    measure: Callable[[nn.Module], dict[str, float]]
    every_epochs: int = 1
    keep: Callable[[dict[str, Tensor]], None] | None = None

    def is_due(self, step: int, schedule: Schedule) -> bool:
        """Return whether an epoch after which to measure ends with this many steps."""
        epochs, rest = divmod(step, schedule.steps_per_epoch)
        return rest == 0 and epochs % self.every_epochs == 0


def train(
    task: Any,
    source: ClipSource,
    plan: Plan,
    directory: Path,
    *,
    fabric: Fabric,
    evaluation: Evaluation | None = None,
) -> dict[str, Tensor]:
    """Train `task.model` on `source`; with a `last.ckpt` in `directory`, continue from it.

    Args:
        task: see `Task`; its parameters are updated in place.
        source: the training clips.
        plan: optimiser, schedule, runtime.
        directory: the run directory: log, checkpoints, plots.
        fabric: from `build_fabric`.
        evaluation: how the model is measured on the way, if at all.

    Returns:
        The whole state of the task on the CPU, averaged weights in place of the last ones where an
        average is kept; in the first process only, if the model is sharded.

    Raises:
        DataError: fewer samples than one global batch, or a sample that cannot be used.
        ConfigError: the run in `directory` was started with other settings.
        CheckpointError: the checkpoint there cannot be read.
        PreemptedError: SIGTERM or SIGINT; the state is saved.
        InternVideoError: a loss or gradient is not finite; the checkpoint is left as it was.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run = _begin(task, source, plan, directory, fabric)
    state, schedule, meter, skips = run.state, run.schedule, run.meter, run.skips
    runtime, first_step, total_steps = plan.runtime, run.state.step, run.schedule.total_steps
    journal = Journal(
        directory,
        total_steps=total_steps,
        start_step=first_step,
        active=fabric.is_global_zero,
        wandb_project=runtime.wandb_project,
    )
    with journal, workers_end_on_error(), Watch(fabric, directory) as watch:
        if state.unmeasured:
            _measure(run, evaluation, journal, fabric)
            state.save(directory)  # lest another stop before the next one measures and logs again
        for step in range(first_step, total_steps):
            lr = schedule.apply_(run.optimizer, step)
            batches = meter.fetch(run.batches, runtime.accumulate)
            report = optimizer_step(
                fabric,
                run.objective,
                run.optimizer,
                [batch.tensors for batch in batches],
                max_norm=plan.optim.clip_grad_norm,
            )
            state.average.update_()
            meter.add(report)
            skips.add(batches)
            state.step = done = step + 1

            last = done == total_steps
            measuring = last or (evaluation is not None and evaluation.is_due(done, schedule))
            told = watch.observe(done, report, batches)
            saving = last or bool(told) or done % runtime.save_every == 0
            if saving or measuring:  # only weights that are known to be good
                told = watch.settle()
            journal.advance(done)
            if measuring or done % runtime.log_every == 0:
                skips.flush(done)
                numbers = {"lr": lr, "skipped": len(skips)}
                journal.record(done, {**meter.read(), **numbers})
            state.unmeasured = measuring and evaluation is not None
            if saving or told or state.unmeasured:  # an evaluation may be long: nothing is at risk
                skips.flush(done)
                state.save(directory)
            if told:  # leaves no time for an evaluation: made up for later
                raise PreemptedError(done, told)
            if state.unmeasured:
                _measure(run, evaluation, journal, fabric)
                state.save(directory)
            if step == first_step:
                gc.freeze()  # the model and the loader live to the end: spare the collector
    skips.warn()
    with state.average.in_place():
        return full_weights(task)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the loop works with."""

    objective: nn.Module
    optimizer: Any
    schedule: Schedule
    state: RunState
    batches: Iterator[Batch]
    meter: Meter
    skips: SkipList


def _begin(task: Any, source: ClipSource, plan: Plan, directory: Path, fabric: Fabric) -> _Run:
    """Put the parts of a run together and bring them to where it stopped."""
    runtime = plan.runtime
    sampler = EpochBatchSampler(
        source,
        batch_size=runtime.batch_size,
        accumulate=runtime.accumulate,
        epochs=plan.schedule.epochs,
        seed=runtime.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    if sampler.steps_per_epoch == 0:
        raise DataError(
            f"{len(source)} clips do not fill one batch of {runtime.batch_size} clips x "
            f"{runtime.accumulate} micro-steps x {fabric.world_size} processes; lower "
            "runtime.batch_size or runtime.accumulate"
        )
    if runtime.compile:
        compile_blocks(task.model)
    objective = fabric.setup_module(Objective(task))
    objective.train()
    lr = scaled_lr(plan.optim, global_batch_size=sampler.global_batch_size)
    optimizer = fabric.setup_optimizers(build_optimizer(task, plan.optim, lr=lr))
    schedule = Schedule(plan.optim, plan.schedule, lr=lr, steps_per_epoch=sampler.steps_per_epoch)
    sampler.total_steps = schedule.total_steps
    meter = Meter(fabric)
    state = RunState(
        task,
        optimizer,
        WeightAverage(task, decay=plan.optim.ema_decay),
        meter,
        fabric,
        settings=plan.settings,
        global_batch=sampler.global_batch_size,
    )
    state.resume(directory)
    sampler.start_step = state.step
    loader = build_loader(
        ClipDataset(source, task.prepare, seed=runtime.seed),
        sampler,
        num_workers=runtime.num_workers,
        timeout=runtime.data_timeout_s,
        pin_memory=fabric.device.type == "cuda",
    )
    skips = SkipList(directory, fabric, start_step=state.step)
    state.restore_process()
    return _Run(
        objective=objective,
        optimizer=optimizer,
        schedule=schedule,
        state=state,
        batches=iter(loader),
        meter=meter,
        skips=skips,
    )


def _measure(run: _Run, evaluation: Evaluation | None, journal: Journal, fabric: Fabric) -> None:
    """Evaluate the averaged weights, and keep them if they are the best so far."""
    state = run.state
    if evaluation is None:
        return
    with state.average.in_place():
        run.objective.eval()
        with gathered(run.objective), torch.no_grad():
            metrics = evaluation.measure(state.task.model)  # type: ignore[arg-type]
        run.objective.train()
        metric, value = next(iter(metrics.items()))
        if state.best is None or value > state.best.value:
            state.best = Best(metric, value, state.step)
            weights = full_weights(state.task)
            if fabric.is_global_zero and evaluation.keep is not None:
                evaluation.keep(weights)
    state.unmeasured = False
    journal.record(state.step, {f"val_{name}": number for name, number in metrics.items()})
    run.meter.restart()
