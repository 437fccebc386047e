"""A moving average of the weights, evaluated and saved in their place (`optim.ema_decay`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from internvideo.train.distribution import local

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of the trainable parameters; with decay None it is the weights.

    Args:
        task: whose parameters are followed; of a sharded one each process follows its part.
        decay: what the average keeps of itself at each update.
    """

    def __init__(self, task: nn.Module, *, decay: float | None) -> None:
        self.decay = decay
        self._followed: dict[str, nn.Parameter] = {}
        if decay is not None:
            self._followed = {n: p for n, p in task.named_parameters() if p.requires_grad}
        self._average = {name: local(p).clone() for name, p in self._followed.items()}

    @torch.no_grad()
    def update_(self) -> None:
        """Move the average towards the weights; call it after every optimiser step."""
        if self.decay is not None:
            weights = [local(parameter) for parameter in self._followed.values()]
            torch._foreach_lerp_(list(self._average.values()), weights, 1.0 - self.decay)

    @torch.no_grad()
    def swap_(self) -> None:
        """Exchange the average and the weights."""
        for name, parameter in self._followed.items():
            weights, average = local(parameter), self._average[name]
            kept = weights.clone()
            weights.copy_(average)
            average.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the task have the averaged weights inside the block."""
        self.swap_()
        try:
            yield
        finally:
            self.swap_()

    @torch.no_grad()
    def restart_(self) -> None:
        """Begin again from the weights."""
        for name, parameter in self._followed.items():
            self._average[name].copy_(local(parameter))
