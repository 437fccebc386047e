"""The training loop: fetch, forward, backward, clip, step, log, save — and go on after a kill.

The loop knows nothing of tasks. A task is an `nn.Module` that owns the model, turns a sample into
tensors (`prepare`, run in the data workers) and a batch into `{"loss": …, parts…}`
(`training_loss`). Devices, precision and DDP are Lightning Fabric's; start several processes with
`torchrun`.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from internvideo.data.samples import ClipSource
from internvideo.errors import ConfigError, DataError, InternVideoError
from internvideo.train.checkpoint import (
    load_state,
    random_state,
    restore_random_state,
    save_state,
)
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.train.data import ClipDataset, EpochBatchSampler, build_loader
from internvideo.train.journal import Journal
from internvideo.train.optim import build_optimizer, scaled_lr
from internvideo.train.schedules import warmup_cosine

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Plan", "Task", "build_fabric", "train"]


class Task(Protocol):
    """What the loop needs of a task (which is also an `nn.Module`)."""

    @property
    def model(self) -> nn.Module:
        """Return what is trained and saved."""
        ...

    def prepare(self, sample: Any, rng: Any) -> dict[str, Any]:
        """Turn one sample into tensors; runs in a data worker."""
        ...

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `loss` and its named parts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a run, and `fingerprint`: what must not differ when it is resumed."""

    optim: OptimConfig
    schedule: ScheduleConfig
    runtime: RuntimeConfig
    fingerprint: str


def build_fabric(runtime: RuntimeConfig) -> Fabric:
    """Return a Fabric for this process; under `torchrun` it joins the others by DDP."""
    from lightning_fabric import Fabric

    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=runtime.accelerator,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size > 1 else 1,
        num_nodes=world_size // int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size))),
        strategy="ddp" if world_size > 1 else "auto",
        precision=runtime.precision,
    )
    fabric.launch()
    fabric.seed_everything(runtime.seed, workers=False, verbose=False)
    return fabric


def train(
    task: Any,
    source: ClipSource,
    plan: Plan,
    directory: Path,
    *,
    fabric: Fabric,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `task.model` on `source`; with a `last.ckpt` in `directory`, continue from it.

    Args:
        task: see `Task`; its parameters are updated in place.
        source: the training clips.
        plan: optimiser, schedule, runtime.
        directory: the run directory: log, checkpoint, plots.
        fabric: from `build_fabric`.
        evaluate: called on the first process at the end; its numbers are logged.

    Raises:
        DataError: fewer samples than one global batch.
        ConfigError: the run in `directory` was started with other settings.
        InternVideoError: the loss is not finite; the last checkpoint is left as it was.
    """
    runtime = plan.runtime
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint = directory / "last.ckpt"
    lr = scaled_lr(plan.optim, global_batch_size=runtime.batch_size * fabric.world_size)
    optimizer = build_optimizer(task, plan.optim, lr=lr)
    start_step = _resume(checkpoint, task, optimizer, plan, fabric)

    sampler = EpochBatchSampler(
        len(source),
        batch_size=runtime.batch_size,
        epochs=plan.schedule.epochs,
        seed=runtime.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        start_step=start_step,
    )
    if sampler.steps_per_epoch == 0:
        raise DataError(
            f"{len(source)} clips do not fill one batch of {runtime.batch_size} x "
            f"{fabric.world_size}; lower runtime.batch_size"
        )
    total_steps = sampler.steps_per_epoch * plan.schedule.epochs
    warmup_steps = round(plan.schedule.warmup_epochs * sampler.steps_per_epoch)
    loader = build_loader(
        ClipDataset(source, task.prepare, seed=runtime.seed),
        sampler,
        num_workers=runtime.num_workers,
        pin_memory=fabric.device.type == "cuda",
    )
    module, optimizer = fabric.setup(task, optimizer)
    module.mark_forward_method("training_loss")
    loss_of = torch.compile(module.training_loss) if runtime.compile else module.training_loss
    batches = iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))

    module.train()
    totals: dict[str, Tensor] = {}
    waited, since, began = 0.0, start_step, time.perf_counter()
    journal = Journal(
        directory, total_steps=total_steps, start_step=start_step, active=fabric.is_global_zero
    )
    with journal:
        for step in range(start_step, total_steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked

            factor = warmup_cosine(
                step, total_steps, warmup_steps, floor=plan.schedule.min_lr_ratio
            )
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            losses = loss_of(batch)
            fabric.backward(losses["loss"])
            if plan.optim.clip_grad_norm is not None:
                fabric.clip_gradients(module, optimizer, max_norm=plan.optim.clip_grad_norm)
            optimizer.step()
            optimizer.zero_grad()

            for name, value in losses.items():  # summed on the device: no synchronisation per step
                totals[name] = totals.get(name, 0.0) + value.detach()
            done = step + 1
            journal.advance(done)
            if done % runtime.log_every == 0 or done == total_steps:
                count, elapsed = done - since, time.perf_counter() - began
                reduced: Any = fabric.all_reduce(
                    {k: v / count for k, v in totals.items()}, reduce_op="mean"
                )
                means = {name: float(value) for name, value in reduced.items()}
                _stop_if_not_finite(means, done, checkpoint)
                samples = count * runtime.batch_size * fabric.world_size
                journal.record(
                    done,
                    {
                        **means,
                        "lr": lr * factor,
                        "clips_per_s": samples / elapsed,
                        "data_wait_ms": waited / count * 1e3,
                    },
                )
                totals, waited, since, began = {}, 0.0, done, time.perf_counter()
            if done % runtime.save_every == 0 or done == total_steps:
                _stop_if_not_finite(
                    {k: float(v.detach()) for k, v in losses.items()}, done, checkpoint
                )
                _save(checkpoint, task, optimizer, plan, done, fabric)
            if done == start_step + 1:
                gc.freeze()  # the model and the loader live to the end: spare the collector
        if evaluate is not None and fabric.is_global_zero:
            journal.record(total_steps, evaluate())
        journal.plot()


def _save(path: Path, task: Any, optimizer: Any, plan: Plan, step: int, fabric: Fabric) -> None:
    states: list[Any] = [random_state()]
    if fabric.world_size > 1:
        states = [None] * fabric.world_size
        torch.distributed.all_gather_object(states, random_state())
    if fabric.is_global_zero:
        state = {
            "step": step,
            "fingerprint": plan.fingerprint,
            "version": version("internvideo"),
            "task": task.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": states,
        }
        save_state(path, state)
    fabric.barrier()


def _resume(path: Path, task: Any, optimizer: Any, plan: Plan, fabric: Fabric) -> int:
    """Load `path` into task and optimiser; return the steps already taken (0 without a file)."""
    if not path.exists():
        return 0
    state = load_state(path)
    if state["fingerprint"] != plan.fingerprint:
        raise ConfigError(
            f"{path.parent} holds a run with other settings; "
            "choose another --out, or delete the directory"
        )
    task.load_state_dict(state["task"])
    optimizer.load_state_dict(state["optimizer"])
    if len(state["random"]) == fabric.world_size:
        restore_random_state(state["random"][fabric.global_rank])
    return state["step"]


def _stop_if_not_finite(means: dict[str, float], step: int, checkpoint: Path) -> None:
    bad = [name for name, value in means.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise InternVideoError(
            f"{', '.join(bad)} not finite at step {step}; stopped. The state before is in "
            f"{checkpoint}; try a lower optim.lr or optim.clip_grad_norm=1"
        )
