"""Judging: heads, scores, thresholds, and distributions of distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.models.open_set import OpenSetClassifier, OpenSetClassifierConfig
from internvideo.models.openmax import OpenMax, fit_weibull
from internvideo.zoo.kinds.open_set import OPEN_SET

CONFIG = OpenSetClassifierConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=1, num_heads=2, num_classes=5
)


@pytest.fixture(scope="module")
def features():
    return torch.randn(2, 16, generator=torch.Generator().manual_seed(0))


HEADS = {**OPEN_SET.tiny, "bayesian": replace(CONFIG, head_kind="bayesian", score="bayesian")}


@pytest.mark.parametrize("name", HEADS)
def test_every_head_judges(name, features):
    model = OpenSetClassifier(HEADS[name]).eval()
    judged = model.judge(features)
    assert judged.probabilities.shape == (5,)
    assert 0 <= judged.uncertainty <= 1
    again = model.judge(features)
    assert (again.uncertainty, again.probabilities.tolist()) == (
        judged.uncertainty,
        judged.probabilities.tolist(),
    )


@pytest.mark.parametrize("score", ["softmax", "entropy", "evidential", "dropout"])
def test_a_linear_head_has_many_scores(score, features):
    judged = OpenSetClassifier(CONFIG).eval().judge(features, score=score)
    assert judged.probabilities.sum() == pytest.approx(1)
    assert judged.uncertainty >= 0


def test_scores_that_a_head_lacks_are_refused(features):
    model = OpenSetClassifier(CONFIG)
    with pytest.raises(ValueError, match="bayesian"):
        model.judge(features, score="bayesian")
    with pytest.raises(ValueError, match="openmax"):
        model.judge(features, score="openmax")
    with pytest.raises(ValueError, match="head_drop_rate"):
        OpenSetClassifier(replace(CONFIG, head_drop_rate=0.0)).judge(features, score="dropout")


def test_impossible_models_are_refused():
    for fields, name in (
        ({"num_classes": 1}, "num_classes 1"),
        ({"score": "bayesian"}, "score 'bayesian'"),
        ({"score": "luck"}, "'luck'"),
        ({"head_kind": "prototypes", "num_centers": 2}, "num_centers 2"),
    ):
        with pytest.raises(ValueError, match=name):
            replace(CONFIG, **fields)


def test_a_weibull_distribution_is_found_again():
    drawn = 0.02 * np.random.default_rng(0).weibull(3.0, 4000)
    scale, shape, smallest = fit_weibull(torch.from_numpy(drawn)).tolist()
    # of numbers translated by 10 000 the tail is what is fitted; its spread is that of the draw
    assert smallest == pytest.approx(drawn.min())
    shares = 1 - np.exp(-(((drawn + 10_000 - smallest) / scale) ** shape))
    assert np.abs(np.sort(shares) - np.linspace(0, 1, 4000)).max() < 0.08
    with pytest.raises(ValueError, match="no two differ"):
        fit_weibull(torch.ones(5))


def test_openmax_survives_float32_and_finds_what_is_far_away():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = 3 * torch.eye(3)[labels] + 0.3 * torch.randn(90, 3, generator=generator)
    fitted = OpenMax.fit(features, labels, 4)
    assert fitted.unfitted == [3]
    kept = OpenMax.unpacked(*fitted.packed())
    assert torch.allclose(fitted.oddness(features), kept.oddness(features), atol=1e-3)
    query = torch.stack([features[0], -5 * torch.ones(3)])
    scores = torch.tensor([[4.0, 1.0, 1.0, 0.0], [4.0, 1.0, 1.0, 0.0]])
    shares = fitted.probabilities(scores, query)
    assert shares.sum(dim=1) == pytest.approx([1.0, 1.0])
    assert shares[1].argmax() == 4
    assert shares[0].argmax() == 0
