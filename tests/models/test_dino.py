"""DINO and its backbones, beside plain formulas and torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.swin_transformer import SwinTransformer

from internvideo.models.deformable_attention import deformable_attention
from internvideo.models.dino import DINO
from internvideo.models.swin import Swin, SwinConfig
from internvideo.models.vit_pyramid import VideoViTPyramid, VideoViTPyramidConfig
from internvideo.zoo.kinds.dino import DINO as KIND
from internvideo.zoo.kinds.dino import OFFICIAL

SIZES = ((7, 9), (4, 5), (1, 2))


def test_deformable_attention_and_its_gradients_equal_grid_sample(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from deformable_attention import sampled

    torch.manual_seed(0)
    value = torch.randn(2, sum(y * x for y, x in SIZES), 3, 8, requires_grad=True)
    locations = (1.4 * torch.rand(2, 11, 3, 3, 4, 2) - 0.2).requires_grad_()  # some are outside
    weights = torch.rand(2, 11, 3, 3, 4, requires_grad=True)
    inputs = (value, locations, weights)
    one, other = (
        deformable_attention(value, SIZES, locations, weights),
        sampled(value, SIZES, locations, weights),
    )
    torch.testing.assert_close(one, other)
    direction = torch.randn(one.shape)
    gradients = (torch.autograd.grad((each * direction).sum(), inputs) for each in (one, other))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # chunk by chunk
        torch.testing.assert_close(deformable_attention(*inputs[:1], SIZES, *inputs[1:]), one)


@torch.no_grad()
def test_padding_changes_nothing_of_the_pixels_that_are_shown():
    model = DINO(KIND.tiny["uniformer"]).eval()
    part = model.bbox_head.transformer
    torch.manual_seed(0)
    maps = model.pyramid(torch.randn(1, 3, 64, 64))
    wide = [F.pad(each, (0, each.shape[3]), value=7.0) for each in maps]
    shown = torch.ones(1, 64, 128, dtype=torch.bool)
    shown[..., 64:] = False
    alone = part.pixels(maps, shown[..., :64])
    padded = part.pixels(wide, shown)
    seen = ~padded.hidden[0]
    assert int(seen.sum()) == alone.features.shape[1]
    memory = part.encode(padded)
    torch.testing.assert_close(memory[:, seen], part.encode(alone), rtol=1e-4, atol=1e-5)
    boxes, own = part.proposals(padded, memory)[1], part.proposals(alone, memory[:, seen])[1]
    torch.testing.assert_close(boxes[:, seen], own)
    assert boxes[:, ~seen].isposinf().all()


def test_too_small_a_picture_is_refused():
    model = DINO(KIND.tiny["uniformer"]).eval()
    maps = [torch.zeros(1, 32, 1, 2) for _ in range(5)]
    with pytest.raises(ValueError, match="10 pixels, fewer than the 12 queries"):
        model.detect(maps, torch.ones(1, 8, 8, dtype=torch.bool))


def test_swin_equals_that_of_torchvision():
    config = SwinConfig(width=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=4)
    torch.manual_seed(0)
    mine = Swin(config).eval()
    theirs = SwinTransformer(
        [4, 4], 16, [2, 2, 2, 2], [1, 2, 4, 8], [4, 4], stochastic_depth_prob=0.0, num_classes=1
    ).eval()
    state = mine.state_dict()
    renamed = {}
    for name, tensor in theirs.state_dict().items():
        if name.startswith(("norm.", "head.")):
            continue
        _, stage, rest = name.split(".", 2)
        if stage == "0":
            part, rest = rest.split(".")
            own = f"patch_embed.{ {'0': 'projection', '2': 'norm'}[part] }.{rest}"
        elif int(stage) % 2:
            rest = rest.replace("attn.", "attn.w_msa.").replace("mlp.0.", "ffn.layers.0.0.")
            own = f"stages.{(int(stage) - 1) // 2}.blocks.{rest.replace('mlp.3.', 'ffn.layers.1.')}"
        else:
            own = f"stages.{int(stage) // 2 - 1}.downsample.{rest}"
            if (
                "downsample" in own and tensor.shape[-1] > 32
            ):  # (column, row, d) to (d, row, column)
                quarters = tensor.unflatten(-1, (2, 2, -1))
                tensor = quarters.movedim(-1, -3).transpose(-1, -2).flatten(-3)
        renamed[own] = tensor.view(state[own].shape) if tensor.numel() == state[own].numel() else 0
    mine.load_state_dict({**state, **renamed})
    images = torch.randn(1, 3, 132, 140)  # windows are filled up at every stage, and odd maps
    maps, x = mine(images), images
    for number, layer in enumerate(theirs.features):
        x = layer(x)
        if number % 2:
            expected = F.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2)
            torch.testing.assert_close(maps[number // 2], expected, rtol=1e-4, atol=1e-4)


def test_the_copy_that_averaging_leaves_in_a_file_is_left_out():
    state = KIND.model(KIND.tiny["swin"]).state_dict()
    file = {**state, **{f"ema_{name.replace('.', '_')}": 0 * state[name] for name in state}}
    ours = OFFICIAL.to_ours(file)
    assert ours.keys() == state.keys()
    assert all(ours[name] is state[name] for name in state)


@torch.no_grad()
def test_a_video_transformer_makes_maps_of_pictures_of_any_size():
    config = VideoViTPyramidConfig(image_size=64, num_frames=4, width=32, depth=1, num_heads=2)
    backbone = VideoViTPyramid(config).eval()
    picture = torch.randn(2, 3, 70, 100)
    maps = backbone(picture)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (8, 20, 28), (16, 10, 14), (32, 5, 7), (32, 3, 4),
    ]  # fmt: skip
    clip = F.pad(picture, (0, 12, 0, 10))[:, :, None].repeat(1, 1, config.tubelet_size, 1, 1)
    tokens = backbone.norms[2](backbone.encoder(clip).tokens)
    torch.testing.assert_close(maps[2].flatten(2).transpose(1, 2), tokens)
