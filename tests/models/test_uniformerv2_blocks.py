from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from internvideo.models.clip_layers import CLIPMlp, quick_gelu
from internvideo.models.uniformerv2_blocks import GlobalUniBlock, LocalMHRA, PositionalConv

B, T, H, W, D = 2, 3, 2, 4, 16


def tokens(seed: int = 0, *, requires_grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 1 + H * W, D, generator=generator, requires_grad=requires_grad)


def volume(patches: torch.Tensor) -> torch.Tensor:
    return rearrange(patches, "b t (h w) d -> b d t h w", h=H)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_positions_are_one_depth_wise_convolution(steps):
    torch.manual_seed(0)
    conv, x = PositionalConv(D), tokens(requires_grad=True)
    nn.init.normal_(conv.bias)
    y = conv(x[:, :steps], (H, W))
    inside = volume(x[:, :steps, 1:])
    whole = F.conv3d(inside, conv.weight, conv.bias, padding=1, groups=D) + inside
    assert torch.equal(y[:, :, 0], x[:, :steps, 0])
    torch.testing.assert_close(volume(y[:, :, 1:]), whole)
    cotangent = torch.randn(y.shape)
    ours = torch.autograd.grad((y * cotangent).sum(), [x, conv.weight, conv.bias])
    expected = (whole * volume(cotangent[:, :, 1:])).sum()
    expected = expected + (x[:, :steps, 0] * cotangent[:, :, 0]).sum()
    theirs = torch.autograd.grad(expected, [x, conv.weight, conv.bias])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_local_relations_are_the_convolutions_they_are_stored_as(train, steps):
    torch.manual_seed(0)
    relate = LocalMHRA(D, 10).train(train)
    relate.pos_embed[0].running_mean.normal_()
    relate.pos_embed[0].running_var.uniform_(0.5, 2.0)
    twin = LocalMHRA(D, 10).train(train)
    twin.load_state_dict(relate.state_dict())
    patches = tokens()[:, :steps, 1:]
    torch.testing.assert_close(volume(relate(patches)), twin.pos_embed(volume(patches)))
    for (name, buffer), other in zip(relate.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=name)


def test_a_new_local_relation_adds_nothing():
    relate = LocalMHRA(D, 10)
    relate.reset_parameters()
    assert not relate(tokens()).any()


@pytest.mark.parametrize("queries", [1, 3])
def test_attention_without_projected_keys_is_multi_head_attention(queries):
    torch.manual_seed(0)
    block = GlobalUniBlock(D, 4, 24).eval()
    nn.init.normal_(block.attn.in_proj_weight, std=0.5)
    nn.init.normal_(block.attn.in_proj_bias)
    plain = nn.MultiheadAttention(D, 4, batch_first=True)
    plain.load_state_dict(block.attn.state_dict())
    x = torch.randn(B, queries, D, requires_grad=True)
    y = torch.randn(B, 11, D, requires_grad=True)
    ours, theirs = block.attn(x, y), plain(x, y, y)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    cotangent = torch.randn(ours.shape)
    for one, other in zip(
        torch.autograd.grad((ours * cotangent).sum(), [x, y, block.attn.in_proj_weight]),
        torch.autograd.grad((theirs * cotangent).sum(), [x, y, plain.in_proj_weight]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_new_global_block_is_the_identity_and_ignores_the_order_of_the_keys():
    torch.manual_seed(0)
    block, x, y = GlobalUniBlock(D, 4, 24), torch.randn(B, 1, D), torch.randn(B, 11, D)
    for linear in (block.attn.out_proj, block.mlp.c_proj):
        nn.init.normal_(linear.weight)
    nn.init.normal_(block.attn.in_proj_weight)
    nn.init.normal_(block.attn.in_proj_bias)
    torch.testing.assert_close(block(x, y), block(x, y.flip(1)))
    assert not torch.equal(block(x, y), x)
    block.reset_parameters()
    assert torch.equal(block(x, y), x)


@pytest.mark.parametrize("graph", [True, False])
def test_the_mlp_of_clip_is_its_formula(graph):
    torch.manual_seed(0)
    mlp, x = CLIPMlp(D, hidden=24), torch.randn(2, 3, D)
    with torch.set_grad_enabled(graph):
        torch.testing.assert_close(mlp(x), mlp.c_proj(quick_gelu(mlp.c_fc(x))))


def test_dropout_is_inside_the_mlp_of_a_global_block():
    block, x = GlobalUniBlock(D, 4, 24, drop_rate=1.0).train(), torch.randn(B, 1, D)
    torch.testing.assert_close(block.mlp(x), block.mlp.c_proj.bias.expand(B, 1, D))
    assert block.eval().mlp(x).std() > 0
