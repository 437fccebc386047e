from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.classifier import (
    SIZES,
    VideoClassifier,
    VideoClassifierConfig,
    remap_head,
)
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig

TINY = VideoClassifierConfig(
    image_size=16,
    patch_size=8,
    num_frames=4,
    width=16,
    depth=2,
    num_heads=2,
    num_classes=5,
    positions="direct",
)
FIRST = replace(TINY, pooling="first", final_norm=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_mean_pooling_normalises_after_the_mean():
    model, video = VideoClassifier(TINY).eval(), torch.randn(2, 3, 4, 16, 16)
    features = model.forward_features(video)
    (last,) = model.intermediates(video, [-1])
    assert torch.equal(features.tokens, last)
    pooled = model.pool(features)
    assert torch.equal(pooled, model.fc_norm(last.mean(dim=1)))
    assert torch.equal(model(video), model.head(pooled))
    assert not [key for key in model.state_dict() if key.startswith("norm.")]


def test_the_maximum_can_join_the_mean():
    model = VideoClassifier(replace(TINY, pooling="mean+max")).eval()
    features = model.forward_features(torch.randn(2, 3, 4, 16, 16))
    both = features.tokens.mean(dim=1) + features.tokens.amax(dim=1)
    assert torch.equal(model.pool(features), model.fc_norm(both))


def test_tokens_side_by_side_tell_the_order_of_time():
    model = VideoClassifier(replace(TINY, pooling="concat")).eval()
    clip = torch.randn(2, 3, TINY.num_frames, TINY.image_size, TINY.image_size)
    features = model.forward_features(clip)
    pooled = model.pool(features)
    assert pooled.shape == (2, model.config.head_width)
    assert torch.equal(pooled, model.fc_norm(features.tokens).flatten(1))
    backwards = replace(features, tokens=features.tokens.flip(1))
    assert not torch.allclose(model.pool(backwards), pooled)
    shorter = clip[:, :, : TINY.num_frames - TINY.tubelet_size]
    with pytest.raises(ValueError, match="needs clips of"):
        model(shorter)


def test_first_token_pooling_normalises_before():
    model, video = VideoClassifier(FIRST).eval(), torch.randn(2, 3, 4, 16, 16)
    (last,) = model.intermediates(video, [-1])
    torch.testing.assert_close(model.pool(model.forward_features(video)), model.norm(last[:, 0]))
    assert not [key for key in model.state_dict() if key.startswith("fc_norm.")]


def test_a_fresh_head_is_nearly_silent_and_its_bias_zero():
    model = VideoClassifier(replace(TINY, width=64, num_classes=400))
    assert model.head.weight.std().item() == pytest.approx(0.02 * 0.001, rel=0.05)
    assert not model.head.bias.any()
    assert model.blocks[0].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_reset_head_leaves_the_encoder_alone():
    model = VideoClassifier(TINY)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.reset_head()
    changed = {key for key, tensor in model.state_dict().items() if not tensor.equal(before[key])}
    assert changed == {"head.weight"}


def test_head_dropout_acts_in_training_only():
    model, video = VideoClassifier(replace(TINY, head_drop_rate=0.5)), torch.randn(1, 3, 4, 16, 16)
    assert not torch.equal(model(video), model(video))
    model.eval()
    assert torch.equal(model(video), model(video))


def test_takes_the_encoder_of_a_masked_autoencoder():
    shape = {"image_size": 16, "patch_size": 8, "num_frames": 4, "width": 16, "depth": 2}
    pretrained = VideoMAE(
        VideoMAEConfig(
            encoder=VideoViTConfig(num_heads=2, **shape), decoder_width=8, decoder_num_heads=2
        )
    )
    model = VideoClassifier(TINY)
    result = model.load_state_dict(pretrained.encoder.state_dict(), strict=False)
    assert set(result.missing_keys) == {
        "fc_norm.weight",
        "fc_norm.bias",
        "head.weight",
        "head.bias",
    }
    assert set(result.unexpected_keys) == {"norm.weight", "norm.bias"}
    video = torch.randn(1, 3, 4, 16, 16)
    torch.testing.assert_close(
        pretrained.encoder.norm(model.forward_features(video).tokens),
        pretrained.encoder(video).tokens,
    )


def test_it_learns_to_tell_two_clips_apart():
    model = VideoClassifier(replace(TINY, num_classes=2, init_scale=1.0))
    video, label = torch.randn(2, 3, 4, 16, 16), torch.tensor([0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(video), label).backward()
        optimizer.step()
    assert model(video).argmax(dim=1).tolist() == [0, 1]


def test_a_head_is_remapped_by_rows():
    weight, bias = torch.randn(4, 3), torch.randn(4)
    new_weight, new_bias = remap_head(weight, bias, (2, 0, 2))
    assert torch.equal(new_weight, weight[[2, 0, 2]])
    assert torch.equal(new_bias, bias[[2, 0, 2]])


@pytest.mark.parametrize("rows", [(0, 4), (-1,), ()])
def test_rows_that_the_head_lacks_are_refused(rows):
    with pytest.raises(ValueError, match="rows must name classes 0 to 3 of the head"):
        remap_head(torch.randn(4, 3), torch.randn(4), rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "last"}, "pooling 'last' is not one of"),
        ({"pooling": "first"}, "pooling 'first' needs final_norm=True"),
        ({"final_norm": True}, "pooling 'mean' needs final_norm=False"),
        ({"num_classes": -1}, "num_classes -1 must not be negative"),
        ({"num_heads": 3}, "width 16 is not a multiple of num_heads 3"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_the_sizes_are_those_of_the_encoders():
    assert SIZES["g"].patch_size == 14
    assert SIZES["g"].mlp_hidden == 6144
    assert SIZES["B"].positions == "base-grid"
    assert {size.num_classes for size in SIZES.values()} == {400}
