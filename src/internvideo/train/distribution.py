"""Where a run runs: device, precision, and DDP or FSDP2 under `torchrun`, by Lightning Fabric.

With FSDP2 (`fully_shard`) every block of the model is a unit, and what is outside of the blocks
is one more. Models know nothing of it.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from internvideo.errors import ConfigError
from internvideo.train.config import RuntimeConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.distributed.fsdp import FSDPModule

__all__ = [
    "bf16_units",
    "build_fabric",
    "compile_blocks",
    "gathered",
    "local",
    "usable_precision",
    "usable_workers",
]

_LOG = logging.getLogger(__name__)

_VARIANTS = 8  # of one block, the number that PyTorch allows by default


def build_fabric(runtime: RuntimeConfig) -> Fabric:
    """Return a Fabric for this process; under `torchrun` it joins the others.

    Raises:
        ConfigError: a precision or strategy that this machine or this start does not allow.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size)))
    if world_size == 1 and runtime.strategy != "auto":
        raise ConfigError(
            f"runtime.strategy={runtime.strategy} needs several processes: start them with "
            "torchrun --nproc_per_node=N -m internvideo train …"
        )
    cuda = torch.cuda.is_available()
    if runtime.accelerator == "gpu" and not (cuda or torch.backends.mps.is_available()):
        raise ConfigError(
            "runtime.accelerator=gpu, but PyTorch finds no GPU here (see `internvideo doctor`); "
            "auto takes what there is"
        )
    precision: Any = usable_precision(runtime)
    if precision != runtime.precision and os.environ.get("RANK", "0") == "0":
        wanting = "GPU" if runtime.precision == "16-mixed" else "bfloat16 unit in this CPU"
        _LOG.info("no %s: %s in place of %s", wanting, precision, runtime.precision)
    fabric = Fabric(
        accelerator=runtime.accelerator,
        devices=local_size,
        num_nodes=world_size // local_size,
        strategy=_strategy(runtime, world_size),
        precision=precision,
        plugins=LightningEnvironment() if world_size == 1 else None,  # not several of SLURM or MPI
    )
    fabric.launch()
    fabric.seed_everything(runtime.seed, workers=False, verbose=False)
    return fabric


def usable_precision(runtime: RuntimeConfig) -> str:
    """Return the precision of a recipe, or 32-true on a CPU that would be slower by the other.

    A CPU without units for bfloat16 takes 15 times as long for it, and none has a scaler for
    float16.
    """
    mixed = runtime.precision != "32-true" and _on_cpu(runtime)
    if mixed and (runtime.precision == "16-mixed" or bf16_units() is None):
        return "32-true"
    return runtime.precision


def _on_cpu(runtime: RuntimeConfig) -> bool:
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return runtime.accelerator == "cpu" or not gpu


def bf16_units() -> str | None:
    """Return which units for bfloat16 this CPU has, such as "amx"; None where it has none."""
    known: dict[str, Any] = {
        "amx": getattr(torch.cpu, "_is_amx_tile_supported", None),
        "avx512_bf16": getattr(torch.cpu, "_is_avx512_bf16_supported", None),
    }
    if platform.machine() in ("aarch64", "arm64"):
        known = {"bf16": getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)}
    return next((name for name, has in known.items() if has is not None and has()), None)


def usable_workers(runtime: RuntimeConfig) -> int:
    """Return the data workers of a process: those of the recipe, but no more than it has cores.

    A log line says so where they are fewer.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    most = max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    if runtime.num_workers <= most:
        return runtime.num_workers
    if os.environ.get("RANK", "0") == "0":
        _LOG.info(
            "%d data workers in place of %d: so many cores are there for a process",
            most,
            runtime.num_workers,
        )
    return most


def compile_blocks(model: nn.Module) -> None:
    """Compile every block of a model: as fast as compiling the whole, in a fraction of the time.

    Blocks of one class share their code. PyTorch compiles it again for each rate of stochastic
    depth and each kind of batch, and by default gives up after a few.
    """
    from torch._dynamo import config

    blocks: list[nn.Module] = list(model.block_modules())  # type: ignore[operator]  # any model
    config.recompile_limit = max(config.recompile_limit, _VARIANTS * len(blocks))
    config.accumulated_recompile_limit = max(
        config.accumulated_recompile_limit, config.recompile_limit
    )
    for block in blocks:
        block.compile()  # type: ignore[no-untyped-call]  # of torch


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a parameter, detached; changing it changes the parameter."""
    part: Any = tensor.detach()
    return part.to_local() if hasattr(part, "to_local") else part


@contextmanager
def gathered(objective: nn.Module) -> Generator[None]:
    """Give every process all weights: it may call parts alone, and as often as it likes.

    Does nothing where the weights are not sharded. Needs memory for the whole model. The weights
    may be exchanged before and after the block, not inside.
    """
    shards = _sharded_modules(objective)
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for number, module in enumerate(shards):
            module.set_reshard_after_forward(number > 0, recurse=False)
            module.reshard()


def _sharded_modules(objective: nn.Module) -> list[FSDPModule]:
    """Return the units of FSDP2, the outermost first."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in objective.modules() if isinstance(module, FSDPModule)]


def _strategy(runtime: RuntimeConfig, world_size: int) -> Any:
    if world_size == 1:
        return "auto"
    if runtime.strategy != "fsdp":
        return "ddp"
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    return ModelParallelStrategy(_shard, data_parallel_size=world_size, tensor_parallel_size=1)


def _shard(objective: Any, mesh: Any) -> nn.Module:
    """Shard the blocks, then the rest; called by Fabric in `setup_module`."""
    from torch.distributed.fsdp import fully_shard

    # Fabric leaves the move to the device to the strategy, and this one does not move.
    objective.to(mesh.device_type)
    processes = mesh["data_parallel"]
    # A single number, such as the temperature of a contrast, cannot be sharded: every process has
    # it, and averages its gradient as DDP would.
    numbers = {parameter for parameter in objective.parameters() if not parameter.ndim}
    for parameter in numbers:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(partial(_average, processes.get_group()))
    for block in objective.task.model.block_modules():
        fully_shard(block, mesh=processes)
    fully_shard(objective, mesh=processes, ignored_params=numbers)
    if mesh.device_type == "cpu":
        for module in _sharded_modules(objective):  # gloo of torch 2.8 takes a mean for a sum
            module.set_force_sum_reduction_for_comms(True)
    return objective


def _average(group: Any, parameter: Tensor) -> None:
    """Average a gradient over the processes; one that was averaged before stays as it is."""
    gradient = parameter.grad
    assert gradient is not None
    torch.distributed.all_reduce(gradient, group=group)
    gradient /= torch.distributed.get_world_size(group)
