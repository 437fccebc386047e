"""Learning-rate schedules as pure functions of the step: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

__all__ = ["cosine_value", "warmup_cosine"]


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
