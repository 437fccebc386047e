"""Learning rate and weight decay as pure functions of the step: warm-up, then a fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from internvideo.train.config import OptimConfig, ScheduleConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = [
    "Schedule",
    "cosine_value",
    "epoch_cosine",
    "jumping_cosine",
    "multistep_value",
    "warmup_cosine",
    "warmup_linear",
]


class Schedule:
    """What learning rate and weight decay are at each step of a run; steps count from 0.

    Args:
        optim: the weight decay and its end, and the learning rate before scaling.
        config: length and rule.
        lr: peak learning rate, from `optim.scaled_lr`; `min_lr` and `warmup_lr` are scaled by the
            same factor.
        steps_per_epoch: optimiser steps of one pass over the data.
    """

    def __init__(
        self, optim: OptimConfig, config: ScheduleConfig, *, lr: float, steps_per_epoch: int
    ) -> None:
        self.optim = optim
        self.config = config
        self.peak = lr
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = config.total_steps(steps_per_epoch)
        self.warmup_epochs = config.warmup_epochs
        if config.warmup_steps is not None:
            self.warmup_epochs = config.warmup_steps / steps_per_epoch
        self.warmup_steps = round(self.warmup_epochs * steps_per_epoch)

    def lr(self, step: int) -> float:
        """Return the learning rate of a group whose `lr_scale` is 1."""
        total, warmup = self.total_steps, self.warmup_steps
        if self.config.rule == "viclip":
            floor = self.config.min_lr_ratio
            return self.peak * warmup_cosine(step, total, warmup, floor=floor)
        if self.config.rule == "linear":
            return self.peak * warmup_linear(step, total, warmup)
        if self.config.rule == "bert-adam":
            share = self.warmup_epochs * self.steps_per_epoch / total
            return self.peak * jumping_cosine(step / total, share)
        scale = self.peak / self.optim.lr
        final, start = self.config.min_lr * scale, self.config.warmup_lr * scale
        if self.config.rule == "videomae":
            return cosine_value(step, total, warmup, peak=self.peak, final=final, start=start)
        if self.config.rule == "multistep":
            falls = [round(epoch * self.steps_per_epoch) for epoch in self.config.milestones]
            return multistep_value(
                step, warmup, falls, peak=self.peak, gamma=self.config.gamma, start=start
            )
        return epoch_cosine(
            step / self.steps_per_epoch,
            total / self.steps_per_epoch,
            self.warmup_epochs,
            peak=self.peak,
            final=final,
            start=start,
        )

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


def warmup_linear(step: int, total_steps: int, warmup_steps: int) -> float:
    """Return the factor of the peak learning rate for a step: up to it, then straight to zero.

    The rule of InternVideo-MM's fine-tuning for question answering (polynomial of power 1).

    Args:
        step: steps taken before this one, from 0.
        total_steps: length of the run.
        warmup_steps: length of the warm-up; 0 for no warm-up.
    """
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))


def jumping_cosine(progress: float, warmup: float) -> float:
    """Return the factor of the peak learning rate at a share of the run, by BertAdam's rule.

    COMPAT: after the warm-up it is `½(1 + cos(π · progress))` of the whole run, not of what is left
    of it: with a tenth of warm-up it jumps from 1 to 0.976. The published fine-tuning for retrieval
    goes by it; pinned by golden `retrieval-bertadam`.

    Args:
        progress: steps taken before this one, over all steps of the run.
        warmup: share of the run in which the rate rises.
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def cosine_value(
    step: int, total_steps: int, warmup_steps: int, *, peak: float, final: float, start: float = 0.0
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
        start: value at step 0 of the warm-up; 0 in VideoMAE, 1e-6 in UMT's fine-tuning.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / max(1, warmup_steps - 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final + 0.5 * (peak - final) * (1.0 + math.cos(math.pi * progress))


def multistep_value(
    step: int,
    warmup_steps: int,
    milestones: Sequence[int],
    *,
    peak: float,
    gamma: float,
    start: float = 0.0,
) -> float:
    """Return the value for a step: warm-up as in `cosine_value`, then a fall at each milestone.

    Args:
        step: steps taken before this one, from 0.
        warmup_steps: length of the warm-up.
        milestones: steps after the warm-up at which the value is multiplied by `gamma`.
        peak: value after the warm-up.
        gamma: factor of each fall.
        start: value at step 0 of the warm-up.

    Source: fixture `tal-lr-schedule`.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / max(1, warmup_steps - 1)
    return peak * gamma ** sum(step - warmup_steps >= each for each in milestones)


def epoch_cosine(
    epoch: float,
    epochs: float,
    warmup_epochs: float,
    *,
    peak: float,
    final: float,
    start: float = 0.0,
) -> float:
    """Return the learning rate at a fractional epoch, by UniFormerV2's rule.

    A line from `start` to `peak`, which is reached at the end of the warm-up; from there half a
    cosine to `final`, which is reached at the end of the run.

    Args:
        epoch: epochs before this step, with the share of the current one.
        epochs: length of the run.
        warmup_epochs: length of the warm-up; 0 for no warm-up.
        peak: value after the warm-up.
        final: value at the end.
        start: value at the start of the warm-up.

    Source: fixture `uniformerv2-lr-cosine`.
    """
    if epoch < warmup_epochs:
        return start + (peak - start) * epoch / warmup_epochs
    remaining = epochs - warmup_epochs
    progress = min(1.0, (epoch - warmup_epochs) / remaining) if remaining > 0 else 1.0
    return final + 0.5 * (peak - final) * (1.0 + math.cos(math.pi * progress))
