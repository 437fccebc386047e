"""Exchange of rows between processes: gather, scatter of sums, and one step round a ring.

`group` is a process group of `torch.distributed` or None, which is one process alone: then nothing
is sent, and the functions return their argument. Only `gather_with_gradient` is differentiable; of
the others the caller sends the gradients back.

Letters: n rows of a process, w processes. Newer versions of torch deprecate two names used here;
the oldest one that is supported has no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = [
    "gather_rows",
    "gather_with_gradient",
    "group_rank",
    "group_size",
    "merge_logsumexp",
    "pass_on",
    "scatter_sum",
    "total",
    "training_group",
]


def training_group() -> dist.ProcessGroup | None:
    """Return the group of all processes of the run, or None where there is one process."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return dist.group.WORLD


def group_size(group: dist.ProcessGroup | None) -> int:
    """Return the number of processes."""
    return 1 if group is None else dist.get_world_size(group)


def group_rank(group: dist.ProcessGroup | None) -> int:
    """Return the place of this process among them."""
    return 0 if group is None else dist.get_rank(group)


def gather_rows(
    rows: Shaped[Tensor, "n *rest"], group: dist.ProcessGroup | None
) -> Shaped[Tensor, "wn *rest"]:
    """Return the rows of all processes, in their order; each must have equally many."""
    if group is None:
        return rows
    gathered = rows.new_empty(group_size(group) * len(rows), *rows.shape[1:])
    dist.all_gather_into_tensor(gathered, rows.contiguous(), group=group)  # type: ignore[deprecated]
    return gathered


def gather_with_gradient(
    rows: Float[Tensor, "n *rest"], group: dist.ProcessGroup | None
) -> Float[Tensor, "wn *rest"]:
    """Gather rows so that each process gets back the gradients that all processes have of its own.

    Where all compute one loss of the gathered rows, these are w times its gradient, which DDP and
    FSDP, as they average, make the gradient of the loss.
    """
    return rows if group is None else _GatherRows.apply(rows, group)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return gather_rows(rows, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return scatter_sum(gradients[0], ctx.group), None


def scatter_sum(
    rows: Float[Tensor, "wn *rest"], group: dist.ProcessGroup | None
) -> Float[Tensor, "n *rest"]:
    """Sum a tensor over the processes; each gets the rows that `gather_rows` took from it."""
    if group is None:
        return rows
    own = rows.new_empty(len(rows) // group_size(group), *rows.shape[1:])
    dist.reduce_scatter_tensor(own, rows.contiguous(), group=group)  # type: ignore[deprecated]
    return own


def total(value: Float[Tensor, "*shape"], group: dist.ProcessGroup | None) -> Tensor:
    """Return the sum over the processes."""
    if group is None:
        return value
    summed = value.clone()
    dist.all_reduce(summed, group=group)
    return summed


def merge_logsumexp(
    part: Float[Tensor, "*shape"], group: dist.ProcessGroup | None
) -> Float[Tensor, "*shape"]:
    """Return `log Σ exp(part)` over the processes."""
    if group is None:
        return part
    peak = part.clone()
    dist.all_reduce(peak, op=dist.ReduceOp.MAX, group=group)
    return peak + total((part - peak).exp(), group).log()


def pass_on(tensors: Sequence[Tensor], group: dist.ProcessGroup | None) -> list[Tensor]:
    """Send tensors to the next process and return those of the previous one, of equal shapes."""
    if group is None:
        return list(tensors)
    size, rank = group_size(group), group_rank(group)
    following = dist.get_global_rank(group, (rank + 1) % size)
    previous = dist.get_global_rank(group, (rank - 1) % size)
    received = [torch.empty_like(tensor) for tensor in tensors]
    operations: list[dist.P2POp] = []
    for tag, (own, other) in enumerate(zip(tensors, received, strict=True)):
        operations.append(dist.P2POp(dist.isend, own.contiguous(), following, group, tag))
        operations.append(dist.P2POp(dist.irecv, other, previous, group, tag))
    for request in dist.batch_isend_irecv(operations):
        request.wait()
    return received
