"""Everything that a run must not lose: gathered from all processes, written, and restored."""

from __future__ import annotations

import logging
import random
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from internvideo.errors import CheckpointError, ConfigError
from internvideo.train.checkpoint import newest_readable, save_state
from internvideo.train.meter import Meter
from internvideo.train.optim import WeightAverage
from internvideo.train.settings import RunSettings, way_on
from internvideo.train.task import TrainableTask

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

__all__ = [
    "Best",
    "TrainState",
    "full_weights",
    "random_state",
    "restore_random_state",
]

_LOG = logging.getLogger(__name__)
_FORMAT = 2
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation so far: the value of the metric that was named first, and its step."""

    metric: str
    value: float
    step: int


class TrainState:
    """What a checkpoint holds, and the only place that knows its layout.

    A checkpoint holds whole tensors by name, however they were sharded, so that another number of
    processes can resume from it.

    Args:
        task: the module that is trained.
        optimizer: from `fabric.setup_optimizers`.
        average: the averaged weights.
        meter: what is summed up for the next log record.
        fabric: the processes of the run.
        settings: what must not change when the run is resumed.
        global_batch: samples a step; must not change either, though the number of processes may.
    """

    def __init__(
        self,
        task: TrainableTask[nn.Module],
        optimizer: Optimizer,
        average: WeightAverage,
        meter: Meter,
        fabric: Fabric,
        *,
        settings: RunSettings,
        global_batch: int,
    ) -> None:
        self.task = task
        self.optimizer = optimizer
        self.average = average
        self.meter = meter
        self.fabric = fabric
        self.settings = settings
        self.global_batch = global_batch
        self.step = 0
        self.best: Best | None = None
        self.unmeasured = False  # stopped at a step that was to be evaluated
        self._processes: list[dict[str, Any]] = []
        self._last_is_broken = False  # so it must not replace the good `previous.ckpt`

    def save(self, directory: Path) -> None:
        """Write `last.ckpt`, keep the one before as `previous.ckpt`; call it in all processes."""
        own = {"random": random_state(), "meter": self.meter.state_dict()}
        processes: list[Any] = [own]
        if self.fabric.world_size > 1:
            processes = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(processes, own)
        state = {
            "format": _FORMAT,
            "version": version("internvideo"),
            "settings": dict(self.settings.values),
            "clips": dict(self.settings.clips),
            "global_batch": self.global_batch,
            "step": self.step,
            "unmeasured": self.unmeasured,
            "best": self.best and list(astuple(self.best)),
            "task": full_weights(self.task),
            "optimizer": get_optimizer_state_dict(self.task, self._inner_optimizer, options=_WHOLE),
            "average": self._averaged_weights(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "processes": processes,
        }
        if self.fabric.is_global_zero:
            previous = None if self._last_is_broken else directory / "previous.ckpt"
            save_state(directory / "last.ckpt", state, keep_old_as=previous)
        self._last_is_broken = False
        self.fabric.barrier()

    def resume(self, directory: Path, *, extend: bool = False) -> RunSettings | None:
        """Resume from the newest checkpoint that can be read; do nothing without any.

        Args:
            directory: of the run.
            extend: whether the length may be another one.

        Returns:
            The settings with which the run went until then; None where it begins.

        Raises:
            ConfigError: the run in the directory has other settings; the differing keys are named.
            CheckpointError: no checkpoint can be read, the processes see different ones, or the
                weights do not fit.
        """
        found = newest_readable(directory)
        self._check_shared(None if found is None else found[1].get("step"), directory)
        if found is None:
            return None
        path, state = found
        if state.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} was written by internvideo {state.get('version', 'of another version')} "
                f"in another layout; finish the run with that version, or {way_on(directory)}"
            )
        before = RunSettings(values=state["settings"], clips=state.get("clips", {}))
        told = self.settings.check(before, directory, extend=extend)
        if state["global_batch"] != self.global_batch:
            raise ConfigError(
                f"{directory} holds a run with {state['global_batch']} videos a step, now they are "
                f"{self.global_batch}: runtime.batch_size x runtime.accumulate x "
                f"{self.fabric.world_size} processes must stay the same, or {way_on(directory)}"
            )
        self._load(state, path)
        if self.fabric.is_global_zero:
            for each in told:
                _LOG.warning("%s: %s", directory, each)
        self._last_is_broken = path.name != "last.ckpt" and (directory / "last.ckpt").exists()
        return before

    def _check_shared(self, step: int | None, directory: Path) -> None:
        """Refuse to resume where another machine has another directory of the same name."""
        if self.fabric.world_size == 1:
            return
        steps: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(steps, step)
        if len(set(steps)) > 1:
            raise CheckpointError(
                f"not all processes see the same checkpoint in {directory} (the steps are "
                f"{', '.join(map(str, steps))}); all machines must share the directory"
            )

    def restore_process(self) -> None:
        """Restore what each process has of its own; call it right before the first step.

        With another number of processes than before, each starts a new stream of random numbers.
        """
        if len(self._processes) == self.fabric.world_size:
            own = self._processes[self.fabric.global_rank]
            restore_random_state(own["random"])
            self.meter.load_state_dict(own["meter"])
        elif self._processes or self.fabric.global_rank > 0:
            seeds = [torch.initial_seed(), self.step, self.fabric.global_rank]
            seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
            torch.manual_seed(seed)  # type: ignore[no-untyped-call]  # of torch

    @property
    def _inner_optimizer(self) -> Optimizer:
        """Return the optimizer inside of Fabric's, whose state is asked for by parameter."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _averaged_weights(self) -> dict[str, Tensor] | None:
        if self.average.decay is None:
            return None
        with self.average.in_place():
            return full_weights(self.task)

    def _load(self, state: dict[str, Any], path: Path) -> None:
        try:
            if state["average"] is not None:
                set_model_state_dict(self.task, state["average"], options=_WHOLE)
            self.average.restart_()
            set_model_state_dict(self.task, state["task"], options=_WHOLE)
            set_optimizer_state_dict(
                self.task, self._inner_optimizer, state["optimizer"], options=_WHOLE
            )
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"the weights in {path} do not fit this model: {reason}; {way_on(path.parent)}"
            ) from None
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = state["step"]
        self.unmeasured = state["unmeasured"]
        self.best = None if state["best"] is None else Best(*state["best"])
        self._processes = state["processes"]
        if self.fabric.is_global_zero:
            _LOG.info("resuming from step %d of %s", self.step, path)


def full_weights(task: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors of a task, on the CPU; in the first process only, if sharded."""
    weights: dict[str, Any] = get_model_state_dict(task, options=_WHOLE)
    own = {
        tensor.data_ptr() for tensor in task.state_dict().values() if tensor.device.type == "cpu"
    }
    return {n: t.clone() if t.data_ptr() in own else t for n, t in weights.items()}


def random_state() -> dict[str, Any]:
    """Return the state of every random generator of this process, as plain values."""
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, position, has_gauss, cached = numpy_state
    version, internal, gauss = random.getstate()
    state = {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.tensor(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every random generator back to where `random_state` saw it."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
