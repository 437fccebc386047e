from __future__ import annotations

import pytest
import torch

from internvideo.models.clip_layers import CLIPLayerNorm, CLIPTransformer, quick_gelu
from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder
from internvideo.models.kv_cache import KeyValueCache
from internvideo.models.layers import checkpoint_blocks

CONFIG = CLIPTextConfig(
    vocab_size=20, context_length=8, width=16, depth=2, num_heads=2, embed_dim=6
)
END = 19


@pytest.fixture
def encoder() -> CLIPTextEncoder:
    torch.manual_seed(0)
    return CLIPTextEncoder(CONFIG).eval()


def test_quick_gelu_is_its_formula():
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))


def test_layer_norm_computes_in_float32_and_returns_the_input_dtype():
    norm = CLIPLayerNorm(8)
    x = 1000 + torch.randn(3, 8)
    low = norm.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, CLIPLayerNorm(8)(x.bfloat16().float()).bfloat16())


def test_pools_the_first_largest_id(encoder):
    ids = torch.tensor([[2, 5, END, 0, 0, 0, 0, 0], [2, END, 4, END, 0, 0, 0, 0]])
    features = encoder(ids)
    expected = torch.stack([features.tokens[0, 2], features.tokens[1, 1]])
    torch.testing.assert_close(features.embedding, expected @ encoder.text_projection)


def test_nothing_behind_the_end_token_matters(encoder):
    ids = torch.tensor([[2, 5, END, 0, 0, 0, 0, 0]])
    other = torch.tensor([[2, 5, END, 7, 8, 9, 3, 1]])
    torch.testing.assert_close(encoder(ids).embedding, encoder(other).embedding)
    torch.testing.assert_close(encoder(ids).embedding, encoder(ids[:, :3]).embedding)


def test_tokens_before_the_end_matter(encoder):
    first, second = encoder(torch.tensor([[2, 5, END], [2, 6, END]])).embedding
    assert (first - second).abs().max() > 1e-3


def test_too_long_text_is_refused(encoder):
    with pytest.raises(ValueError, match="texts of 9 tokens do not fit into the context of 8"):
        encoder(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize(
    ("field", "value"), [("width", 15), ("vocab_size", 0), ("context_length", 0)]
)
def test_impossible_shapes_are_refused(field, value):
    values = {"vocab_size": 20, "width": 16, "depth": 1, "num_heads": 2, "embed_dim": 4}
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        CLIPTextConfig(**{**values, field: value})


def test_initial_scales_follow_clip():
    torch.manual_seed(0)
    config = CLIPTextConfig(vocab_size=500, width=128, depth=4, num_heads=4, embed_dim=64)
    encoder = CLIPTextEncoder(config)
    block = encoder.transformer.resblocks[0]
    for weight, std in (
        (encoder.token_embedding.weight, 0.02),
        (encoder.positional_embedding, 0.01),
        (encoder.text_projection, 128**-0.5),
        (block.attn.in_proj_weight, 128**-0.5),
        (block.attn.out_proj.weight, 128**-0.5 * 8**-0.5),
        (block.mlp.c_fc.weight, 256**-0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert block.attn.in_proj_bias.abs().max() == 0


def test_meta_device_then_reset():
    with torch.device("meta"):
        encoder = CLIPTextEncoder(CONFIG)
    encoder.to_empty(device="cpu").reset_parameters()
    assert encoder(torch.tensor([[2, END]])).embedding.isfinite().all()


def test_projection_norm_centres_the_batch():
    encoder = CLIPTextEncoder(CONFIG, projection_norm="batch").train()
    ids = torch.tensor([[2, word, END] for word in range(3, 11)])
    pooled = encoder.pool(encoder(ids).tokens, ids)
    torch.testing.assert_close(encoder.norm(pooled).mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    assert {n for n, _ in encoder.named_parameters()} == {
        n for n, _ in CLIPTextEncoder(CONFIG).named_parameters()
    }


def test_activation_checkpointing_changes_nothing():
    torch.manual_seed(0)
    stack = CLIPTransformer(16, 3, 2, causal=True)
    stack.reset_parameters()
    x = torch.randn(2, 5, 16)
    gradients = []
    for enabled in (False, True):
        checkpoint_blocks(stack, enabled=enabled)
        stack.zero_grad()
        stack(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in stack.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_rises_linearly_and_keeps_evaluation_exact():
    stack = CLIPTransformer(16, 3, 2, drop_path_rate=0.2)
    stack.reset_parameters()
    assert [block.drop_path.rate for block in stack.resblocks] == pytest.approx([0, 0.1, 0.2])
    plain = CLIPTransformer(16, 3, 2)
    plain.load_state_dict(stack.state_dict())
    x = torch.randn(4, 5, 16)
    torch.testing.assert_close(stack.eval()(x), plain.train()(x))


def test_texts_can_be_encoded_piece_by_piece(encoder):
    ids = torch.tensor([[2, 5, 7, 9, 4, END], [2, 8, END, 0, 0, 0]])
    caches = [KeyValueCache(6) for _ in encoder.block_modules()]
    pieces = [encoder.extend(piece, caches) for piece in ids.split([1, 3, 1, 1], dim=1)]
    whole = encoder(ids).tokens
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-5, atol=1e-5)
