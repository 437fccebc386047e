"""The losses of short-term anticipation (fixture `ego4d-sta`)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["IGNORED", "contact_losses"]

IGNORED = -100
"""Verb of a box that stands for no annotated object; its time to contact is NaN."""


def contact_losses(
    verb_logits: Float[Tensor, "n k"],
    ttcs: Float[Tensor, "n 1"],
    verbs: Int[Tensor, " n"],
    true_ttcs: Float[Tensor, "n 1"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the losses of verb and time to contact; each is 0 where no box is annotated.

    Args:
        verb_logits: of all boxes.
        ttcs: predicted seconds.
        verbs: class of each box, or `IGNORED`.
        true_ttcs: seconds, or NaN.
    """
    known = verbs != IGNORED
    timed = ~true_ttcs.isnan()
    verb = F.cross_entropy(verb_logits, verbs, ignore_index=IGNORED, reduction="sum")
    ttc = F.smooth_l1_loss(ttcs[timed], true_ttcs[timed], reduction="sum")
    return verb / known.sum().clamp(min=1), ttc / timed.sum().clamp(min=1)
