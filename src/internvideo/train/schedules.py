"""Learning rate and weight decay as pure functions of the step: warm-up, then half a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from internvideo.train.config import OptimConfig, ScheduleConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["Schedule", "cosine_value", "warmup_cosine"]


class Schedule:
    """What learning rate and weight decay are at each step of a run; steps count from 0.

    Args:
        optim: the weight decay and its end, and the learning rate before scaling.
        config: length and rule.
        lr: peak learning rate, from `optim.scaled_lr`; `min_lr` is scaled by the same factor.
        steps_per_epoch: optimiser steps of one pass over the data.
    """

    def __init__(
        self, optim: OptimConfig, config: ScheduleConfig, *, lr: float, steps_per_epoch: int
    ) -> None:
        self.optim = optim
        self.config = config
        self.peak = lr
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = steps_per_epoch * config.epochs
        self.warmup_steps = round(config.warmup_epochs * steps_per_epoch)

    def lr(self, step: int) -> float:
        """Return the learning rate of a group whose `lr_scale` is 1."""
        total, warmup = self.total_steps, self.warmup_steps
        if self.config.rule == "viclip":
            floor = self.config.min_lr_ratio
            return self.peak * warmup_cosine(step, total, warmup, floor=floor)
        final = self.config.min_lr * self.peak / self.optim.lr
        return cosine_value(step, total, warmup, peak=self.peak, final=final)

    def weight_decay(self, step: int) -> float:
        """Return the weight decay of the groups that decay."""
        start, end = self.optim.weight_decay, self.optim.weight_decay_end
        if end is None:
            return start
        return cosine_value(step, self.total_steps, 0, peak=start, final=end)

    def apply_(self, optimizer: Optimizer, step: int) -> float:
        """Set both numbers in every group of the optimiser; return the learning rate."""
        lr, weight_decay = self.lr(step), self.weight_decay(step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
            group["weight_decay"] = weight_decay if group["decays"] else 0.0
        return lr


def warmup_cosine(step: int, total_steps: int, warmup_steps: float, *, floor: float = 0.0) -> float:
    """Return the factor of the peak learning rate for a step, by ViCLIP's rule.

    `step / warmup_steps` while warming up, then `½(1 + cos(π · progress))`; never below `floor`.
    The peak is reached once, at `step == warmup_steps`.

    Args:
        step: steps taken before this one, from 0.
        total_steps: length of the run.
        warmup_steps: length of the warm-up, may be a fraction or 0.
        floor: smallest factor, 0.01 in ViCLIP's recipes.
    """
    if step < warmup_steps:
        return max(floor, step / warmup_steps)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return max(floor, 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def cosine_value(
    step: int,
    total_steps: int,
    warmup_steps: int,
    *,
    peak: float,
    final: float,
    start: float = 0.0,
) -> float:
    """Return the value for a step, by VideoMAE's rule; also for its weight decay.

    Warm-up runs from `start` to `peak` including both, so the peak is held for two steps; the
    cosine then falls (or rises) towards `final` over the remaining steps and would reach it one
    step later.

    Args:
        step: steps taken before this one, from 0.
        total_steps: length of the run.
        warmup_steps: length of the warm-up.
        peak: value after the warm-up.
        final: value that the cosine approaches.
        start: value at step 0 of the warm-up; 0 in every published recipe.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / max(1, warmup_steps - 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final + 0.5 * (peak - final) * (1.0 + math.cos(math.pi * progress))
