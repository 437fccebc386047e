from __future__ import annotations

import pytest
import torch

from internvideo.models.probe import AttentivePool


def pool(width: int = 8, num_heads: int = 2) -> AttentivePool:
    torch.manual_seed(0)
    module = AttentivePool(width, num_heads)
    torch.nn.init.normal_(module.query)
    torch.nn.init.normal_(module.kv.weight)
    return module


def test_equals_softmax_of_the_query_over_the_tokens():
    module, tokens = pool(), torch.randn(3, 5, 8)
    keys, values = module.kv(module.norm(tokens)).chunk(2, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (keys[..., head] @ module.query[0, 0, head] / 2).softmax(dim=1)  # 2 = sqrt(4)
        heads.append((weights[..., None] * values[..., head]).sum(dim=1))
    torch.testing.assert_close(module(tokens), module.proj(torch.cat(heads, dim=1)))


def test_the_order_of_the_tokens_does_not_matter_but_their_scale_is_normalised():
    module, tokens = pool(), torch.randn(2, 6, 8)
    torch.testing.assert_close(module(tokens.flip(1)), module(tokens))
    torch.testing.assert_close(module(7 * tokens), module(tokens), rtol=1e-4, atol=1e-5)


def test_every_parameter_learns():
    module = pool()
    module(torch.randn(2, 6, 8)).square().sum().backward()
    # A bias of the keys shifts all logits of a head alike: its gradient is zero, as it must be.
    silent = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 8 is not divisible by num_heads 3"):
        AttentivePool(8, 3)
