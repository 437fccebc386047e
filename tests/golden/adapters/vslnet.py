"""VSLNet: every stage of the network, both losses, gradients, and the best five spans."""

from __future__ import annotations

from typing import Any

import torch

from golden.case import Case
from internvideo.models.bert import BertConfig
from internvideo.models.vslnet import VSLNet, VSLNetConfig
from internvideo.models.vslnet_text import (
    BertTextConfig,
    GivenTextConfig,
    QueryTokens,
    WordTextConfig,
)
from internvideo.tasks.language_queries.spans import (
    best_spans,
    highlight_labels,
    highlight_loss,
    location_loss,
)
from internvideo.zoo.kinds.vslnet import VSLNET


def text_config(case: Case) -> BertTextConfig | GivenTextConfig | WordTextConfig:
    config, state = case.meta["config"], case.group("state.")
    if config["predictor"] != "bert":
        return WordTextConfig(
            num_words=config["word_size"],
            num_letters=config["char_size"],
            word_width=config["word_dim"],
            letter_width=config["char_dim"],
            pretrained="embedding_net.word_emb.glove_vec" in state,
        )
    if any(name.startswith("embedding_net.embedder.") for name in state):
        layers = {n.split(".")[4] for n in state if n.startswith("embedding_net.embedder.encoder.")}
        words = state["embedding_net.embedder.embeddings.word_embeddings.weight"]
        hidden = state["embedding_net.embedder.encoder.layer.0.intermediate.dense.weight"]
        bert = BertConfig(
            vocab_size=len(words),
            width=words.shape[1],
            depth=len(layers),
            num_heads=config.get("bert_heads", words.shape[1] // 64),
            mlp_hidden=len(hidden),
            fusion_layer=len(layers),
            masked_lm=False,
        )
        return BertTextConfig(bert=bert)
    return GivenTextConfig(width=state["query_affine.weight"].shape[1])


def network(case: Case) -> VSLNet:
    config = case.meta["config"]
    model = VSLNet(
        VSLNetConfig(
            video_width=config["video_feature_dim"],
            text=text_config(case),
            width=config["dim"],
            num_heads=config["num_heads"],
            max_length=config["max_pos_len"],
            predictor="rnn" if config["predictor"] == "rnn" else "transformer",
            drop_rate=config["drop_rate"],
            padding="reference",
        )
    )
    state = VSLNET.tables["official"].to_ours(case.group("state."))
    model.load_state_dict(state, strict=True)
    return model.train(config["drop_rate"] == 0.0)


def query_of(case: Case) -> QueryTokens:
    given = case.group("input.")
    ids = given.get("word_ids", given.get("input_ids"))
    return QueryTokens(
        shown=given["query_mask"].bool(),
        ids=None if ids is None else ids,
        letters=given.get("char_ids"),
        vectors=given.get("text_hidden"),
    )


def vslnet(case: Case) -> None:
    model, query = network(case), query_of(case)
    given, stated = case.group("input."), case.meta["tolerance"]

    def check(actual: torch.Tensor, name: str, kind: str = "outputs") -> None:
        if f"output.{name}" in case.tensors:
            case.assert_close(actual, f"output.{name}", rtol=stated[kind], atol=stated[kind])

    shown, words_shown = given["video_mask"].bool(), query.shown
    embedded = model.embed_query(query)
    check(embedded, "query_embedding")
    words = model.feature_encoder(embedded, words_shown)
    check(words, "query_encoded")
    video = model.encode_video(given["video_features"], shown)
    check(video, "video_encoded")
    check(model.cq_attention(video, words, shown, words_shown), "cq_attention")
    found = model(given["video_features"], shown, *query.inputs())
    check(found.highlight, "highlight_score")
    check(found.start, "start_logits")
    check(found.end, "end_logits")
    spans = torch.stack([given["start_labels"], given["end_labels"]], dim=1)
    labels = highlight_labels(spans, given["video_lens"], shown.shape[1])
    assert torch.equal(labels.long(), case.tensors["output.highlight_labels"])
    location = location_loss(found.start, found.end, spans)
    highlight = highlight_loss(found.highlight, labels, shown)
    total = location + case.meta["config"]["highlight_lambda"] * highlight
    check(location, "loc_loss", "losses")
    check(highlight, "highlight_loss", "losses")
    check(total, "total_loss", "losses")
    check_gradients(case, model, total, stated["grads"])
    best = best_spans(found.start, found.end, case.tensors["output.top5_start"].shape[1]).spans
    assert torch.equal(best[..., 0], case.tensors["output.top5_start"])
    assert torch.equal(best[..., 1], case.tensors["output.top5_end"])


def check_gradients(case: Case, model: VSLNet, loss: torch.Tensor, tolerance: float) -> None:
    names: dict[str, Any] = dict(model.named_parameters())
    table = VSLNET.tables["official"]
    loss.backward()
    for name in case.group("grad."):
        gradient = names[table.name_to_ours(name)].grad
        case.assert_close(gradient, f"grad.{name}", rtol=tolerance, atol=tolerance)


ADAPTERS = {"vslnet": vslnet}
