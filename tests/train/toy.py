"""A task and a source small enough to train in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.errors import VideoError
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.train.distribution import build_fabric
from internvideo.train.loop import Evaluation, Plan, train
from internvideo.train.settings import RunSettings
from internvideo.train.task import TrainableTask

WIDTH = 6


class ToySource:
    """Clips of one frame; `broken` ones cannot be read."""

    def __init__(self, num_clips: int = 24, *, broken: frozenset[int] = frozenset()) -> None:
        self.num_clips = num_clips
        self.broken = broken

    def __len__(self) -> int:
        return self.num_clips

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        if index in self.broken:
            raise VideoError(f"{self.key(index)}: no video stream")
        pixels = np.random.default_rng(index).integers(0, 256, (1, 1, 2, 3), dtype=np.uint8)
        return Sample(frames=pixels, label=index % 2, key=self.key(index))

    def key(self, index: int) -> str:
        return f"clip{index}.mp4"


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTH, 1)

    def block_modules(self):
        yield from self.blocks

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(self.drop(x))[:, 0]


class ToyTask(TrainableTask[ToyModel]):
    """Regression of the label; `fails_at` raises, `poison` makes the loss NaN at a step."""

    def __init__(
        self, *, dropout: float = 0.2, fails_at: int | None = None, poison: int | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.model = ToyModel()
        self.model.drop.p = dropout
        self.fails_at = fails_at
        self.poison = poison
        self.calls = 0

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        noise = torch.from_numpy(rng.normal(0, 0.1, WIDTH)).float()
        pixels = torch.from_numpy(sample.frames).flatten()
        return [{"pixels": pixels, "noise": noise, "label": torch.tensor(float(sample.label or 0))}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("the machine is gone")
        x = batch["pixels"].float() / 255 - 0.5 + batch["noise"]
        error = (self.model(x) - batch["label"]) ** 2
        loss = error.mean()
        if self.calls == self.poison:
            loss = loss * float("nan")
        return {"loss": loss, "error": error.detach().max()}


def toy_plan(
    *,
    optim: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> Plan:
    return Plan(
        optim=OptimConfig(**{"lr": 0.02, **(optim or {})}),
        schedule=ScheduleConfig(**{"epochs": 2, **(schedule or {})}),
        runtime=RuntimeConfig(
            **{
                "batch_size": 4,
                "num_workers": 0,
                "log_every": 1,
                "save_every": 2,
                "accelerator": "cpu",
                **(runtime or {}),
            }
        ),
        settings=RunSettings(values=settings or {}),
    )


def toy_run(
    directory: Path,
    *,
    task: ToyTask | None = None,
    source: Any = None,
    plan: Plan | None = None,
    evaluation: Evaluation | None = None,
) -> dict[str, Tensor]:
    plan = plan or toy_plan()
    fabric = build_fabric(plan.runtime)
    task = task or ToyTask()
    torch.manual_seed(7)  # a task given was built before the fabric, one not given after it
    return train(
        task,
        source or ToySource(),
        plan,
        directory,
        fabric=fabric,
        evaluation=evaluation,
    )
