"""VSLNet: finds the part of a video that a sentence asks for, on features."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from internvideo.models import vslnet
from internvideo.models.bert import BertConfig
from internvideo.models.vslnet import VSLNetConfig
from internvideo.models.vslnet_text import BertTextConfig, GivenTextConfig, WordTextConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.layouts import Layout, OnlyOurs, Rename
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["VSLNET"]

_BERT = "embedding_net.embedder"
_POSITIONS = f"{_BERT}.bert.embeddings.position_embeddings.weight"


def _position_ids(state: Any) -> Tensor | None:
    table = state.get(_POSITIONS)
    return None if table is None else torch.arange(len(table))[None]


OFFICIAL = Layout(
    (
        OnlyOurs(
            f"{_BERT}.bert.embeddings.position_ids",
            _position_ids,
            "the numbers 0, 1, 2 …, which older files hold",
        ),
        Rename(f"{_BERT}.pooler.dense.{{rest}}", "embedding_net.pooler.{rest}"),
        Rename(f"{_BERT}.{{rest}}", f"{_BERT}.bert.{{rest}}"),
    )
)
"""BERT lies in a `BertFusionEncoder`, beside the pooler that nothing uses."""


def _infer(shapes: Shapes, base: Any) -> VSLNetConfig:
    width = required(shapes, r"cq_attention\.w4[CQ]", 0, "width of the model")
    base = base or vslnet.SIZES["ego4d-bert"]
    num_heads = base.num_heads
    if base.width != width or width % num_heads:
        num_heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
    fields = {
        "video_width": required(
            shapes, r"video_affine\.linear\.conv1d\.weight", 1, "width of the features"
        ),
        "text": _infer_text(shapes, base.text),
        "width": width,
        "num_heads": num_heads,
        "max_length": required(
            shapes, r"feature_encoder\.pos_embedding\..*\.weight", 0, "most rows of a video"
        ),
        "predictor": "rnn" if any(".start_encoder." in name for name in shapes) else "transformer",
    }
    return with_fields(base, fields)


def _infer_text(shapes: Shapes, base: Any) -> BertTextConfig | WordTextConfig | GivenTextConfig:
    if any(name.startswith("embedding_net.word_emb.") for name in shapes):
        return _infer_words(shapes, base)
    width = required(shapes, r"query_affine\.weight", 1, "width of a word")
    if not any(name.startswith(f"{_BERT}.") for name in shapes):
        return GivenTextConfig(width=width, model=getattr(base, "model", ""))
    layer, table = rf"{_BERT}\.bert\.encoder\.layer", rf"{_BERT}\.bert\.embeddings\.{{}}"
    usual = base.bert if isinstance(base, BertTextConfig) else BertTextConfig().bert
    depth = depth_of(shapes, layer)
    words = table.format(r"word_embeddings\.weight")
    places = table.format(r"position_embeddings\.weight")
    bert: BertConfig = with_fields(
        usual,
        {
            "vocab_size": most_common(shapes, words, 0) or usual.vocab_size,
            "max_positions": most_common(shapes, places, 0) or usual.max_positions,
            "width": width,
            "depth": depth,
            "num_heads": usual.num_heads if usual.width == width else heads_of(width, {}),
            "mlp_hidden": required(
                shapes, rf"{layer}\.\d+\.intermediate\.dense\.weight", 0, "feed-forward's width"
            ),
            "fusion_layer": depth,
        },
    )
    told = base if isinstance(base, BertTextConfig) else BertTextConfig()
    return replace(told, bert=bert)


def _infer_words(shapes: Shapes, base: Any) -> WordTextConfig:
    words = r"embedding_net\.word_emb\.{}"
    pretrained = any(re.fullmatch(words.format("glove_vec"), name) for name in shapes)
    table = words.format("glove_vec" if pretrained else r"word_emb\.weight")
    letters = r"embedding_net\.char_emb\.char_emb\.weight"
    fields = {
        "num_words": required(shapes, table, 0, "number of words") + 2 * pretrained,
        "num_letters": required(shapes, letters, 0, "number of letters"),
        "word_width": required(shapes, table, 1, "width of a word"),
        "letter_width": required(shapes, letters, 1, "width of a letter"),
        "pretrained": pretrained,
    }
    return replace(base, **fields) if isinstance(base, WordTextConfig) else WordTextConfig(**fields)


def _traits(config: VSLNetConfig) -> dict[str, Any]:
    text = config.text
    return {
        "width": config.width,
        "predictor": config.predictor,
        "text": (type(text).__name__, getattr(text, "width", getattr(text, "num_words", 0))),
    }


_TINY = VSLNetConfig(
    video_width=12,
    text=BertTextConfig(
        bert=BertConfig(
            vocab_size=24, max_positions=16, width=16, depth=2, num_heads=2, mlp_hidden=24,
            fusion_layer=2, masked_lm=False,
        ),
        context_length=16,
        vocabulary=SPECIAL_TOKENS + tuple("abcdefghijklmnopqrs"),
    ),
    width=16,
    num_heads=2,
    max_length=24,
)  # fmt: skip
_WORDS = WordTextConfig(
    num_words=6,
    num_letters=5,
    word_width=12,
    letter_width=6,
    vocabulary=tuple("abcd"),
    letters=tuple("abc"),
)

VSLNET = Architecture(
    id="vslnet",
    model=vslnet.VSLNet,
    config=VSLNetConfig,
    sizes=vslnet.SIZES,
    tiny={
        "bert": _TINY,
        "words": replace(_TINY, text=_WORDS, predictor="rnn"),
        "given": replace(_TINY, text=GivenTextConfig(width=16)),
    },
    tables={"official": OFFICIAL},
    infer=_infer,
    traits=_traits,
    preset="tal-features",
    unseen=lambda shapes: ("num_heads", "padding", "wording", "times"),
)
