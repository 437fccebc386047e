"""The losses of a detector, and the mean that they are divided by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.tasks.temporal_localization.losses import (
    LossNormalizer,
    detection_loss,
    iou_loss,
    sigmoid_focal_loss,
)

reach = st.floats(0, 50, width=32)


def test_a_sure_and_right_score_costs_next_to_nothing():
    logits, targets = torch.tensor([[8.0, -8.0]]), torch.tensor([[1.0, 0.0]])
    right, wrong = sigmoid_focal_loss(logits, targets), sigmoid_focal_loss(-logits, targets)
    assert (right < 1e-6).all()
    assert (wrong > 1).all()
    assert wrong[0, 1] == pytest.approx(3 * wrong[0, 0].item(), rel=1e-5)  # 1 - alpha over alpha


@given(reach, reach, reach, reach)
def test_overlap_of_segments_around_a_point(l_p, r_p, l_g, r_g):
    predicted, wanted = torch.tensor([[l_p, r_p]]), torch.tensor([[l_g, r_g]])
    common, both = min(l_p, l_g) + min(r_p, r_g), max(l_p, l_g) + max(r_p, r_g)
    loss = float(iou_loss(predicted, wanted, distance=False))
    assert loss == pytest.approx(1 - common / both if both > 1e-7 else 1, abs=1e-4)
    assert -1e-6 <= loss <= float(iou_loss(predicted, wanted)) <= 2


def step(**options):
    torch.manual_seed(0)
    tensors = {
        "logits": torch.randn(2, 6, 3, requires_grad=True),
        "offsets": torch.rand(2, 6, 2).requires_grad_(),
        "classes": torch.zeros(2, 6, 3),
        "boundaries": torch.rand(2, 6, 2),
        "valid": torch.tensor([[True] * 6, [True] * 4 + [False] * 2]),
    }
    tensors["classes"][0, 1, 2] = tensors["classes"][1, 3, 0] = tensors["classes"][1, 5, 1] = 1
    tensors |= {key: options.pop(key) for key in tuple(options) if key in tensors}
    normalizer = options.pop("normalizer", LossNormalizer(10.0))
    return tensors, detection_loss(**tensors, normalizer=normalizer, **options), normalizer


def test_what_lies_in_the_padding_does_not_count():
    tensors, loss, normalizer = step()
    assert float(normalizer.value) == pytest.approx(0.9 * 10 + 0.1 * 2)  # of three positives
    changed = {key: value.detach().clone() for key, value in tensors.items()}
    changed["logits"][1, 4:] += 5
    changed["offsets"][1, 4:] += 5
    _, other, _ = step(**changed)
    assert torch.equal(loss.total, other.total)
    loss.total.backward()
    assert not tensors["logits"].grad[1, 4:].any()
    outside = torch.ones(2, 6, dtype=torch.bool)
    outside[0, 1] = outside[1, 3] = False
    assert not tensors["offsets"].grad[outside].any()
    assert tensors["offsets"].grad[~outside].any()


def test_a_batch_without_actions_has_a_finite_loss():
    tensors, loss, normalizer = step(classes=torch.zeros(2, 6, 3))
    assert loss.boundaries.item() == 0
    assert float(normalizer.value) == pytest.approx(9.1)  # one at least
    loss.total.backward()
    assert not tensors["offsets"].grad.any()
    assert torch.isfinite(tensors["logits"].grad).all()


def test_points_that_want_nothing_give_no_gradient_that_is_not_finite():
    zeros = torch.zeros(2, 6, 2).requires_grad_()
    _, loss, _ = step(offsets=zeros, boundaries=torch.full((2, 6, 2), -3.0))
    loss.total.backward()
    assert torch.isfinite(zeros.grad).all()


def test_the_boundary_loss_can_be_made_as_large_as_the_other():
    _, loss, _ = step(boundary_weight=None)
    assert float(loss.total) == pytest.approx(2 * float(loss.classes), rel=1e-5)
    _, twice, _ = step(boundary_weight=2.0)
    expected = float(twice.classes) + 2 * float(twice.boundaries)
    assert float(twice.total) == pytest.approx(expected)


def test_smoothing_spreads_a_share_over_the_classes_and_one_more():
    tensors, smooth, _ = step(label_smoothing=0.1)
    wanted = tensors["classes"] * 0.9 + 0.1 / 4
    focal = sigmoid_focal_loss(tensors["logits"], wanted)[tensors["valid"]].sum()
    assert float(smooth.classes) == pytest.approx(float(focal) / (9 + 0.2), rel=1e-5)


def test_the_mean_goes_on_where_it_stopped():
    first = LossNormalizer(100.0)
    first(torch.tensor(20))
    second = LossNormalizer(100.0)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(torch.tensor(5)), second(torch.tensor(5)))
    assert float(second.value) == pytest.approx(0.9 * 92 + 0.5)
