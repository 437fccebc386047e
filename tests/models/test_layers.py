from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from internvideo.models.layers import (
    Block,
    DropPath,
    Mlp,
    SplitBiasAttention,
    attention,
    drop_path_rates,
    init_module,
)


def _heads(*, queries: int = 5, keys: int = 7) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(2, 3, length, 4, generator=generator) for length in (queries, keys, keys)
    )


def _formula(q, k, v, logits_bias, scale=0.5):
    return ((q @ k.mT) * scale + logits_bias).softmax(dim=-1) @ v


def test_attention_is_the_formula():
    q, k, v = _heads()
    torch.testing.assert_close(attention(q, k, v), _formula(q, k, v, 0))
    torch.testing.assert_close(attention(q, k, v, scale=2.0), _formula(q, k, v, 0, scale=2.0))


def test_attention_masks_by_truth_and_by_logits():
    q, k, v = _heads()
    allowed = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    allowed[..., 3:] = False
    expected = attention(q, k[:, :, :3], v[:, :, :3])
    torch.testing.assert_close(attention(q, k, v, mask=allowed), expected)
    bias = torch.zeros(5, 7).masked_fill(~allowed[0, 0], -math.inf)
    torch.testing.assert_close(attention(q, k, v, mask=bias), expected)


def test_causal_attention_does_not_see_the_future():
    q, k, v = _heads(queries=7)
    before = attention(q, k, v, is_causal=True)
    k[:, :, 4:], v[:, :, 4:] = 9.0, 9.0
    after = attention(q, k, v, is_causal=True)
    torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
    torch.testing.assert_close(before[:, :, 0], _heads(queries=7)[2][:, :, 0])


def test_split_bias_attention_is_torchs_with_a_zero_key_bias():
    torch.manual_seed(0)
    ours = SplitBiasAttention(12, 3)
    nn.init.normal_(ours.q_bias)
    nn.init.normal_(ours.v_bias)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": torch.cat([ours.q_bias, torch.zeros(12), ours.v_bias]),
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_cosine_attention_ignores_the_length_of_queries_and_keys():
    torch.manual_seed(0)
    layer = SplitBiasAttention(8, 2, cosine=True)
    x = torch.randn(1, 6, 8)
    expected = layer(x)
    with torch.no_grad():
        layer.qkv.weight[:16] *= 7.0
    torch.testing.assert_close(layer(x), expected)
    assert layer.scale is not None
    torch.testing.assert_close(layer.scale.exp(), torch.full((2, 1, 1), 10.0))


def test_cosine_temperature_stops_at_a_hundred():
    torch.manual_seed(0)
    layer = SplitBiasAttention(8, 2, cosine=True)
    x = torch.randn(1, 6, 8)
    assert layer.scale is not None
    with torch.no_grad():
        layer.scale.fill_(4.6052)
        at_limit = layer(x)
        layer.scale.fill_(9.0)
    assert torch.equal(layer(x), at_limit)


def test_attention_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer, x = SplitBiasAttention(8, 2, attention_drop_rate=0.5), torch.randn(1, 6, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_mlp_uses_the_exact_gelu():
    layer = Mlp(1, 1)
    with torch.no_grad():
        for linear in (layer.fc1, layer.fc2):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
    x = torch.tensor([[0.7]])
    expected = 0.7 * 0.5 * (1 + math.erf(0.7 / math.sqrt(2)))
    assert layer(x).item() == pytest.approx(expected, abs=1e-7)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    dropped = DropPath(0.25)(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)
    assert DropPath(0.25).eval()(x) is x
    assert DropPath(0.0)(x) is x


def test_drop_path_rates_grow_from_zero():
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_a_block_whose_layer_scale_is_zero_changes_nothing():
    block, x = Block(8, 2, 16, init_values=0.1), torch.randn(2, 3, 8)
    assert not torch.equal(block(x), x)
    for gamma in (block.gamma_1, block.gamma_2):
        nn.init.zeros_(gamma)  # type: ignore[arg-type]
    assert torch.equal(block(x), x)


def test_a_block_without_layer_scale_has_no_such_weights():
    assert not [name for name in Block(8, 2, 16).state_dict() if "gamma" in name]


def test_init_touches_what_the_module_holds_itself():
    torch.manual_seed(0)
    block = Block(8, 2, 16, init_values=0.1, cosine=True)
    for parameter in block.parameters():
        nn.init.constant_(parameter, 5.0)
    block.apply(lambda module: init_module(module, linear=nn.init.zeros_))
    expected = {
        "gamma_1": 0.1,
        "gamma_2": 0.1,
        "norm1.weight": 1.0,
        "norm1.bias": 0.0,
        "attn.q_bias": 0.0,
        "attn.v_bias": 0.0,
        "attn.scale": math.log(10),
        "attn.qkv.weight": 0.0,
        "attn.proj.bias": 0.0,
        "mlp.fc2.bias": 0.0,
    }
    for name, value in expected.items():
        parameter = block.get_parameter(name)
        torch.testing.assert_close(parameter.data, torch.full_like(parameter, value))
