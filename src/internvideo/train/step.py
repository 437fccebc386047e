"""One optimiser step: forward and backward over the micro-batches, clip, update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

__all__ = ["StepReport", "optimizer_step"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What happened in a step, on the device.

    Attributes:
        losses: what the task returned, means over the micro-batches.
        loss_of_each: the loss of every micro-batch.
        grad_norm: norm of the whole gradient before clipping; None with a gradient scaler, which
            lets it overflow now and then, and skips such a step.
    """

    losses: dict[str, Tensor]
    loss_of_each: list[Tensor]
    grad_norm: Tensor | None


def optimizer_step(
    fabric: Fabric,
    objective: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[dict[str, Tensor]],
    *,
    max_norm: float | None = None,
    max_norm_each: float | None = None,
) -> StepReport:
    """Update the weights once from one or several micro-batches.

    The gradients of the micro-batches are averaged, and exchanged between processes only with the
    last one. Nothing here makes the host wait for the device.

    Args:
        fabric: precision and processes.
        objective: what `fabric.setup_module` made of a `LossModule`.
        optimizer: what `fabric.setup_optimizers` returned, its numbers set for this step.
        batches: the micro-batches.
        max_norm: clip the averaged gradient to this norm.
        max_norm_each: after that, clip the gradient of every tensor to this norm.
    """
    count = len(batches)
    sums: dict[str, Tensor] = {}
    each: list[Tensor] = []
    for number, batch in enumerate(batches, start=1):
        # (Fabric declares its own class of modules, which is private)
        with fabric.no_backward_sync(objective, enabled=number < count):  # type: ignore[arg-type]
            losses = objective(batch)
            fabric.backward(losses["loss"] / count)
        each.append(losses["loss"].detach())
        for name, value in losses.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    grad_norm = _clip(fabric, objective, optimizer, max_norm)
    if max_norm_each is not None:
        # COMPAT: the published fine-tuning for retrieval clips twice; pinned by golden
        # `retrieval-bertadam`.
        for parameter in objective.parameters():
            clip_grad_norm_(parameter, max_norm_each)
    optimizer.step()
    optimizer.zero_grad()
    return StepReport({name: total / count for name, total in sums.items()}, each, grad_norm)


def _clip(
    fabric: Fabric, objective: nn.Module, optimizer: Optimizer, max_norm: float | None
) -> Tensor | None:
    """Return the norm of the gradient, which is clipped to `max_norm` if that is given."""
    norm: Tensor | None = None
    if max_norm is not None:
        norm = fabric.clip_gradients(
            objective,
            optimizer,
            max_norm=max_norm,
            error_if_nonfinite=False,  # a look would make the host wait; `StopSignal` finds it
        )
    if getattr(fabric.strategy.precision, "scaler", None) is not None:
        return None
    if max_norm is None:
        norm = get_total_norm([p.grad for p in objective.parameters() if p.grad is not None])
    if norm is not None and hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()  # type: ignore[operator]
    return norm.detach() if isinstance(norm, torch.Tensor) else None
