from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.config import config_from_dict, config_to_dict
from internvideo.models.probe import SIZES, AttentivePool, ProbeClassifier, ProbeClassifierConfig
from internvideo.models.vit import VideoViTConfig

ENCODER = VideoViTConfig(
    image_size=16, patch_size=8, num_frames=4, width=16, depth=2, num_heads=2, drop_path_rate=0.5
)
LINEAR = ProbeClassifierConfig(encoder=ENCODER, num_classes=5)
ATTENTIVE = replace(LINEAR, head="attentive", num_heads=4)
both = pytest.mark.parametrize("config", [LINEAR, ATTENTIVE], ids=["linear", "attentive"])


def built(config: ProbeClassifierConfig) -> ProbeClassifier:
    torch.manual_seed(0)
    return ProbeClassifier(config)


def clips(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@both
def test_only_the_head_learns_and_the_encoder_never_leaves_evaluation_mode(config):
    model = built(config).train()
    assert model.training
    assert model.head.training
    assert not any(module.training for module in model.encoder.modules())
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(clips()).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(t, before[name]) for name, t in model.encoder.state_dict().items())
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in model.named_parameters() if not n.startswith("encoder.")}
    # Drop path is off: the same clip gives the same features twice.
    assert torch.equal(model.features(clips()), model.features(clips()))


@both
def test_the_logits_are_those_of_the_features(config):
    model, video = built(config).eval(), clips()
    features = model.features(video)
    assert features.shape == ((4, 16) if config.head == "linear" else (4, 8, 16))
    torch.testing.assert_close(model.classify(features), model(video))


def test_batch_norm_normalises_by_the_training_clips():
    model = built(LINEAR).train()
    features = 5 + 3 * torch.randn(64, 16)
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.classify(features)
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=0, correction=0), torch.ones(16), atol=1e-3, rtol=0)
    assert list(model.norm.parameters()) == []
    without = built(replace(LINEAR, batch_norm=False))
    assert "norm.running_mean" not in without.state_dict()


@both
def test_configurations_read_back(config):
    assert config_from_dict(ProbeClassifierConfig, config_to_dict(config)) == config
    assert SIZES["B"].encoder.width == 768


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="head 'cubic' is not one of"):
        replace(LINEAR, head="cubic")
    with pytest.raises(ValueError, match="num_heads 3 does not divide the encoder's width 16"):
        replace(ATTENTIVE, num_heads=3)
    with pytest.raises(ValueError, match="num_classes 0"):
        replace(LINEAR, num_classes=0)


def attentive_pool(width: int = 8, num_heads: int = 2) -> AttentivePool:
    torch.manual_seed(0)
    module = AttentivePool(width, num_heads)
    torch.nn.init.normal_(module.query)
    torch.nn.init.normal_(module.kv.weight)
    return module


def test_attentive_pooling_equals_softmax_of_the_query_over_the_tokens():
    module, tokens = attentive_pool(), torch.randn(3, 5, 8)
    keys, values = module.kv(module.norm(tokens)).chunk(2, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (keys[..., head] @ module.query[0, 0, head] / 2).softmax(dim=1)  # 2 = sqrt(4)
        heads.append((weights[..., None] * values[..., head]).sum(dim=1))
    torch.testing.assert_close(module(tokens), module.proj(torch.cat(heads, dim=1)))


def test_attentive_pooling_does_not_see_the_order_of_the_tokens_nor_their_scale():
    module, tokens = attentive_pool(), torch.randn(2, 6, 8)
    torch.testing.assert_close(module(tokens.flip(1)), module(tokens))
    torch.testing.assert_close(module(7 * tokens), module(tokens), rtol=1e-4, atol=1e-5)


def test_heads_of_attentive_pooling_divide_the_width():
    with pytest.raises(ValueError, match="width 8 is not divisible by num_heads 3"):
        AttentivePool(8, 3)
