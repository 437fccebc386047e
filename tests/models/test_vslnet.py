"""VSLNet: padding, what is frozen, what queries are read with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.vslnet import SIZES, SpanLogits, VSLNet, VSLNetConfig
from internvideo.models.vslnet_text import BertTextConfig, QueryTokens, WordTextConfig
from internvideo.train.optim import parameter_groups
from internvideo.zoo.kinds.vslnet import VSLNET

BERT, WORDS = VSLNET.tiny["bert"], VSLNET.tiny["words"]
TINY = {
    **VSLNET.tiny,
    "reference": replace(BERT, padding="reference"),
    "own-words": replace(WORDS, text=replace(WORDS.text, pretrained=False)),
}
EXACT = [name for name, config in TINY.items() if config.padding == "exact"]


def build(config: VSLNetConfig) -> VSLNet:
    torch.manual_seed(0)
    return VSLNet(config).eval()


def query_for(config: VSLNetConfig, batch: int, length: int, *, seed: int = 1) -> QueryTokens:
    """Return queries of a length, as the text of the model reads them."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.ones(batch, length, dtype=torch.bool)
    match config.text:
        case BertTextConfig(bert=bert):
            ids = torch.randint(1, bert.vocab_size, shown.shape, generator=generator)
            return QueryTokens(shown=shown, ids=ids)
        case WordTextConfig(num_words=words, num_letters=letters):
            ids = torch.randint(1, words, shown.shape, generator=generator)
            spelt = torch.randint(1, letters, (*shown.shape, 5), generator=generator)
            return QueryTokens(shown=shown, ids=ids, letters=spelt)
        case given:
            vectors = torch.randn(*shown.shape, given.width, generator=generator)
            return QueryTokens(shown=shown, vectors=vectors)


def padded_query(query: QueryTokens, by: int) -> QueryTokens:
    def grown(tensor):
        return None if tensor is None else torch.cat([tensor, tensor[:, :by]], dim=1)

    shown = torch.nn.functional.pad(query.shown, (0, by))
    return QueryTokens(
        shown=shown, ids=grown(query.ids), letters=grown(query.letters),
        vectors=grown(query.vectors),
    )  # fmt: skip


def padded(model: VSLNet, video: torch.Tensor, query: QueryTokens) -> SpanLogits:
    """Run a video and a query with garbage behind them, and cut the garbage off."""
    rows = video.shape[1]
    behind = torch.cat([video, 9 * torch.randn(len(video), 5, video.shape[2])], dim=1)
    shown = torch.arange(rows + 5)[None].expand(len(video), -1) < rows
    found = model(behind, shown, *padded_query(query, 2).inputs())
    return SpanLogits(found.highlight[:, :rows], found.start[:, :rows], found.end[:, :rows])


@pytest.mark.parametrize("name", EXACT)
@torch.no_grad()
def test_padding_does_not_change_what_is_found(name):
    model, config = build(TINY[name]), TINY[name]
    video, query = torch.randn(2, 11, config.video_width), query_for(config, 2, 4)
    alone = model(video, torch.ones(2, 11, dtype=torch.bool), *query.inputs())
    together = padded(model, video, query)
    for part in ("highlight", "start", "end"):
        torch.testing.assert_close(
            getattr(together, part), getattr(alone, part), rtol=1e-5, atol=2e-6
        )


@torch.no_grad()
def test_reference_padding_changes_it():
    config = TINY["reference"]
    model = build(config)
    video, query = torch.randn(2, 11, config.video_width), query_for(config, 2, 4)
    alone = model(video, torch.ones(2, 11, dtype=torch.bool), *query.inputs())
    assert (padded(model, video, query).start - alone.start).abs().max() > 1e-3


@torch.no_grad()
def test_without_padding_both_modes_are_one():
    exact, reference = build(TINY["bert"]), build(TINY["reference"])
    reference.load_state_dict(exact.state_dict())
    inputs = torch.randn(2, 11, 12), torch.ones(2, 11, dtype=torch.bool)
    query = query_for(TINY["bert"], 2, 4)
    assert torch.equal(
        exact(*inputs, *query.inputs()).start, reference(*inputs, *query.inputs()).start
    )


@torch.no_grad()
def test_padding_is_never_found():
    config = TINY["bert"]
    shown = torch.arange(9)[None] < 6
    found = build(config)(torch.randn(1, 9, 12), shown, *query_for(config, 1, 3).inputs())
    assert (found.highlight[0, 6:] == 0).all()
    assert found.start[0].argmax() < 6
    assert (found.end.softmax(dim=1)[0, 6:] == 0).all()


@pytest.mark.parametrize("name", TINY)
def test_a_loss_reaches_all_that_is_trained_and_nothing_else(name):
    config = TINY[name]
    model = build(config).train()
    found = model(
        torch.randn(2, 7, 12), torch.ones(2, 7, dtype=torch.bool), *query_for(config, 2, 3).inputs()
    )
    (found.start.square() + found.end.square() + found.highlight).sum().backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    if name in ("bert", "reference"):
        assert all(name.startswith("embedding_net.") for name in frozen)
    elif name == "words":
        tables = {"embedding_net.word_emb.glove_vec", "embedding_net.word_emb.pad_vec"}
        assert frozen == tables
    else:
        assert not frozen
    assert {name for name, p in model.named_parameters() if p.grad is None} == frozen


def test_the_text_encoder_drops_out_while_training_as_in_the_reference():
    model = build(TINY["bert"])
    query = query_for(TINY["bert"], 1, 4)
    assert torch.equal(model.embed_query(query), model.embed_query(query))
    model.train()
    assert not torch.equal(model.embed_query(query), model.embed_query(query))


def test_vectors_stand_in_for_the_text_encoder():
    model, query = build(TINY["bert"]), query_for(TINY["bert"], 2, 4)
    assert model.embedding_net is not None
    said = replace(query, ids=None, vectors=model.embedding_net(query))
    assert torch.equal(model.embed_query(said), model.embed_query(query))


def test_what_does_not_fit_is_refused():
    model = build(TINY["given"])
    shown = torch.ones(1, 25, dtype=torch.bool)
    with pytest.raises(ValueError, match="25 rows or words do not fit into 24"):
        model.encode_video(torch.randn(1, 25, 12), shown)
    with pytest.raises(ValueError, match="hand them in"):
        model.embed_query(QueryTokens(shown=shown))
    words = query_for(TINY["words"], 1, 3)
    assert words.letters is not None
    with pytest.raises(ValueError, match="words of 3 letters"):
        build(TINY["words"]).embed_query(replace(words, letters=words.letters[..., :3]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_heads": 3}, "multiple of num_heads 3"),
        ({"max_length": 0}, "max_length must be at least 1"),
    ],
)
def test_impossible_shapes_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        replace(TINY["given"], **changes)
    with pytest.raises(ValueError, match="num_words 6 is not 5"):
        replace(TINY["words"].text, vocabulary=tuple("abcde"))
    with pytest.raises(ValueError, match="fusion_layer = depth"):
        replace(TINY["bert"].text, bert=replace(TINY["bert"].text.bert, fusion_layer=1))


@pytest.mark.parametrize(("channels", "millions"), [(2304, 0.866), (2048, 0.834), (1024, 0.703)])
def test_the_published_sizes_train_as_many_numbers_as_published(channels, millions):
    config = replace(SIZES["ego4d-bert"], video_width=channels)
    model = VSLNET.build(config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize("name", TINY)
def test_weights_decay_as_published(name):
    """All but what is called a bias or a norm."""
    named = dict(build(TINY[name]).named_parameters())
    groups = parameter_groups(named, weight_decay=0.01, undecayed=VSLNet.undecayed_names)
    decayed = {id(p) for group in groups if group["decays"] for p in group["params"]}
    spared = ("bias", "layer_norm", "LayerNorm")
    expected = {
        name for name, p in named.items() if p.requires_grad and not any(s in name for s in spared)
    }
    assert {name for name, p in named.items() if id(p) in decayed} == expected
