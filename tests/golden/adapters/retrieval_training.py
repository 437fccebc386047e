"""Fine-tuning for retrieval: optimiser, what it trains and decays, losses on a matrix of scores."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from golden.case import Case
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.train.distribution import build_fabric
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.train.step import optimizer_step


class Pulled(nn.Module):
    """A matrix and a bias whose gradients are what the batch holds."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w.clone())
        self.bias = nn.Parameter(b.clone())

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self.w * batch["w"]).sum() + (self.bias * batch["b"]).sum()}


def number(text: str, before: str) -> float:
    """Return the number that stands behind some words of a description."""
    found = re.search(rf"{before}[ =]*([\d.]+(?:e-?\d+)?)", text)
    assert found is not None, before
    return float(found[1])


def bert_adam(case: Case) -> None:
    said = case.meta["what"]
    rates = [number(said, f"group {name}: lr") for name in "wb"]
    total, warmup = number(said, "t_total"), number(said, "warmup")
    first_beta, second_beta = re.search(r"betas (\.\d+)/(\.\d+)", said).groups()  # type: ignore[union-attr]
    optim = OptimConfig(
        lr=rates[0],
        lr_scales={"bias": rates[1] / rates[0]},
        betas=(float(first_beta), float(second_beta)),
        eps=number(said, "eps"),
        weight_decay=number(said, "group w: lr [^ ]+ wd"),
        bias_correction=False,
        decayed="all-but-biases",
        clip_grad_norm=1.0,
        clip_each_grad_norm=1.0,
    )
    schedule = Schedule(
        optim,
        ScheduleConfig(rule="bert-adam", steps=int(total), warmup_epochs=warmup),
        lr=optim.lr,
        steps_per_epoch=int(total),
    )
    fabric = build_fabric(RuntimeConfig(accelerator="cpu"))
    model = Pulled(case.tensors["input.w"], case.tensors["input.b"])
    optimizer = build_optimizer(model, optim, lr=optim.lr)
    objective = fabric.setup_module(model)
    wrapped = fabric.setup_optimizers(optimizer)
    rates_told = case.meta["lr_reported_before_each_step"]
    last = len(rates_told) - 1
    ends = {name: f"output.{name}_{last}" for name in "wb"}
    for step, reported in enumerate(rates_told):
        schedule.apply_(optimizer, step)
        given = sorted({group["lr"] for group in optimizer.param_groups})
        torch.testing.assert_close(torch.tensor(given), torch.tensor(sorted(map(float, reported))))
        batch = {name: case.tensors[f"input.grad_{name}_{step}"] for name in "wb"}
        optimizer_step(
            fabric,
            objective,  # pyright: ignore[reportArgumentType]
            wrapped,  # pyright: ignore[reportArgumentType]
            [batch],
            max_norm=optim.clip_grad_norm,
            max_norm_each=optim.clip_each_grad_norm,
        )
        for name, ours in (("w", model.w), ("b", model.bias)):
            stored = f"output.{name}_{step}"
            # The published case holds the end of the run under the names of all steps.
            if step == last or not torch.equal(case.tensors[stored], case.tensors[ends[name]]):
                case.assert_close(ours, stored)


ADAPTERS = {"retrieval-bertadam": bert_adam}
