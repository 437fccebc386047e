"""One optimiser step, seen by what it does to the weights.

AdamW and a clipped gradient do not care for a factor of the gradient; plain descent does.
"""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric

from internvideo.train.step import StepReport, optimizer_step
from internvideo.train.task import LossModule
from train.toy import WIDTH, ToyTask


def descend(
    num_parts: int, max_norm: float | None, *, max_norm_each: float | None = None
) -> tuple[StepReport, dict[str, torch.Tensor]]:
    """Take a step of plain gradient descent on twelve samples that come in parts."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "pixels": torch.randint(256, (12, WIDTH), generator=generator).byte(),
        "noise": torch.randn(12, WIDTH, generator=generator),
        "label": torch.randn(12, generator=generator),
    }
    parts = [
        dict(zip(batch, values, strict=True))
        for values in zip(*(value.chunk(num_parts) for value in batch.values()), strict=True)
    ]
    task = ToyTask(dropout=0.0)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    objective = fabric.setup_module(LossModule(task))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(task.parameters(), lr=1.0))
    report = optimizer_step(
        fabric, objective, optimizer, parts, max_norm=max_norm, max_norm_each=max_norm_each
    )
    return report, {name: value - before[name] for name, value in task.state_dict().items()}


@pytest.mark.parametrize("max_norm", [None, 0.1, 1e6])
@pytest.mark.parametrize("num_parts", [2, 4])
def test_gradients_are_averaged_over_micro_batches_not_summed(num_parts, max_norm):
    whole, expected = descend(1, max_norm)
    report, moved = descend(num_parts, max_norm)
    assert whole.grad_norm > 0.2, "0.1 clips, 1e6 does not"
    torch.testing.assert_close(report.grad_norm, whole.grad_norm)
    torch.testing.assert_close(report.losses["loss"], whole.losses["loss"])
    assert len(report.loss_of_each) == num_parts
    torch.testing.assert_close(moved, expected)


def test_every_tensor_is_clipped_by_itself_after_the_whole_gradient():
    _, whole = descend(1, 1.0)
    _, moved = descend(1, 1.0, max_norm_each=0.05)
    assert any(step.norm() > 0.05 for step in whole.values())
    for name, step in whole.items():
        expected = step * min(1.0, 0.05 / float(step.norm() + 1e-12))
        torch.testing.assert_close(moved[name], expected, rtol=1e-4, atol=1e-7)
