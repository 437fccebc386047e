"""A BERT that reads a text and then looks at a video (Devlin et al. 2018; Li et al. 2021, ALBEF).

    ids ──► embeddings ──► lower layers ──► text tokens ──► upper layers ──► fused tokens ──► words
                                                                 ▲
                                              video tokens (keys, values)

The layers below `fusion_layer` are a plain text encoder. Each one from there on has an attention to
the video between its self-attention and its feed-forward. Names are those of the files of the
unmasked teacher: `bert.embeddings`, `bert.encoder.layer.{i}`, `cls.predictions`.

Letters: b batch, l text length, n video tokens, d text width, k video width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.bert_layers import BertConfig, BertEmbeddings, BertLayer, BertPredictions

__all__ = ["SIZES", "BertConfig", "BertFusionEncoder", "text_state_from_bert"]

_MASKED = -10000.0  # added to the logit of a key that is padding


class _Layers(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            BertLayer(config, fusion=index >= config.fusion_layer) for index in range(config.depth)
        )


class _Bert(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = _Layers(config)


class _Heads(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertPredictions(config)


class BertFusionEncoder(nn.Module):
    """Text encoder (lower layers) and fusion encoder (upper layers) in one BERT.

    The weight of the word predictor is the table of word embeddings, and its bias is
    `cls.predictions.bias`. Files hold both of either, a state dictionary therefore too; in memory
    there is one, whatever was loaded.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = _Bert(config)
        self.cls = _Heads(config) if config.masked_lm else None
        self.reset_parameters()
        self.register_state_dict_post_hook(_store_twice)
        self.register_load_state_dict_pre_hook(_refuse_untied)
        self.register_load_state_dict_post_hook(_tie_again)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew: normal with deviation 0.02, biases 0 (BERT)."""
        self._tie()
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        embeddings = self.bert.embeddings
        embeddings.word_embeddings.weight[0].zero_()
        device = embeddings.position_ids.device
        embeddings.position_ids = torch.arange(self.config.max_positions, device=device)[None]

    def _tie(self) -> None:
        if self.cls is not None:
            predictions = self.cls.predictions
            predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
            predictions.decoder.bias = predictions.bias

    def drop_word_predictor(self) -> None:
        """Forget the head that predicts hidden words, in place."""
        self.cls = None
        self.config = replace(self.config, masked_lm=False)

    def block_modules(self) -> Iterator[BertLayer]:
        """Yield the layers: the units to checkpoint, compile or shard."""
        for layer in self.bert.encoder.layer:
            assert isinstance(layer, BertLayer)
            yield layer

    def encode(self, ids: Int[Tensor, "b l"], shown: Bool[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Read a text without a video: the lower layers.

        Args:
            ids: token ids.
            shown: False where a token is padding, which no other token sees.

        Raises:
            ValueError: the texts are longer than the position table.
        """
        if ids.shape[1] > self.config.max_positions:
            raise ValueError(
                f"texts of {ids.shape[1]} tokens do not fit into {self.config.max_positions} "
                "positions; tokenize with a shorter context_length"
            )
        x, mask = self.bert.embeddings(ids), _additive(shown)
        for layer in self.bert.encoder.layer[: self.config.fusion_layer]:
            x = layer(x, mask)
        return x

    def fuse(
        self,
        text: Float[Tensor, "b l d"],
        shown: Bool[Tensor, "b l"],
        vision: Float[Tensor, "b n k"],
    ) -> Float[Tensor, "b l d"]:
        """Let the tokens of `encode` look at a video: the upper layers."""
        mask = _additive(shown)
        for layer in self.bert.encoder.layer[self.config.fusion_layer :]:
            text = layer(text, mask, vision)
        return text

    def forward(
        self, ids: Int[Tensor, "b l"], shown: Bool[Tensor, "b l"], vision: Float[Tensor, "b n k"]
    ) -> Float[Tensor, "b l d"]:
        """Read a text and look at a video: all layers."""
        return self.fuse(self.encode(ids, shown), shown, vision)

    def predict_words(self, fused: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """Return the logits of the word at each place.

        Raises:
            ValueError: the model was built without the head (`masked_lm`).
        """
        if self.cls is None:
            raise ValueError("this model has no head for words; build it with masked_lm=True")
        return self.cls.predictions(fused)


def _additive(shown: Bool[Tensor, "b l"]) -> Float[Tensor, "b 1 1 l"]:
    return torch.where(shown, 0.0, _MASKED)[:, None, None]


_COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def _store_twice(
    module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]
) -> None:
    """Give the tied tensors memory of their own in a state dictionary: safetensors asks for it."""
    for copy in _COPIES:
        if prefix + copy in state and not state[prefix + copy].is_meta:
            state[prefix + copy] = state[prefix + copy].clone()


def _tie_again(module: nn.Module, _missing: object) -> None:
    assert isinstance(module, BertFusionEncoder)
    module._tie()


def _refuse_untied(
    module: nn.Module, state: Mapping[str, Any], prefix: str, *_unused: object
) -> None:
    """Refuse a file whose two copies differ: one of them would be lost."""
    for copy, original in _COPIES.items():
        first, second = state.get(prefix + copy), state.get(prefix + original)
        if first is None or second is None or first.is_meta or second.is_meta:
            continue
        if first.shape == second.shape and not torch.equal(first, second):
            raise CheckpointError(
                f"{prefix}{copy} and {prefix}{original} differ, and the model has one of them: "
                "these weights were not trained with tied word embeddings"
            )


def text_state_from_bert(state: Mapping[str, Tensor], config: BertConfig) -> dict[str, Tensor]:
    """Return the weights that a plain BERT file has for a `BertFusionEncoder`.

    A plain BERT knows no video: the cross-attentions are not among them. Its pooler and its
    next-sentence head have no place here. Both spellings of the norms are read (`weight`, and the
    old `gamma`), and names with or without `bert.` in front.

    Args:
        state: of "bert-base-uncased" or its like.
        config: of the encoder that shall start from it.

    Raises:
        CheckpointError: not a BERT, or one of another shape.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = name.replace(".gamma", ".weight").replace(".beta", ".bias")
        found[new if new.startswith(("bert.", "cls.")) else f"bert.{new}"] = tensor
    with torch.device("meta"):
        own = BertFusionEncoder(config).state_dict()
    for copy, original in _COPIES.items():
        if copy in own and original in found:
            found.setdefault(copy, found[original])
    taken = {name: found[name] for name in own if name in found}
    wanted = {n for n in own if ".crossattention." not in n and not n.endswith("position_ids")}
    if missing := sorted(wanted - taken.keys()):
        raise CheckpointError(
            f"not the weights of a BERT of {config.depth} layers: {len(missing)} tensors are "
            f"missing, e.g. {missing[0]}"
        )
    for name, tensor in taken.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{name} is {tuple(tensor.shape)}, the text encoder has {tuple(own[name].shape)}"
            )
    return taken


SIZES: dict[str, BertConfig] = {
    "base": BertConfig(),
    "large": BertConfig(
        width=1024,
        depth=24,
        num_heads=16,
        mlp_hidden=4096,
        fusion_layer=19,
        vision_width=1024,
    ),
}
"""BERT-base and BERT-large, uncased, with fusion from the 10th and the 20th layer on."""
