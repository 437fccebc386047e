"""Losses of hand prediction and short-term anticipation where nothing is annotated."""

from __future__ import annotations

import torch

from internvideo.tasks.anticipation.losses import IGNORED, contact_losses
from internvideo.tasks.hand_prediction.losses import hand_loss


def test_without_annotated_hands_the_loss_is_zero():
    given = torch.randn(2, 20, requires_grad=True)
    loss = hand_loss(given, torch.zeros(2, 20), torch.zeros(2, 20))
    loss.backward()
    assert loss == 0
    assert given.grad is not None
    assert not given.grad.any()


def test_boxes_of_no_object_do_not_count():
    logits, ttcs = torch.randn(2, 4, requires_grad=True), torch.tensor([[1.0], [5.0]])
    both = contact_losses(
        logits, ttcs, torch.tensor([1, IGNORED]), torch.tensor([[1.5], [torch.nan]])
    )
    alone = contact_losses(logits[:1], ttcs[:1], torch.tensor([1]), torch.tensor([[1.5]]))
    assert both == alone
    nothing = contact_losses(
        logits, ttcs, torch.tensor([IGNORED] * 2), torch.full((2, 1), torch.nan)
    )
    assert nothing == (0, 0)
