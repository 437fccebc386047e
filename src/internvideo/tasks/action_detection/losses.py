"""What is lost on boxes with several classes each."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["BoxLoss", "box_loss"]

BoxLoss = Literal["bce", "focal"]


def box_loss(
    logits: Float[Tensor, "n k"],
    targets: Float[Tensor, "n k"],
    *,
    kind: BoxLoss = "bce",
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Float[Tensor, ""]:
    """Return the sum over the boxes of the mean over the classes.

    Args:
        logits: of all boxes of a batch; none give 0.
        targets: 1 of a class that is there, else 0.
        kind: binary cross-entropy (fixture `stal-vit`), or the same weighted by how wrong the
            answer is: the focal loss of Lin et al. (2017), equation 4, `(1 - p)^gamma`.
        gamma: of the focal loss.
        alpha: weight of the classes that are there in the focal loss, 1 - alpha being that of the
            others (equation 5); None weighs them alike.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if kind == "focal":
        sure = logits.sigmoid()
        right = sure * targets + (1 - sure) * (1 - targets)
        losses = losses * (1 - right) ** gamma
        if alpha is not None:
            losses = losses * (alpha * targets + (1 - alpha) * (1 - targets))
    return losses.mean(dim=1).sum()
