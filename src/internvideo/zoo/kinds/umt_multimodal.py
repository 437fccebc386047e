"""The unmasked teacher's second stage: with its teacher as pretrained, without as fine-tuned."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from internvideo.models import umt_multimodal
from internvideo.models.bert import BertConfig
from internvideo.models.umt_multimodal import UMTMultimodalConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import unmasked_teacher
from internvideo.zoo.kinds.videomae import vit_fields
from internvideo.zoo.layouts import SAME_NAMES, Layout, Rename
from internvideo.zoo.shapes import (
    Shapes,
    below,
    depth_of,
    heads_of,
    most_common,
    required,
    with_fields,
)

__all__ = ["FINETUNED", "MULTIMODAL", "RETRIEVAL"]

FINETUNED = Layout(
    tuple(
        Rename(f"text_encoder.{part}.{{rest}}", f"text_encoder.bert.{part}.{{rest}}")
        for part in ("embeddings", "encoder")
    )
)
"""Fine-tuned files have the text tower without the word predictor, hence without `bert.`."""


def _infer(shapes: Shapes, base: Any) -> UMTMultimodalConfig:
    vision, teacher = below(shapes, "vision_encoder."), below(shapes, "clip_teacher.")
    width = required(
        vision, r"encoder\.blocks\.\d+\.norm[12]\.weight", 0, "width of the video tower"
    )
    sizes = umt_multimodal.SIZES
    base = base or next((s for s in sizes.values() if s.encoder.width == width), sizes["b16"])
    fields = {
        "vision": _infer_vision(vision, base.vision),
        "text": _infer_text(below(shapes, "text_encoder."), base.text),
        "embed_dim": required(
            shapes, r"(vision|text)_proj\.(weight|bias)", 0, "dimension of the joint space"
        ),
        "alignment": any(name.startswith("clip_decoder.") for name in vision),
        "teacher": unmasked_teacher.TEACHER.infer(teacher, base.teacher) if teacher else None,
    }
    return with_fields(base, fields)


def _infer_vision(shapes: Shapes, base: UnmaskedTeacherConfig) -> UnmaskedTeacherConfig:
    if any(name.startswith("clip_decoder.") for name in shapes):
        return unmasked_teacher.PRETRAINING.infer(shapes, base)
    encoder = with_fields(base.encoder, vit_fields(below(shapes, "encoder."), base.encoder))
    targets = min(base.num_targets, encoder.depth)  # of decoders that are not there
    return with_fields(base, {"encoder": encoder, "num_targets": targets})


def _infer_text(shapes: Shapes, base: BertConfig) -> BertConfig:
    table = r"bert\.embeddings\.{}_embeddings\.weight"
    layer = r"bert\.encoder\.layer"
    width = required(shapes, rf"{layer}\.\d+\.output\.LayerNorm\.weight", 0, "width of the text")
    looking = {
        int(match[1])
        for name in shapes
        if (match := re.match(rf"{layer}\.(\d{{1,4}})\.crossattention\.", name))
    }
    keys = rf"{layer}\.\d+\.crossattention\.self\.(key|value)\.weight"
    return with_fields(
        base,
        {
            "vocab_size": most_common(shapes, table.format("word"), 0) or base.vocab_size,
            "max_positions": most_common(shapes, table.format("position"), 0) or base.max_positions,
            "width": width,
            "depth": depth_of(shapes, layer),
            "num_heads": base.num_heads if base.width == width else heads_of(width, {}),
            "mlp_hidden": required(
                shapes, rf"{layer}\.\d+\.intermediate\.dense\.weight", 0, "feed-forward's width"
            ),
            "fusion_layer": min(looking, default=base.fusion_layer),
            "vision_width": most_common(shapes, keys, 1) or base.vision_width,
            "masked_lm": any(name.startswith("cls.") for name in shapes),
        },
    )


def _traits(config: Any) -> dict[str, Any]:
    encoder, text = config.encoder, config.text
    return {
        "vision": (encoder.width, encoder.depth, encoder.patch_size, encoder.tubelet_size),
        "text": (text.width, text.depth, text.fusion_layer, text.vocab_size),
        "embed_dim": config.embed_dim,
        "alignment": config.alignment,
        "word_predictor": text.masked_lm,
        "teacher": config.teacher is not None,
    }


def _without_training(config: UMTMultimodalConfig) -> UMTMultimodalConfig:
    text = dataclasses.replace(config.text, masked_lm=False)
    return dataclasses.replace(config, text=text, alignment=False, teacher=None)


_TINY = UMTMultimodalConfig(
    vision=unmasked_teacher.TINY,
    text=BertConfig(
        vocab_size=24,
        max_positions=12,
        width=16,
        depth=2,
        num_heads=2,
        mlp_hidden=24,
        fusion_layer=1,
        vision_width=unmasked_teacher.TINY.encoder.width,
    ),
    embed_dim=8,
    context_length=8,
    vocabulary=SPECIAL_TOKENS + tuple("abcdefghijklmnopqrs"),
    teacher=unmasked_teacher.TINY_TEACHER,
)

MULTIMODAL = Architecture(
    id="unmasked-teacher/multimodal",
    model=umt_multimodal.UMTMultimodal,
    config=UMTMultimodalConfig,
    sizes=umt_multimodal.SIZES,
    tiny={"released": _TINY},
    tables={"official": SAME_NAMES},
    infer=_infer,
    traits=_traits,
    preset="umt-multimodal",
)

RETRIEVAL = dataclasses.replace(
    MULTIMODAL,
    id="unmasked-teacher/retrieval",
    sizes={name: _without_training(size) for name, size in umt_multimodal.SIZES.items()},
    tiny={"released": _without_training(_TINY)},
    tables={"official": FINETUNED},
)
"""What fine-tuning for retrieval leaves: both towers, the fusion, and the matching head."""
