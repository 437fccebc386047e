"""InternVideo-MM, and what it is fine-tuned to; all in one file each, as Lightning saves it."""

from __future__ import annotations

import dataclasses
from typing import Any

from internvideo.models import internvideo_mm, internvideo_qa
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import clip, uniformerv2, viclip
from internvideo.zoo.layouts import Layout, Rename
from internvideo.zoo.shapes import Shapes, below, depth_of, most_common, required, with_fields

__all__ = ["INTERNVIDEO_MM", "OFFICIAL", "OFFICIAL_QA", "QUESTION_ANSWERING", "TWO_TOWERS"]

_TEXT_TABLES = ("positional_embedding", "text_projection")
_TEXT_MODULES = ("transformer", "token_embedding", "ln_final")


def _lines(prefix: str) -> tuple[Rename, ...]:
    """Return the lines of a model that has its towers below a prefix."""
    return (
        Rename("caption_decoder.{rest}", f"{prefix}caption_decoder.{{rest}}"),
        *(Rename(f"clip.{name}", f"{prefix}text_encoder.{name}") for name in _TEXT_TABLES),
        *(
            Rename(f"clip.{name}.{{rest}}", f"{prefix}text_encoder.{name}.{{rest}}")
            for name in _TEXT_MODULES
        ),
        Rename("clip.{rest}", f"{prefix}{{rest}}"),
    )


OFFICIAL = Layout(_lines(""))
"""The text tower lies at the root of `clip.`; here it is a module of its own."""

OFFICIAL_QA = Layout((Rename("vqa_classifier.{rest}", "vqa_classifier.{rest}"), *_lines("towers.")))
"""The same with a classifier of answers beside the towers."""


def _infer(shapes: Shapes, base: Any) -> internvideo_mm.InternVideoMMConfig:
    embed = required(
        shapes, r"(visual_proj|text_encoder\.text_projection)", 1, "dimension of the joint space"
    )
    return _towers(shapes, base, embed)


def _towers(shapes: Shapes, base: Any, embed: int | None) -> internvideo_mm.InternVideoMMConfig:
    """Read off the shapes of both towers and the decoder, if there is one."""
    vision, decoder = below(shapes, "visual."), below(shapes, "caption_decoder.")
    width, sizes = clip.tower_width(vision, "video"), internvideo_mm.SIZES
    base = base or next((s for s in sizes.values() if s.vision.width == width), sizes["b16"])
    dim: int = embed or base.embed_dim
    text = clip.text_config(below(shapes, "text_encoder."), base.text, embed_dim=dim)
    fields = {
        "vision": with_fields(base.vision, uniformerv2.encoder_fields(vision, base.vision)),
        "text": text,
        "embed_dim": dim,
        "decoder_depth": depth_of(decoder, "multimodal_layers") if decoder else 0,
        "decoder_queries": most_common(decoder, "visual_queries", 0) or base.decoder_queries,
        "decoder_heads": _decoder_heads(decoder, text),
    }
    return with_fields(base, fields)


def _decoder_heads(decoder: Shapes, text: Any) -> int | None:
    """Return the heads that the one key and value head tells; None where the text has as many."""
    both = most_common(decoder, r"visual_attn_pooler\.to_kv\.weight", 0)
    heads = text.width // (both // 2) if both else text.num_heads
    return None if heads == text.num_heads else heads


def _infer_qa(shapes: Shapes, base: Any) -> internvideo_qa.InternVideoQAConfig:
    towers = _towers(below(shapes, "towers."), base.towers if base else None, None)
    answers = required(shapes, r"vqa_classifier\.5\.bias", 0, "number of answers")
    base = base or internvideo_qa.SIZES["b16"]
    return with_fields(base, {"towers": towers, "num_classes": answers})


def _traits(config: Any) -> dict[str, Any]:
    return {
        **viclip.tower_traits(config),
        "decoder_depth": config.decoder_depth,
        "decoder_queries": config.decoder_queries,
    }


def _qa_traits(config: Any) -> dict[str, Any]:
    return {**_traits(config.towers), "num_classes": config.num_classes}


_TINY = internvideo_mm.InternVideoMMConfig(
    vision=uniformerv2.TINY,
    text=clip.TINY_TEXT,
    embed_dim=clip.TINY_TEXT.embed_dim,
    vocabulary=clip.TINY_WORDS,
    decoder_depth=2,
    decoder_queries=5,
)
_TINY_POOLED = dataclasses.replace(_TINY, vision=viclip.TINY_POOLED.vision, projection_norm="batch")

INTERNVIDEO_MM = Architecture(
    id="internvideo-mm",
    model=internvideo_mm.InternVideoMM,
    config=internvideo_mm.InternVideoMMConfig,
    sizes=internvideo_mm.SIZES,
    tiny={"released": _TINY, "pooled": _TINY_POOLED},
    tables={"official": OFFICIAL},
    infer=_infer,
    traits=_traits,
    preset="internvideo-mm",
)

TWO_TOWERS = dataclasses.replace(
    INTERNVIDEO_MM,
    id="internvideo-mm/retrieval",
    sizes={
        name: dataclasses.replace(
            size,
            decoder_depth=0,
            vision=dataclasses.replace(size.vision, global_drop_rate=0.0),  # pretrained with 0.5
        )
        for name, size in internvideo_mm.SIZES.items()
    },
    tiny={"released": dataclasses.replace(_TINY, decoder_depth=0)},
)
"""What fine-tuning for retrieval leaves: the two towers."""

QUESTION_ANSWERING = Architecture(
    id="internvideo-mm/question-answering",
    model=internvideo_qa.InternVideoQA,
    config=internvideo_qa.InternVideoQAConfig,
    sizes=internvideo_qa.SIZES,
    tiny={
        "released": internvideo_qa.InternVideoQAConfig(towers=_TINY, num_classes=6),
        "pooled": internvideo_qa.InternVideoQAConfig(towers=_TINY_POOLED, num_classes=6),
        "without-decoder": internvideo_qa.InternVideoQAConfig(
            towers=dataclasses.replace(_TINY, decoder_depth=0), num_classes=6
        ),
    },
    tables={"official": OFFICIAL_QA},
    infer=_infer_qa,
    traits=_qa_traits,
    preset="internvideo-mm-qa",
)
"""What fine-tuning for question answering leaves."""
