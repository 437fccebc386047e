from __future__ import annotations

import math

import pytest
import torch

from internvideo.models.caption_decoder import (
    CaptionDecoder,
    CaptionDecoderConfig,
    ParallelSelfAttention,
    caption_loss,
    rotate,
)
from internvideo.models.kv_cache import KeyValueCache, causal_attention
from internvideo.models.layers import checkpoint_blocks

CONFIG = CaptionDecoderConfig(
    width=16, num_heads=2, context_width=12, vocab_size=11, depth=2, num_queries=5
)


def build(seed: int = 0) -> CaptionDecoder:
    """With weights so large that every part matters."""
    torch.manual_seed(seed)
    decoder = CaptionDecoder(CONFIG).eval()
    with torch.no_grad():
        for name, tensor in decoder.state_dict().items():
            if not name.endswith("inv_freq"):
                tensor.copy_(torch.randn_like(tensor) * 0.3)
    return decoder


def text(length: int = 7, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, CONFIG.width, generator=generator)


def video(tokens: int = 9, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, tokens, CONFIG.context_width, generator=generator)


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2], [4, 3]])
def test_with_caches_the_logits_are_those_of_the_whole_text(pieces):
    decoder = build()
    memory = decoder.read(video())
    caches = [KeyValueCache(7) for _ in decoder.block_modules()]
    parts = [decoder.decode(part, memory, caches) for part in text().split(pieces, dim=1)]
    logits = decoder.predictor(torch.cat(parts, dim=1))
    whole = decoder(text(), video())
    torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)
    assert whole.std() > 0.1


def test_later_tokens_do_not_reach_earlier_ones():
    decoder = build()
    changed = text().clone()
    changed[:, 4:] *= -1  # a constant added would be taken off by the norm
    before, after = decoder(text(), video()), decoder(changed, video())
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax(dim=-1).min() > 1e-3


def test_the_order_of_the_video_tokens_does_not_matter():
    decoder = build()
    torch.testing.assert_close(
        decoder(text(), video()), decoder(text(), video().flip(1)), rtol=1e-4, atol=1e-5
    )
    other = video().clone()
    other[:, 3] *= -1
    assert (decoder(text(), video()) - decoder(text(), other)).abs().max() > 1e-3


def test_self_attention_is_the_equation():
    """One head after the other, one position after the other; positions as complex numbers."""
    torch.manual_seed(0)
    width, heads, channels = 16, 2, 8
    layer = ParallelSelfAttention(width, heads)
    x = torch.randn(5, width)
    normed = torch.nn.functional.layer_norm(x, (width,), layer.norm.gamma, layer.norm.beta)
    weight = layer.fused_attn_ff_proj.weight
    sizes = [width, channels, channels, 8 * width]
    q, k, v, hidden = (normed @ part.T for part in weight.split(sizes))
    frequencies = torch.tensor([10000.0 ** (-2 * i / channels) for i in range(channels // 2)])

    def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
        pairs = torch.complex(*vector.chunk(2))
        pairs = pairs * torch.exp(1j * position * frequencies)
        return torch.cat([pairs.real, pairs.imag])

    mixed = torch.zeros(5, width)
    for head in range(heads):
        part = slice(head * channels, (head + 1) * channels)
        for i in range(5):
            scores = torch.stack(
                [
                    turned(q[i, part], i) @ turned(k[j], j) / math.sqrt(channels)
                    for j in range(i + 1)
                ]
            )
            mixed[i, part] = scores.softmax(0) @ v[: i + 1]
    value, gate = hidden[:, : 4 * width], hidden[:, 4 * width :]
    fed = (value * gate * gate.sigmoid()) @ layer.ff_out[1].weight.T
    expected = mixed @ layer.attn_out.weight.T + fed
    torch.testing.assert_close(layer(x[None])[0], expected, rtol=1e-5, atol=1e-5)


def test_rotation_tells_distances_only():
    layer = ParallelSelfAttention(16, 2)
    q, k = torch.randn(2, 8), torch.randn(2, 8)
    products = []
    for start in (0, 30):
        angles = layer.rotary_emb(start, 2)
        products.append(rotate(q, angles)[0] @ rotate(k, angles)[1])
    torch.testing.assert_close(products[0], products[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rotate(q, layer.rotary_emb(5, 2)).norm(dim=1), q.norm(dim=1))


def test_memory_follows_its_clips():
    decoder = build()
    rows = torch.tensor([2, 0, 2, 1])
    memory = decoder.read(video()).reorder(rows)
    torch.testing.assert_close(
        decoder.decode(text()[rows], memory),
        decoder.decode(text()[rows], decoder.read(video()[rows])),
    )


def test_caches_follow_their_texts():
    decoder = build()
    memory = decoder.read(video())
    rows = torch.tensor([1, 1, 0])
    caches = [KeyValueCache(7) for _ in decoder.block_modules()]
    decoder.decode(text()[:, :6], memory, caches)
    for cache in caches:
        cache.reorder(rows)
    last = decoder.decode(text()[rows][:, 6:], memory.reorder(rows), caches)
    expected = decoder.decode(text()[rows], memory.reorder(rows))[:, 6:]
    torch.testing.assert_close(last, expected, rtol=1e-5, atol=1e-5)


def test_a_full_cache_says_so():
    cache = KeyValueCache(3)
    q = torch.randn(1, 2, 2, 4)
    causal_attention(q, q, q, cache)
    with pytest.raises(ValueError, match="4 positions do not fit into a cache of 3"):
        causal_attention(q, q, q, cache)


def test_cache_of_a_token_is_one_key_and_one_value():
    decoder = CaptionDecoder(
        CaptionDecoderConfig(width=128, num_heads=2, context_width=8, vocab_size=5, depth=1)
    )
    cache = KeyValueCache(10)
    decoder.decode(torch.randn(1, 10, 128), decoder.read(torch.randn(1, 4, 8)), [cache])
    keys, values = cache.append(torch.empty(1, 1, 0, 64), torch.empty(1, 1, 0, 64))
    assert keys.numel() + values.numel() == 10 * 128


def test_gradient_reaches_every_parameter():
    decoder = CaptionDecoder(CONFIG)
    decoder(text(), video()).square().sum().backward()
    missing = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_recomputing_gives_the_same_gradient():
    gradients = []
    for enabled in (False, True):
        decoder = build()
        checkpoint_blocks(decoder, enabled=enabled)
        decoder(text(), video()).square().sum().backward()
        gradients.append({name: p.grad for name, p in decoder.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_drawing_anew_restores_what_is_constant():
    decoder = build()
    decoder.reset_parameters()
    fresh = CaptionDecoder(CONFIG)
    for (name, ours), expected in zip(
        decoder.named_buffers(), dict(fresh.named_buffers()).values(), strict=True
    ):
        torch.testing.assert_close(ours, expected, msg=name)
    assert decoder.predictor[4].bias.abs().max() == 0
    assert float(decoder.predictor[4].weight.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_padding_does_not_count_in_the_loss():
    ids = torch.tensor([[7, 3, 5, 9, 0, 0], [7, 2, 9, 0, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 10, generator=generator)
    log_probs = logits.log_softmax(-1)
    counted = [(0, 0, 3), (0, 1, 5), (0, 2, 9), (1, 0, 2), (1, 1, 9)]
    expected = -sum(log_probs[each] for each in counted) / len(counted)
    torch.testing.assert_close(caption_loss(logits, ids), expected)
    changed = logits.clone()
    changed[0, 3:] = 100.0
    torch.testing.assert_close(caption_loss(changed, ids), expected)


def test_the_shape_is_checked():
    with pytest.raises(ValueError, match="not an even number of channels"):
        CaptionDecoderConfig(width=18, num_heads=6)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        CaptionDecoderConfig(depth=0)
