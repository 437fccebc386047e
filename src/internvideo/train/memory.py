"""How much memory a training step needs, told before the first one, and what would fit.

A step of two clips is taken on fake tensors, which have a shape but no values: what autograd would
keep of it for the backward pass is counted, and grows in proportion to the batch. Weights,
gradients, the optimiser's averages and the moving average are counted as they are.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig, RuntimeConfig
from internvideo.train.data import HOST
from internvideo.train.task import TrainableTask

__all__ = ["MemoryNeed", "free_memory", "memory_need"]

_LOG = logging.getLogger(__name__)
_GIB = 2**30
_ADAM, _SGD = 2, 1  # averages a weight
_NUMBERS = (torch.Tensor.item, torch.Tensor.__int__, torch.Tensor.__index__)


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """What a training process needs, in bytes.

    Attributes:
        state: weights, gradients, the optimiser's and other averages, whatever the batch is.
        per_clip: what is kept of a clip, all its repeats, for the backward pass; None where a step
            of the task cannot be taken without values.
        batch_size: clips of a micro-step.
    """

    state: int
    per_clip: int | None
    batch_size: int

    @property
    def total(self) -> int:
        """What a step needs at least."""
        return self.state + (self.per_clip or 0) * self.batch_size

    def __str__(self) -> str:
        kept = "" if self.per_clip is None else (
            f", {self.per_clip * self.batch_size / _GIB:.2f} for the {self.batch_size} clips of a "
            "micro-step"
        )  # fmt: skip
        least = "at least " if self.per_clip is None else "about "
        return (
            f"{least}{self.total / _GIB:.2f} GiB ({self.state / _GIB:.2f} for weights, gradients "
            f"and averages{kept})"
        )

    def check(self, free: int | None, runtime: RuntimeConfig) -> None:
        """Refuse a step that does not fit, with the numbers that would.

        Raises:
            ConfigError: more is needed than is free.
        """
        if free is None or self.total <= free:
            return
        fitting = (free - self.state) // self.per_clip if self.per_clip else 0
        clips = runtime.batch_size * runtime.accumulate
        fitting = next((n for n in range(min(fitting, clips), 0, -1) if clips % n == 0), 0)
        ways = [
            f"runtime.batch_size={fitting} runtime.accumulate={clips // fitting} fits and is the "
            "same step"
            if fitting
            else "take a smaller model or more memory"
        ]
        if not runtime.activation_checkpointing:
            ways.append("runtime.activation_checkpointing=true needs less")
        ways.append("runtime.check_memory=false tries it all the same")
        raise ConfigError(
            f"a training step needs {self}, and {free / _GIB:.2f} GiB are free; {', '.join(ways)}"
        )


def memory_need(
    task: TrainableTask[nn.Module],
    rows: Mapping[str, Tensor],
    *,
    optim: OptimConfig,
    runtime: RuntimeConfig,
    device: torch.device,
    precision: str,
) -> MemoryNeed:
    """Estimate the memory of a training process, without FSDP.

    Args:
        task: with or without values; it is left as it is.
        rows: the batch of one clip, as `data.collate` makes it.
        optim: the optimiser.
        runtime: the batch.
        device: where the step is taken.
        precision: in which it is, such as "bf16-mixed".
    """
    trained = [p for p in task.parameters() if p.requires_grad]
    weights = sum(p.nbytes for p in task.parameters()) + sum(b.nbytes for b in task.buffers())
    copies = 1 + (_SGD if optim.rule == "sgd" else _ADAM) + (optim.ema_decay is not None)
    state = weights + copies * sum(p.nbytes for p in trained)
    try:
        clips = min(2, runtime.batch_size)
        per_clip = _kept(task, rows, clips, device, precision) // clips
    except Exception as error:  # a step that asks for values, in whatever way
        _LOG.debug("no estimate of the memory of a clip: %s", error)
        per_clip = None
    return MemoryNeed(state=state, per_clip=per_clip, batch_size=runtime.batch_size)


class _WithoutValues(TorchFunctionMode):
    """Answers what a step on the CPU asks of values that fake tensors do not have: with zeros."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        from torch._subclasses.fake_tensor import FakeTensor

        if func is torch.randint and args and args[-1] == ():
            return 0
        if func in _NUMBERS and isinstance(args[0], FakeTensor):
            return 0
        if func is torch.Tensor.nonzero:
            return torch.zeros(0, args[0].ndim, dtype=torch.int64)
        if func is torch.Tensor.tolist:  # pyright: ignore[reportUnknownMemberType]  # of torch
            known = not isinstance(args[0], FakeTensor)
            values: Any = args[0].numpy() if known else np.zeros(args[0].shape, dtype=int)
            return values.tolist()
        return func(*args, **(kwargs or {}))


def _kept(
    task: TrainableTask[nn.Module],
    rows: Mapping[str, Tensor],
    clips: int,
    device: torch.device,
    precision: str,
) -> int:
    """Return the bytes that autograd keeps of a step with so many clips."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen.setdefault(id(tensor.untyped_storage()), tensor)
        return tensor

    def fake(tensor: Tensor, repeats: int = 1) -> Tensor:
        shape = (tensor.shape[0] * repeats, *tensor.shape[1:]) if tensor.ndim else tensor.shape
        return torch.empty(shape, dtype=tensor.dtype, device=device)

    host = {
        name: tensor.repeat_interleave(clips, 0)
        for name, tensor in rows.items()
        if name.startswith(HOST)
    }
    with FakeTensorMode(allow_non_fake_inputs=True), _WithoutValues():
        known: dict[int, Any] = {}
        teacher = getattr(getattr(task, "teaching", None), "teacher", None)
        for module in (task, *([teacher] if isinstance(teacher, nn.Module) else [])):
            for parameter in module.parameters():
                known[id(parameter)] = nn.Parameter(
                    fake(parameter), requires_grad=parameter.requires_grad
                )
            for buffer in module.buffers():
                known[id(buffer)] = fake(buffer)
        weights = {id(tensor.untyped_storage()) for tensor in known.values()}
        twin = copy.deepcopy(task, memo=dict(known)).train()
        batch = {name: fake(tensor, clips) for name, tensor in rows.items()} | host
        mixed = precision != "32-true"
        dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
        with (
            torch.autocast(device.type, dtype=dtype, enabled=mixed),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            loss = twin.training_loss(batch)["loss"]
        sizes = {key: tensor.untyped_storage().nbytes() for key, tensor in seen.items()}
        del loss
    return sum(size for key, size in sizes.items() if key not in weights)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a process of a run may take; None where the system does not say.

    On the CPU the processes of a machine share them, and a container's limit counts.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
