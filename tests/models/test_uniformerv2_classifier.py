from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from internvideo.models.uniformerv2_classifier import (
    SIZES,
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)

TINY = UniFormerV2ClassifierConfig(
    num_classes=5,
    image_size=16,
    num_frames=4,
    patch_size=8,
    width=16,
    depth=2,
    num_heads=2,
    global_layers=(0, 1),
)


def test_logits_are_norm_and_linear_of_the_fused_feature():
    torch.manual_seed(0)
    model, video = UniFormerV2Classifier(TINY).eval(), torch.randn(3, 3, 4, 16, 16)
    norm = model.transformer.proj[0]
    nn.init.normal_(norm.weight)
    with torch.no_grad():
        feature = model.forward_features(video).cls
        expected = model.head(F.layer_norm(feature, (16,), norm.weight, norm.bias))
        torch.testing.assert_close(model(video), expected)
    assert {n for n in model.state_dict() if "proj." in n and "transformer.proj" in n} == {
        "transformer.proj.0.weight",
        "transformer.proj.0.bias",
        "transformer.proj.2.weight",
        "transformer.proj.2.bias",
    }


def test_the_head_can_be_drawn_anew_and_starts_with_the_model():
    torch.manual_seed(0)
    model = UniFormerV2Classifier(TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nn.init.zeros_(model.transformer.proj[0].weight)
    model.reset_head()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(before[n], value)}
    assert changed == {"transformer.proj.2.weight", "transformer.proj.2.bias"}
    with torch.device("meta"):
        hollow = UniFormerV2Classifier(TINY)
    hollow = hollow.to_empty(device="cpu")
    for parameter in hollow.parameters():
        parameter.data.fill_(float("nan"))
    hollow.reset_parameters()
    assert not any(parameter.isnan().any() for parameter in hollow.parameters())


def test_dropout_before_the_head_and_in_the_global_blocks_is_for_training():
    torch.manual_seed(0)
    model, video = UniFormerV2Classifier(TINY), torch.randn(3, 3, 4, 16, 16)
    assert (TINY.head_drop_rate, TINY.global_drop_rate) == (0.5, 0.5)
    assert not torch.equal(model.train()(video), model(video))
    assert torch.equal(model.eval()(video), model(video))


@pytest.mark.parametrize(
    ("size", "num_classes", "parameters"),
    [
        ("b16", 400, 114.6e6),
        ("l14", 400, 354.1e6),
        ("l14-336", 400, 354.4e6),
        ("b16-ssv", 174, 163.0e6),
        ("l14-ssv", 174, 574.0e6),
    ],
)
def test_the_published_sizes(size, num_classes, parameters):
    assert SIZES[size].num_classes == num_classes
    with torch.device("meta"):
        model = UniFormerV2Classifier(SIZES[size])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=1e-3)


def test_a_frozen_classifier_trains_its_head():
    model = UniFormerV2Classifier(replace(TINY, frozen=True))
    trained = {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"temporal_cls_token", "dpe", "dec", "proj"}


def test_a_classifier_has_classes():
    with pytest.raises(ValueError, match="num_classes -1 must not be negative"):
        replace(TINY, num_classes=-1)
