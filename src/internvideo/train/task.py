"""What the loop needs of a task, and the module that it makes of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor, nn

from internvideo.data.samples import ClipSource, Sample

__all__ = ["LossModule", "Progress", "TrainableTask"]

Model = TypeVar("Model", bound=nn.Module, covariant=True)


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        step: of the optimiser, from 0.
        epoch: from 0.
        num_epochs: of the whole run.
    """

    step: int = 0
    epoch: int = 0
    num_epochs: float = 1.0


class TrainableTask(nn.Module, ABC, Generic[Model]):
    """A model with what it is trained for: samples become tensors, batches of them a loss.

    Attributes:
        model: what is trained, evaluated and saved.
        progress: how far the run is; the loop says so before each step.
    """

    model: Model
    progress: Progress = Progress()

    @abstractmethod
    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Turn one sample into tensors, one entry a repeat; runs in a data worker.

        What a step reads on the host has a name that begins with `host_` and is left there: a step
        that asked the device for it would wait.

        Args:
            sample: one decoded clip.
            rng: where every random choice is drawn from.

        Raises:
            DataError: the sample cannot be used for this task; it ends the run.
        """

    def over(self, source: ClipSource) -> ClipSource:
        """Return the clips as this task draws them, which may learn of their classes here."""
        return source

    @abstractmethod
    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `loss`, a scalar to minimise, and its named parts, which are logged."""


class LossModule(nn.Module):
    """A task as a function from a batch to its losses: what Fabric wraps.

    Precision and gradient exchange are tied to the call of a module; `training_loss` is a method.
    """

    def __init__(self, task: TrainableTask[nn.Module]) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `{"loss": …, parts…}`."""
        return self.task.training_loss(batch)
