from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from internvideo.models.contract import VideoFeatures
from internvideo.models.tubelets import take_tokens
from internvideo.models.vit import SIZES, ConvStemConfig, VideoViT, VideoViTConfig

TINY = VideoViTConfig(image_size=16, patch_size=4, num_frames=4, width=12, depth=3, num_heads=2)
FRAMES = replace(TINY, patch_size=16, tubelet_size=1, stem=ConvStemConfig())
CELLS = replace(TINY, patch_size=8, stem=ConvStemConfig(channels=(4, 8), strides=(2, 2)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_patch_embedding_is_a_convolution():
    model = VideoViT(TINY)
    video = torch.randn(2, 3, 4, 16, 16)
    conv = F.conv3d(
        video,
        model.patch_embed.proj.weight,
        model.patch_embed.proj.bias,
        stride=(2, 4, 4),
    )
    expected = conv.flatten(2).mT + model.pos_embed
    torch.testing.assert_close(model.embed_patches(video), expected)


@pytest.mark.parametrize("config", [TINY, FRAMES, CELLS], ids=["plain", "frames", "cells"])
@pytest.mark.parametrize("size", [(4, 16, 16), (6, 32, 16)], ids=["native", "other"])
def test_hiding_before_embedding_equals_selecting_after(config, size):
    model = VideoViT(config).eval()
    video = torch.randn(2, 3, *size)
    every = model.embed_patches(video)
    keep = torch.rand(2, every.shape[1]).argsort(dim=1)[:, : every.shape[1] // 2].sort().values
    torch.testing.assert_close(model.embed_patches(video, visible=keep), take_tokens(every, keep))
    mask = torch.zeros(every.shape[:2], dtype=torch.bool).scatter(1, keep, True)
    by_mask = model(video, visible=mask)
    assert torch.equal(by_mask.tokens, model(video, visible=keep).tokens)
    assert by_mask.grid == model(video).grid


@pytest.mark.parametrize("config", [TINY, FRAMES], ids=["plain", "frames"])
def test_hidden_pixels_are_not_seen(config):
    model = VideoViT(config)  # training mode: not even the batch statistics may tell
    video, n = torch.randn(2, 3, 4, 16, 16), model.config.grid[0] * model.config.grid[1] ** 2
    visible = torch.arange(0, n // 2).expand(2, -1)
    before = model(video, visible=visible).tokens
    video[:, :, 2:] = torch.randn(2, 3, 2, 16, 16)  # time comes first: the later half is hidden
    assert torch.equal(model(video, visible=visible).tokens, before)


def test_a_stem_with_one_token_a_frame():
    model = VideoViT(replace(FRAMES, image_size=16, num_frames=5)).eval()
    features = model(torch.randn(2, 3, 5, 16, 16))
    assert features.grid == (5, 1, 1)
    assert features.tokens.shape == (2, 5, 12)
    assert model.patch_embed.proj.weight.shape == (12, 32, 1, 4, 4)


def test_the_peaks_of_a_stem_do_not_tell_where():
    model = VideoViT(FRAMES).eval()
    nn.init.zeros_(model.patch_embed.proj.weight)
    maps = torch.randn(1, 4, 32, 1, 4, 4)
    shuffled = maps.flatten(3)[..., torch.randperm(16)].unflatten(3, (1, 4, 4))
    assert torch.equal(model.patch_embed(maps), model.patch_embed(shuffled))
    assert not torch.equal(model.patch_embed(maps), model.patch_embed(maps + 1))


def test_any_size_gets_its_positions():
    model = VideoViT(TINY).eval()
    assert model(torch.randn(1, 3, 6, 24, 8)).grid == (3, 6, 2)
    assert torch.equal(model.positions((2, 4, 4)), model.pos_embed)
    assert model.positions((3, 6, 2)).shape == (1, 36, 12)


def test_the_base_grid_table_is_that_of_the_published_clip():
    small = VideoViT(replace(TINY, positions="base-grid", patch_size=8))
    native = VideoViT(replace(TINY, image_size=224, num_frames=16, patch_size=8))
    assert torch.equal(small.pos_embed, native.pos_embed)
    assert small.config.position_grid == (8, 28, 28)
    assert small(torch.randn(1, 3, 4, 16, 16)).tokens.shape == (1, 8, 12)


def test_a_learnable_table_learns():
    model = VideoViT(replace(TINY, positions="learnable"))
    assert "pos_embed" in model.state_dict()
    model(torch.randn(1, 3, 8, 16, 16)).tokens.square().sum().backward()
    assert model.pos_embed.grad is not None
    assert model.pos_embed.grad.abs().sum() > 0


def test_intermediates_are_the_tokens_after_each_block():
    model, video = VideoViT(TINY).eval(), torch.randn(2, 3, 4, 16, 16)
    last, first = model.intermediates(video, [-1, 0])
    x = model.embed_patches(video)
    assert torch.equal(first, model.blocks[0](x))
    for block in model.block_modules():
        x = block(x)
    assert torch.equal(last, x)
    assert torch.equal(model(video).tokens, model.norm(last))
    with pytest.raises(IndexError):
        model.intermediates(video, [3])


def test_blocks_drop_more_and_more():
    model = VideoViT(replace(TINY, drop_path_rate=0.2))
    rates = [block.drop_path.rate for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_weights_start_as_in_the_paper():
    model = VideoViT(replace(TINY, width=64))
    limit = (6 / (64 + 3 * 64)) ** 0.5
    weight = model.blocks[0].attn.qkv.weight
    assert weight.abs().max() <= limit
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not model.blocks[0].mlp.fc1.bias.any()


def test_reset_parameters_draws_anew():
    model = VideoViT(CELLS)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.train()(torch.randn(2, 3, 4, 16, 16))  # moves the batch statistics
    model.reset_parameters()
    after = model.state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert same == {key for key in before if before[key].dim() < 2 and "proj.bias" not in key} | {
        key for key in before if key.endswith("attn.proj.bias")
    }


def test_features_know_their_place():
    tokens = torch.randn(2, 24, 5)
    features = VideoFeatures(tokens, grid=(2, 3, 4))
    assert torch.equal(features.volume()[1, 1, 2, 3], tokens[1, 23])
    torch.testing.assert_close(features.per_step()[:, 0], tokens[:, :12].mean(dim=1))
    torch.testing.assert_close(features.pool(), tokens.mean(dim=1))
    torch.testing.assert_close(
        features.pool("mean+max"), features.pool("mean") + features.pool("max")
    )
    with pytest.raises(FrozenInstanceError):
        features.grid = (1, 1, 1)  # type: ignore[misc]
    with pytest.raises(ValueError, match="24 tokens do not fill the grid 2x3x5"):
        VideoFeatures(tokens, grid=(2, 3, 5)).volume()
    with pytest.raises(ValueError, match="'median' is not one of"):
        features.pool("median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "width 12 is not a multiple of num_heads 5"),
        ({"positions": "rotary"}, "positions 'rotary' is not one of"),
        ({"image_size": 18}, "image_size 18 and num_frames 4 must be multiples"),
        ({"num_frames": 3}, "image_size 16 and num_frames 3 must be multiples"),
        ({"patch_size": 2, "stem": ConvStemConfig()}, "not a multiple of the stem's stride 4"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_impossible_stems_are_refused():
    with pytest.raises(ValueError, match="must pair up"):
        ConvStemConfig(channels=(4,), strides=(1, 2))
    with pytest.raises(ValueError, match="must be 1 or 2"):
        ConvStemConfig(channels=(4,), strides=(3,))


def test_the_sizes_are_the_published_ones():
    assert {name: (size.width, size.depth, size.mlp_hidden) for name, size in SIZES.items()} == {
        "S": (384, 12, 1536),
        "B": (768, 12, 3072),
        "L": (1024, 24, 4096),
        "H": (1280, 32, 5120),
        "g": (1408, 40, 6144),
        "G": (1664, 48, 8192),
    }
    assert SIZES["B"].grid == (8, 14, 14)
    assert SIZES["g"].grid == (8, 16, 16)
