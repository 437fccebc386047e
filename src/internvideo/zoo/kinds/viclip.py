"""ViCLIP, and the image CLIP that it starts from."""

from __future__ import annotations

import dataclasses
from typing import Any

from internvideo.models import viclip
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import clip, videomae
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes, below, most_common, required, with_fields
from internvideo.zoo.tables import HF_CLIP, OPEN_CLIP_CUSTOM, OPENAI_CLIP

__all__ = ["IMAGE_CLIP", "TINY_POOLED", "VICLIP", "tower_traits"]


def _infer_viclip(shapes: Shapes, base: Any) -> viclip.ViCLIPConfig:
    video, sizes = below(shapes, "vision_encoder."), viclip.SIZES
    width = clip.tower_width(video, "video")
    base = base or next((s for s in sizes.values() if s.vision.width == width), sizes["b16"])
    embed = required(
        shapes, r"(vision_encoder\.proj|text_encoder\.text_projection)", 1, "joint dimension"
    )
    kernel = video.get("conv1.weight", ())
    tubelet = kernel[2] if len(kernel) == 5 and min(kernel) > 0 else base.vision.tubelet_size
    steps = most_common(video, "temporal_positional_embedding", 1)
    vision = {
        **clip.image_fields(video, base.vision),
        "tubelet_size": tubelet,
        "num_frames": steps * tubelet if steps else base.vision.num_frames,
        "embed_dim": embed,
    }
    fields = {
        "vision": with_fields(base.vision, vision),
        "text": clip.text_config(below(shapes, "text_encoder."), base.text, embed_dim=embed),
        "embed_dim": embed,
    }
    return with_fields(base, fields)


def _unseen_of_clip(shapes: Shapes) -> tuple[str, ...]:
    return ("vision.activation", "text.activation")


def _clip_size(name: str, **vision: int) -> viclip.ViCLIPConfig:
    base = viclip.SIZES[name]
    return dataclasses.replace(
        base,
        vision=dataclasses.replace(base.vision, **vision),
        text=dataclasses.replace(base.text, context_length=77),
    )


def tower_traits(config: Any) -> dict[str, Any]:
    """Return the values that tell two models of a video tower and a text tower of CLIP apart."""
    vision, text = config.vision, config.text
    return {
        "vision": (type(vision).__name__, vision.width, vision.depth, vision.patch_size),
        "text": (text.width, text.depth, text.vocab_size),
        "embed_dim": config.embed_dim,
    }


def _traits(config: Any) -> dict[str, Any]:
    return {**tower_traits(config), "tubelet_size": config.vision.tubelet_size}


_TINY = viclip.ViCLIPConfig(
    vision=viclip.ViCLIPVisionConfig(
        image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, embed_dim=8
    ),
    text=clip.TINY_TEXT,
    embed_dim=clip.TINY_TEXT.embed_dim,
    vocabulary=clip.TINY_WORDS,
    temp_init=0.1,
)
TINY_POOLED = dataclasses.replace(_TINY, vision=videomae.TINY_STEM, projection_norm="batch")


VICLIP = Architecture(
    id="viclip",
    model=viclip.ViCLIP,
    config=viclip.ViCLIPConfig,
    sizes=viclip.SIZES,
    tiny={"released": _TINY, "pooled": TINY_POOLED},
    tables={"official": SAME_NAMES},
    infer=_infer_viclip,
    traits=_traits,
    preset="viclip-eval",
)

IMAGE_CLIP = Architecture(
    id="openai-clip",
    model=viclip.ViCLIP,
    config=viclip.ViCLIPConfig,
    sizes={
        "b16": _clip_size("b16"),
        "b32": _clip_size("b16", patch_size=32),
        "l14": _clip_size("l14"),
        "l14-336": _clip_size("l14", image_size=336),
    },
    tiny={"released": _TINY},
    tables={
        "official": OPENAI_CLIP,
        "open-clip": OPENAI_CLIP,
        "open-clip-custom": OPEN_CLIP_CUSTOM,
        "hf": HF_CLIP,
    },
    infer=_infer_viclip,
    traits=_traits,
    preset="viclip-eval",
    unseen=_unseen_of_clip,
)
