from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from internvideo.errors import CheckpointError
from internvideo.models.bert import SIZES, BertConfig, BertFusionEncoder, text_state_from_bert
from internvideo.models.layers import checkpoint_blocks

CONFIG = BertConfig(
    vocab_size=20,
    max_positions=8,
    width=16,
    depth=3,
    num_heads=2,
    mlp_hidden=24,
    fusion_layer=2,
    vision_width=12,
)
IDS = torch.tensor([[2, 7, 8, 9, 3, 0], [2, 5, 3, 0, 0, 0]])
SHOWN = IDS != 0
VISION = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))


def build(config: BertConfig = CONFIG) -> BertFusionEncoder:
    torch.manual_seed(0)
    model = BertFusionEncoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_all_layers_are_the_lower_and_then_the_upper_ones():
    model = build()
    text = model.encode(IDS, SHOWN)
    assert text.shape == (2, 6, 16)
    fused = model.fuse(text, SHOWN, VISION)
    torch.testing.assert_close(model(IDS, SHOWN, VISION), fused)
    assert (fused - model.fuse(text, SHOWN, VISION + 1)).abs().max() > 1e-2


def test_padding_is_not_seen():
    model = build()
    other = torch.where(SHOWN, IDS, 11)
    for first, second in (
        (model.encode(IDS, SHOWN), model.encode(other, SHOWN)),
        (model(IDS, SHOWN, VISION), model(other, SHOWN, VISION)),
    ):
        torch.testing.assert_close(first[SHOWN], second[SHOWN])
    short = model(IDS[1:, :3], SHOWN[1:, :3], VISION[1:])
    torch.testing.assert_close(short, model(IDS, SHOWN, VISION)[1:, :3], rtol=1e-4, atol=1e-5)


def test_words_are_seen_from_both_sides_and_in_their_order():
    model = build()
    first = model.encode(IDS, SHOWN)
    changed = IDS.clone()
    changed[0, 3] = 10
    assert (model.encode(changed, SHOWN)[0, 1] - first[0, 1]).abs().max() > 1e-3
    swapped = IDS.clone()
    swapped[0, 1], swapped[0, 2] = IDS[0, 2], IDS[0, 1]
    assert (model.encode(swapped, SHOWN)[0, 0] - first[0, 0]).abs().max() > 1e-3


def test_the_word_predictor_is_the_table_of_words():
    model = build()
    fused = model(IDS, SHOWN, VISION)
    logits = model.predict_words(fused)
    assert logits.shape == (2, 6, 20)
    hidden = model.cls.predictions.transform(fused)
    table = model.bert.embeddings.word_embeddings.weight
    torch.testing.assert_close(logits, hidden @ table.T + model.cls.predictions.bias)
    names = [name for name, _ in model.named_parameters()]
    assert not any("decoder" in name for name in names)


@pytest.mark.parametrize("assign", [False, True])
def test_tied_tensors_stay_tied_whatever_is_loaded(assign):
    model, other = build(), build()
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    assert "cls.predictions.decoder.weight" in state
    other.load_state_dict(state, assign=assign)
    predictions, embeddings = other.cls.predictions, other.bert.embeddings
    assert predictions.decoder.weight is embeddings.word_embeddings.weight
    assert predictions.decoder.bias is predictions.bias
    assert torch.equal(
        embeddings.word_embeddings.weight, state["bert.embeddings.word_embeddings.weight"]
    )


def test_stored_copies_have_memory_of_their_own():
    state = build().state_dict()
    pointers = [tensor.data_ptr() for tensor in state.values()]
    assert len(set(pointers)) == len(pointers)


def test_copies_that_differ_are_refused():
    model = build()
    state = model.state_dict()
    state["cls.predictions.decoder.weight"] += 1
    with pytest.raises(CheckpointError, match=r"decoder\.weight and .*word_embeddings.* differ"):
        model.load_state_dict(state)


def test_the_meta_device_then_fresh_weights():
    with torch.device("meta"):
        model = BertFusionEncoder(CONFIG)
    model.to_empty(device="cpu")
    model.reset_parameters()
    assert model.bert.embeddings.position_ids.tolist() == [list(range(8))]
    assert model.eval()(IDS, SHOWN, VISION).isfinite().all()
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    deviation = float(model.bert.embeddings.word_embeddings.weight.detach()[1:].std())
    assert deviation == pytest.approx(0.02, rel=0.2)


def test_gradient_reaches_every_parameter():
    model = build().train()
    model.predict_words(model(IDS, SHOWN, VISION)).square().sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_recomputed_layers_give_the_same_gradient():
    gradients = []
    for enabled in (False, True):
        model = build()
        checkpoint_blocks(model, enabled=enabled)
        model(IDS, SHOWN, VISION).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_both_parts_compile_to_one_graph():
    model = build()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IDS, SHOWN, VISION), model(IDS, SHOWN, VISION))


def test_low_precision_stays_near():
    model = build()
    exact = model(IDS, SHOWN, VISION)
    low = model.bfloat16()(IDS, SHOWN, VISION.bfloat16()).float()
    assert nn.functional.cosine_similarity(exact[SHOWN], low[SHOWN]).min() > 0.99


def test_without_a_word_predictor():
    model = build()
    model.drop_word_predictor()
    assert not any(name.startswith("cls.") for name in model.state_dict())
    bare = BertFusionEncoder(replace(CONFIG, masked_lm=False))
    bare.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="masked_lm=True"):
        bare.predict_words(torch.zeros(1, 1, 16))


def test_a_long_text_is_refused():
    with pytest.raises(ValueError, match="9 tokens do not fit into 8 positions"):
        build().encode(torch.ones(1, 9, dtype=torch.int64), torch.ones(1, 9, dtype=torch.bool))


def plain_bert(config: BertConfig = CONFIG) -> dict[str, torch.Tensor]:
    """What a file of a plain BERT holds: no attention to a video, a pooler, no second table."""
    state = build(config).state_dict()
    state = {n: t for n, t in state.items() if "crossattention" not in n and "decoder" not in n}
    del state["bert.embeddings.position_ids"]
    return {**state, "bert.pooler.dense.weight": torch.zeros(16, 16)}


@pytest.mark.parametrize("spelling", ["new", "old", "bare"])
def test_a_plain_bert_is_a_start(spelling):
    state = plain_bert()
    if spelling == "old":
        state = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in state.items()
        }
    config = CONFIG
    if spelling == "bare":
        state = {n.removeprefix("bert."): t for n, t in state.items() if n.startswith("bert.")}
        config = replace(CONFIG, masked_lm=False)
    torch.manual_seed(5)
    model = BertFusionEncoder(config).eval()
    fresh = {n: t.clone() for n, t in model.state_dict().items() if "crossattention" in n}
    taken = text_state_from_bert(state, config)
    model.load_state_dict(taken, strict=False)
    torch.testing.assert_close(model.encode(IDS, SHOWN), build().encode(IDS, SHOWN))
    assert fresh
    for name, tensor in fresh.items():
        assert name not in taken
        assert torch.equal(model.state_dict()[name], tensor)


def test_another_bert_is_refused():
    with pytest.raises(CheckpointError, match="of 4 layers: 16 tensors are missing"):
        text_state_from_bert(plain_bert(), replace(CONFIG, depth=4))
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight is \(20, 16\), .* \(30, 16"):
        text_state_from_bert(plain_bert(), replace(CONFIG, vocab_size=30))
    with pytest.raises(CheckpointError, match="not the weights of a BERT"):
        text_state_from_bert({"conv1.weight": torch.zeros(1)}, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 15}, "width 15 is not a multiple of num_heads 2"),
        ({"fusion_layer": 4}, "fusion_layer 4 must leave layers below it: 1 to 3"),
        ({"fusion_layer": 0}, "fusion_layer 0"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("size", "plain", "fusion_layers"), [("base", 109_514_298, 3), ("large", 335_174_458, 5)]
)
def test_published_sizes(size, plain, fusion_layers):
    with torch.device("meta"):
        model = BertFusionEncoder(SIZES[size])
    width = SIZES[size].width
    looking = 4 * (width**2 + width) + 2 * width
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == plain + fusion_layers * looking
