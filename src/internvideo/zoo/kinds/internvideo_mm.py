"""InternVideo-MM: both towers and the caption decoder in one file, as Lightning saved it."""

from __future__ import annotations

import dataclasses
from typing import Any

from internvideo.models import internvideo_mm
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import clip, uniformerv2, viclip
from internvideo.zoo.layouts import Layout, Rename
from internvideo.zoo.shapes import Shapes, below, depth_of, most_common, required, with_fields

__all__ = ["INTERNVIDEO_MM", "OFFICIAL", "TWO_TOWERS"]

_TEXT_TABLES = ("positional_embedding", "text_projection")
_TEXT_MODULES = ("transformer", "token_embedding", "ln_final")

OFFICIAL = Layout(
    (
        Rename("caption_decoder.{rest}", "caption_decoder.{rest}"),
        *(Rename(f"clip.{name}", f"text_encoder.{name}") for name in _TEXT_TABLES),
        *(
            Rename(f"clip.{name}.{{rest}}", f"text_encoder.{name}.{{rest}}")
            for name in _TEXT_MODULES
        ),
        Rename("clip.{rest}", "{rest}"),
    )
)
"""The text tower lies at the root of `clip.`; here it is a module of its own."""


def _infer(shapes: Shapes, base: Any) -> internvideo_mm.InternVideoMMConfig:
    vision, decoder = below(shapes, "visual."), below(shapes, "caption_decoder.")
    width, sizes = clip.tower_width(vision, "video"), internvideo_mm.SIZES
    base = base or next((s for s in sizes.values() if s.vision.width == width), sizes["b16"])
    embed = required(
        shapes, r"(visual_proj|text_encoder\.text_projection)", 1, "dimension of the joint space"
    )
    fields = {
        "vision": with_fields(base.vision, uniformerv2.encoder_fields(vision, base.vision)),
        "text": clip.text_config(below(shapes, "text_encoder."), base.text, embed_dim=embed),
        "embed_dim": embed,
        "decoder_depth": depth_of(decoder, "multimodal_layers") if decoder else 0,
        "decoder_queries": most_common(decoder, "visual_queries", 0) or base.decoder_queries,
    }
    return with_fields(base, fields)


def _traits(config: Any) -> dict[str, Any]:
    return {
        **viclip.tower_traits(config),
        "decoder_depth": config.decoder_depth,
        "decoder_queries": config.decoder_queries,
    }


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
