"""The training loop: fetch, forward, backward, clip, step, log, evaluate, save — and resume.

The loop knows of a task what `TrainableTask` says. Devices, precision, DDP and FSDP2 are Lightning
Fabric's; start several processes with `torchrun`.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from internvideo.data.samples import ClipSource
from internvideo.errors import ConfigError, DataError
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.train.data import (
    Batch,
    ClipDataset,
    EpochBatchSampler,
    build_loader,
    workers_end_on_error,
)
from internvideo.train.distribution import compile_blocks, gathered
from internvideo.train.log import RunLog
from internvideo.train.meter import Meter, SkipList
from internvideo.train.optim import WeightAverage, build_optimizer, describe_lr, scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.train.settings import RunSettings, flat, way_on
from internvideo.train.state import Best, TrainState, full_weights
from internvideo.train.step import optimizer_step
from internvideo.train.stop import PreemptedError, StopSignal
from internvideo.train.task import LossModule, Progress, TrainableTask

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

__all__ = ["Evaluation", "Plan", "train"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a run.

    Attributes:
        optim: optimiser.
        schedule: length and rates.
        runtime: machine and bookkeeping.
        settings: what must not differ when the run is resumed; without the batch size and the
            accumulation, of which only the product counts.
        extend: a run with another length may go on to this one.
    """

    optim: OptimConfig
    schedule: ScheduleConfig
    runtime: RuntimeConfig
    settings: RunSettings
    extend: bool = False

    def parameters(self) -> dict[str, Any]:
        """Return the numbers, and all else that is set, by their dotted names."""
        sections = {name: getattr(self, name) for name in ("optim", "schedule", "runtime")}
        numbers = {name: section.model_dump(mode="json") for name, section in sections.items()}
        return flat(self.settings.values) | flat(numbers)


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
    task: TrainableTask[nn.Module],
    source: ClipSource,
    plan: Plan,
    directory: Path,
    *,
    fabric: Fabric,
    evaluation: Evaluation | None = None,
    on_start: Callable[[], None] | None = None,
) -> dict[str, Tensor]:
    """Train `task.model` on `source`; with a `last.ckpt` in `directory`, continue from it.

    Args:
        task: its parameters are updated in place.
        source: the training clips.
        plan: optimiser, schedule, runtime.
        directory: the run directory: log, checkpoints, plots.
        fabric: from `distribution.build_fabric`.
        evaluation: how the model is measured on the way, if at all.
        on_start: called in the first process once it is sure that the run begins or goes on.

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
    run = _set_up(task, source, plan, directory, fabric)
    state, schedule, meter, skips = run.state, run.schedule, run.meter, run.skips
    runtime, first_step, total_steps = plan.runtime, run.state.step, run.schedule.total_steps
    if on_start is not None and fabric.is_global_zero:
        on_start()
    logger = RunLog(
        directory,
        total_steps=total_steps,
        start_step=first_step,
        steps_per_epoch=schedule.steps_per_epoch,
        active=fabric.is_global_zero,
        wandb_project=runtime.wandb_project,
        mlflow_experiment=runtime.mlflow_experiment,
        parameters=plan.parameters(),
    )
    with logger, workers_end_on_error(), StopSignal(fabric, directory) as stop:
        if state.unmeasured:
            _measure(run, evaluation, logger, fabric)
            state.save(directory)  # so that it is measured and logged once, if the run stops again
        for step in range(first_step, total_steps):
            if evaluation is not None and _is_enough(state, plan, evaluation, schedule):
                if fabric.is_global_zero:
                    _LOG.info(
                        "no better evaluation in %d: the run ends at step %d of %d",
                        plan.schedule.patience,
                        step,
                        total_steps,
                    )
                break
            lr = schedule.apply_(run.optimizer, step)
            batches = meter.fetch(run.batches, runtime.accumulate)
            per_epoch = schedule.steps_per_epoch
            task.progress = Progress(step, step // per_epoch, total_steps / per_epoch)
            report = optimizer_step(
                fabric,
                run.objective,
                run.optimizer,
                [batch.tensors for batch in batches],
                max_norm=plan.optim.clip_grad_norm,
                max_norm_each=plan.optim.clip_each_grad_norm,
            )
            state.average.update_()
            meter.add(report)
            skips.add(batches)
            state.step = done = step + 1

            last = done == total_steps
            measuring = last or (evaluation is not None and evaluation.is_due(done, schedule))
            signal = stop.observe(done, report, batches)
            saving = last or bool(signal) or done % runtime.save_every == 0
            if saving or measuring:  # only weights known to be good
                signal = stop.settle()
            logger.advance(done)
            if measuring or done % runtime.log_every == 0:
                skips.flush(done)
                numbers = {"lr": lr, "skipped": len(skips)}
                logger.log(done, {**meter.read(), **numbers})
            state.unmeasured = measuring and evaluation is not None
            if saving or signal or state.unmeasured:  # before an evaluation, which may be long
                skips.flush(done)
                state.save(directory)
            if signal:  # leaves no time for an evaluation: the resumed run does it first
                raise PreemptedError(done, signal)
            if state.unmeasured:
                _measure(run, evaluation, logger, fabric)
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
    optimizer: Optimizer
    schedule: Schedule
    state: TrainState
    batches: Iterator[Batch]
    meter: Meter
    skips: SkipList


def _set_up(
    task: TrainableTask[nn.Module], source: ClipSource, plan: Plan, directory: Path, fabric: Fabric
) -> _Run:
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
    objective = fabric.setup_module(LossModule(task))
    objective.train()
    lr = scaled_lr(plan.optim, global_batch_size=sampler.global_batch_size)
    optimizer = cast(  # Fabric makes a subclass of the class of the optimizer
        "Optimizer", fabric.setup_optimizers(build_optimizer(task, plan.optim, lr=lr))
    )
    if plan.optim.lr_batch_size is not None and fabric.is_global_zero:
        _LOG.info(describe_lr(plan.optim, global_batch_size=sampler.global_batch_size))
    schedule = Schedule(plan.optim, plan.schedule, lr=lr, steps_per_epoch=sampler.steps_per_epoch)
    sampler.total_steps = schedule.total_steps
    meter = Meter(fabric)
    state = TrainState(
        task,
        optimizer,
        WeightAverage(task, decay=plan.optim.ema_decay),
        meter,
        fabric,
        settings=plan.settings,
        global_batch=sampler.global_batch_size,
    )
    before = state.resume(directory, extend=plan.extend)
    if plan.extend:
        _check_length(before, state.step, schedule, directory, plan, fabric)
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


def _check_length(
    before: RunSettings | None,
    step: int,
    schedule: Schedule,
    directory: Path,
    plan: Plan,
    fabric: Fabric,
) -> None:
    """Say what a longer schedule means for the run, which went by `before` until now.

    Raises:
        ConfigError: there is no run to extend, or the new schedule is not longer.
    """
    if before is None:
        raise ConfigError(f"no run to extend in {directory}; leave out --extend to begin one")
    config = ScheduleConfig(**before.values.get("schedule", {}))
    old = Schedule(
        plan.optim, config, lr=schedule.peak, steps_per_epoch=schedule.steps_per_epoch
    )  # of the other keys none has changed
    if schedule.total_steps == old.total_steps:  # an extended run goes on after a stop
        return
    if schedule.total_steps < old.total_steps:
        raise ConfigError(
            f"{directory} is a run of {old.total_steps} steps, {schedule.total_steps} are fewer; "
            "--extend goes on to more; give a larger schedule.epochs or schedule.steps, or "
            f"{way_on(directory)}"
        )
    if fabric.is_global_zero:
        _LOG.warning(
            "%s goes on from step %d to %d in place of %d. The learning rate follows the longer "
            "schedule from here on: %.3g at the next step, where the shorter one came to %.3g. The "
            "steps before were taken at the rates of the shorter one, so this is not the run that "
            "the longer schedule would have been from its start",
            directory,
            step,
            schedule.total_steps,
            old.total_steps,
            schedule.lr(step),
            old.lr(min(step, old.total_steps - 1)),
        )


def _is_enough(state: TrainState, plan: Plan, evaluation: Evaluation, schedule: Schedule) -> bool:
    """Return whether so many evaluations brought nothing better that the run may end."""
    if plan.schedule.patience is None or state.best is None:
        return False
    apart = evaluation.every_epochs * schedule.steps_per_epoch
    return state.step // apart - state.best.step // apart >= plan.schedule.patience


def _measure(run: _Run, evaluation: Evaluation | None, logger: RunLog, fabric: Fabric) -> None:
    """Evaluate the averaged weights, and keep them if they are the best so far."""
    state = run.state
    if evaluation is None:
        return
    with state.average.in_place():
        run.objective.eval()
        with gathered(run.objective), torch.no_grad():
            metrics = evaluation.measure(state.task.model)
        run.objective.train()
        metric, value = next(iter(metrics.items()))
        before = state.best
        if before is None or value > before.value:
            state.best = Best(metric, value, state.step)
        if before is None or value >= before.value:  # of equals the longest trained is kept
            weights = full_weights(state.task)
            if fabric.is_global_zero and evaluation.keep is not None:
                evaluation.keep(weights)
    state.unmeasured = False
    logger.log(state.step, {f"val_{name}": number for name, number in metrics.items()})
    run.meter.restart()
