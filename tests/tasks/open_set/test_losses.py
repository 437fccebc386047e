"""Evidence, its loss, and the baselines' terms."""

from __future__ import annotations

import pytest
import torch

from internvideo.config import config_from_dict
from internvideo.errors import ConfigError
from internvideo.models.bayesian import BayesianLinear
from internvideo.models.uncertainty import Dirichlet, bald, variances
from internvideo.tasks.open_set.debias import DebiasHead, hsic
from internvideo.tasks.open_set.losses import EvidentialConfig, evidential_loss, radius_loss


@pytest.mark.parametrize("evidence", ["exp", "relu", "softplus"])
def test_without_evidence_all_is_uncertain(evidence):
    found = Dirichlet.of_logits(torch.full((2, 5), -50.0), evidence)
    assert found.uncertainty == pytest.approx([1, 1], abs=1e-3)
    assert found.probabilities == pytest.approx(torch.full((2, 5), 0.2), abs=1e-3)


@pytest.mark.parametrize("rule", ["log", "digamma", "mse", "cross-entropy"])
def test_evidence_for_the_class_lowers_every_loss(rule):
    labels, config = torch.tensor([0, 1]), EvidentialConfig(rule=rule)
    silent, loud = torch.zeros(2, 3), 4 * torch.eye(3)[:2]
    assert (
        evidential_loss(loud, labels, config).total < evidential_loss(silent, labels, config).total
    )


def test_lambda_moves_the_calibration_from_mistakes_to_hits():
    config = EvidentialConfig(calibration="product")
    logits, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    first = evidential_loss(logits, labels, config, epoch=0, num_epochs=50).calibration
    last = evidential_loss(logits, labels, config, epoch=49, num_epochs=50).calibration
    assert first is not None
    assert last is not None
    assert last[0] > first[0]
    assert last[1] < first[1]
    assert config.weight(49, 50) == pytest.approx(0.912, abs=1e-3)
    assert EvidentialConfig(annealing="step").weight(4, 50) == pytest.approx(0.4)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="rule"):
        config_from_dict(EvidentialConfig, {"rule": "hinge"})


def test_dependence_is_seen_from_four_clips_on():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    other = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    assert hsic(x, x) > 3 * hsic(x, other)
    assert hsic(x, x, unbiased=True) > hsic(x, other, unbiased=True).abs()
    assert hsic(x[:3], x[:3]) == 0


def test_alternating_steps_train_different_branches():
    torch.manual_seed(0)
    head = DebiasHead(3, 4, mode="alternating", drop_rate=0.0)
    volume, labels = torch.randn(5, 3, 2, 4, 4), torch.arange(5) % 4
    for step, moved, still in ((1, "f1_conv3d", "f2_conv3d"), (2, "f2_conv3d", "f1_conv3d")):
        head.zero_grad()
        head(volume, labels, step=step)["dependence"].backward()
        weight = head.get_submodule(moved).conv.weight
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
        assert head.get_submodule(still).conv.weight.grad is None


def test_passes_that_agree_leave_no_doubt_of_their_own():
    shares = torch.tensor([0.7, 0.2, 0.1]).expand(4, 3)
    within, between = variances(shares)
    assert bald(shares) == pytest.approx(0, abs=1e-6)
    assert between == pytest.approx(0, abs=1e-6)
    assert within == pytest.approx(0.46)


def test_drawn_weights_scatter_about_the_means():
    layer = BayesianLinear(6, 3)
    generator = torch.Generator().manual_seed(0)
    draws = [layer.draw(generator) for _ in range(200)]
    mean = torch.stack([each.weight for each in draws]).mean(dim=0)
    assert torch.allclose(mean, layer.weight_mu, atol=0.01)
    assert layer.log_posterior(draws[0]) > layer.log_prior(draws[0])


def test_the_corrected_radius_loss_looks_at_distances():
    features, radius = torch.ones(2, 3), torch.zeros(1)
    assert radius_loss(features, radius) == 0.5
    assert radius_loss(features, radius, torch.zeros(2)) == 0
