"""Matching, losses and noisy queries, where a batch has odd boxes or none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.dino import DINO
from internvideo.tasks.state_change.denoising import DenoisingConfig, noisy_queries
from internvideo.tasks.state_change.losses import (
    LossWeights,
    TrueBoxes,
    detection_losses,
    match,
    total,
)
from internvideo.zoo.kinds.dino import DINO as KIND

SIZE = (64, 96)


def true_boxes(*boxes):
    sides = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return TrueBoxes(sides, torch.zeros(len(sides), dtype=torch.long), SIZE)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DINO(KIND.tiny["uniformer"]).eval()


@pytest.mark.parametrize(
    "true",
    [
        pytest.param([true_boxes(), true_boxes()], id="no boxes at all"),
        pytest.param([true_boxes(), true_boxes((4, 4, 20, 30))], id="one picture without"),
        pytest.param([true_boxes((4, 4, 4, 4)), true_boxes((0, 0, 96, 64))], id="without area"),
    ],
)
def test_odd_boxes_leave_losses_and_gradients_finite(model, true):
    images, shown = model.example_inputs(2)
    config = DenoisingConfig(num_queries=4)
    noisy = noisy_queries(model, true, config)
    most = max(len(each.labels) for each in true)
    assert noisy.num_queries == 2 * noisy.num_groups * most
    losses = detection_losses(model(images, shown, noisy.queries), true, LossWeights(), noisy)
    assert any("dn_" in name for name in losses) == (most > 0)
    loss = total(losses)
    model.zero_grad()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_learnt_queries_see_no_noisy_one_and_groups_not_each_other(model):
    true = [true_boxes((4, 4, 20, 30), (8, 8, 60, 50)), true_boxes((1, 2, 50, 40))]
    noisy = noisy_queries(model, true, DenoisingConfig(num_queries=6))
    blocked, size = noisy.queries.blocked, noisy.num_queries
    assert (noisy.num_groups, size) == (3, 12)
    assert blocked[size:, :size].all()
    assert not blocked[:, size:].any()
    for group in range(3):
        own = slice(4 * group, 4 * group + 4)
        assert not blocked[own, own].any()
        assert blocked[own, :size].sum() == 4 * 8
    torch.manual_seed(1)
    images, shown = model.example_inputs(2)
    with torch.no_grad():
        alone, beside = model(images, shown), model(images, shown, noisy.queries)
    torch.testing.assert_close(beside.logits[:, :, size:], alone.logits, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_each_true_box_has_one_query_and_perfect_ones_are_found(seed):
    generator = torch.Generator().manual_seed(seed)
    count = seed % 5
    low = torch.rand(count, 2, generator=generator) * 30
    true = true_boxes(*torch.cat([low, low + 10 + 20 * torch.rand(count, 2)], dim=1).tolist())
    boxes, logits = torch.rand(9, 4, generator=generator), torch.full((9, 1), -3.0)
    places = torch.randperm(9, generator=generator)[:count]
    boxes[places], logits[places] = true.fractions, 3.0
    queries, numbers = match(logits, boxes, true, LossWeights())
    assert sorted(numbers.tolist()) == list(range(count))
    assert queries.tolist() == sorted(places.tolist())
