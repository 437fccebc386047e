"""InternVideo-MM: both towers and the caption decoder in one file, as Lightning saved it."""

from __future__ import annotations

import dataclasses
from typing import Any

from internvideo.models import internvideo_mm
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.renames import Rename, RenameTable
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["INTERNVIDEO_MM", "OFFICIAL", "TWO_TOWERS"]

_TEXT_TABLES = ("positional_embedding", "text_projection")
_TEXT_MODULES = ("transformer", "token_embedding", "ln_final")

OFFICIAL = RenameTable(
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
    block = r"transformer\.resblocks\.\d+\.ln_[12]\.weight"
    width = required(shapes, rf"visual\.{block}", 0, "width of the video tower")
    text_width = required(shapes, rf"text_encoder\.{block}", 0, "width of the text tower")
    sizes = internvideo_mm.SIZES
    base = base or next((s for s in sizes.values() if s.vision.width == width), sizes["b16"])
    embed = required(
        shapes, r"(visual_proj|text_encoder\.text_projection)", 1, "dimension of the joint space"
    )
    has_decoder = any(name.startswith("caption_decoder.") for name in shapes)
    queries = most_common(shapes, r"caption_decoder\.visual_queries", 0)
    fields = {
        "vision": _infer_vision(shapes, base.vision, width),
        "text": CLIPTextConfig(
            vocab_size=most_common(shapes, r"text_encoder\.token_embedding\.weight", 0)
            or base.text.vocab_size,
            context_length=most_common(shapes, r"text_encoder\.positional_embedding", 0)
            or base.text.context_length,
            width=text_width,
            depth=depth_of(shapes, r"text_encoder\.transformer\.resblocks"),
            num_heads=base.text.num_heads
            if base.text.width == text_width
            else heads_of(text_width, {}),
            embed_dim=embed,
        ),
        "embed_dim": embed,
        "decoder_depth": depth_of(shapes, r"caption_decoder\.multimodal_layers")
        if has_decoder
        else 0,
        "decoder_queries": queries or base.decoder_queries,
    }
    return with_fields(base, fields)


def _infer_vision(shapes: Shapes, base: UniFormerV2Config, width: int) -> UniFormerV2Config:
    kernel = shapes.get("visual.conv1.weight", ())
    patch = kernel[-1] if len(kernel) == 5 and min(kernel) > 0 else base.patch_size
    rows = most_common(shapes, r"visual\.positional_embedding", 0) or 0
    depth = depth_of(shapes, r"visual\.transformer\.resblocks")
    num_global = depth_of(shapes, r"visual\.transformer\.dec")
    same = base.width == width
    return with_fields(
        base,
        {
            "image_size": round((rows - 1) ** 0.5) * patch if rows > 1 else base.image_size,
            "patch_size": patch,
            "width": width,
            "depth": depth,
            "num_heads": base.num_heads if same else heads_of(width, {}),
            "global_layers": base.global_layers
            if same and (base.depth, len(base.global_layers)) == (depth, num_global)
            else tuple(range(depth - num_global, depth)),
            "global_heads": base.global_heads if same else None,
        },
    )


def _traits(config: Any) -> dict[str, Any]:
    vision, text = config.vision, config.text
    return {
        "vision": (type(vision).__name__, vision.width, vision.depth, vision.patch_size),
        "text": (text.width, text.depth, text.vocab_size),
        "embed_dim": config.embed_dim,
        "decoder_depth": config.decoder_depth,
        "decoder_queries": config.decoder_queries,
    }


INTERNVIDEO_MM = Architecture(
    id="internvideo-mm",
    model=internvideo_mm.InternVideoMM,
    config=internvideo_mm.InternVideoMMConfig,
    sizes=internvideo_mm.SIZES,
    tables={"official": OFFICIAL},
    infer=_infer,
    traits=_traits,
    preset="internvideo-mm",
)

TWO_TOWERS = dataclasses.replace(
    INTERNVIDEO_MM,
    id="internvideo-mm/retrieval",
    sizes={
        name: dataclasses.replace(size, decoder_depth=0)
        for name, size in internvideo_mm.SIZES.items()
    },
)
"""What fine-tuning for retrieval leaves: the two towers."""
