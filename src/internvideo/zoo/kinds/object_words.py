"""Image classes read by a sentence encoder; no file of it is released, it is put together."""

from __future__ import annotations

from typing import Any

from internvideo.models import object_words
from internvideo.models.bert import BertConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.shapes import Shapes

__all__ = ["OBJECT_WORDS"]


def _infer(shapes: Shapes, base: Any) -> object_words.ObjectWordsConfig:
    return base or object_words.SIZES["lite0-minilm"]


def _traits(config: Any) -> dict[str, Any]:
    return {
        "backbone": config.backbone,
        "num_classes": config.num_classes,
        "text": (config.text.width, config.text.depth, config.text.vocab_size),
    }


_TINY = object_words.ObjectWordsConfig(
    backbone="test_efficientnet",
    num_classes=12,
    text=BertConfig(
        vocab_size=24, max_positions=8, width=16, depth=2, num_heads=2, mlp_hidden=24,
        fusion_layer=2, masked_lm=False,
    ),
    image_size=64,
    num_frames=2,
    context_length=8,
    vocabulary=SPECIAL_TOKENS + tuple("abcdefghijklmnopqrs"),
)  # fmt: skip

OBJECT_WORDS = Architecture(
    id="object-words",
    model=object_words.ObjectWords,
    config=object_words.ObjectWordsConfig,
    sizes=object_words.SIZES,
    tiny={"efficientnet": _TINY},
    tables={},  # nobody published such a file
    infer=_infer,
    traits=_traits,
    preset="offline-objects",
)
