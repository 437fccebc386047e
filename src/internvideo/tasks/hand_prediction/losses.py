"""The loss of future hand prediction (fixture `ego4d-fhp`)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["hand_loss"]


def hand_loss(
    predictions: Float[Tensor, "b 20"],
    targets: Float[Tensor, "b 20"],
    annotated: Float[Tensor, "b 20"],
) -> Float[Tensor, ""]:
    """Return the mean distance in pixels, quadratic below 5, of the annotated coordinates.

    Args:
        predictions: of the model, in pixels.
        targets: zeros where a hand is not annotated.
        annotated: 1 where it is, 0 elsewhere. Without any, the loss is 0.
    """
    total = F.smooth_l1_loss(predictions * annotated, targets, beta=5.0, reduction="sum")
    return total / annotated.sum().clamp(min=1)
