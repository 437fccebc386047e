"""ViCLIP, and the image CLIP that it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.models import viclip
from internvideo.models.clip_init import text_state_from_clip, vision_state_from_clip
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.renames import OPENAI_CLIP, SAME_NAMES
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["IMAGE_CLIP", "VICLIP"]


def _infer_viclip(shapes: Shapes, base: Any) -> viclip.ViCLIPConfig:
    block = r"transformer\.resblocks\.\d+\.ln_[12]\.weight"
    width = required(shapes, rf"vision_encoder\.{block}", 0, "width of the video tower")
    text_width = required(shapes, rf"text_encoder\.{block}", 0, "width of the text tower")
    base = base or next((s for s in viclip.SIZES.values() if s.vision.width == width), None)
    base = base or viclip.SIZES["b16"]
    kernel = shapes.get("vision_encoder.conv1.weight", ())
    tubelet, patch = (
        (kernel[2], kernel[3])
        if len(kernel) == 5 and min(kernel) > 0
        else (base.vision.tubelet_size, base.vision.patch_size)
    )
    steps = most_common(shapes, r"vision_encoder\.temporal_positional_embedding", 1)
    rows = most_common(shapes, r"vision_encoder\.positional_embedding", 0) or 0
    embed = required(
        shapes, r"(vision_encoder\.proj|text_encoder\.text_projection)", 1, "joint dimension"
    )
    vision = with_fields(
        base.vision,
        {
            "width": width,
            "depth": depth_of(shapes, r"vision_encoder\.transformer\.resblocks"),
            "num_heads": heads_of(width, {}),
            "tubelet_size": tubelet,
            "patch_size": patch,
            "num_frames": steps * tubelet if steps else base.vision.num_frames,
            "image_size": round((rows - 1) ** 0.5) * patch if rows > 1 else base.vision.image_size,
            "embed_dim": embed,
        },
    )
    tokens = most_common(shapes, r"text_encoder\.token_embedding\.weight", 0)
    context = most_common(shapes, r"text_encoder\.positional_embedding", 0)
    text = CLIPTextConfig(
        vocab_size=tokens or base.text.vocab_size,
        context_length=context or base.text.context_length,
        width=text_width,
        depth=depth_of(shapes, r"text_encoder\.transformer\.resblocks"),
        num_heads=heads_of(text_width, {}),
        embed_dim=embed,
    )
    return with_fields(base, {"vision": vision, "text": text, "embed_dim": embed})


def _viclip_from_clip(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a ViCLIP that equals image CLIP on a still: new time positions are zero.

    CLIP multiplies cosines by exp(logit_scale), ViCLIP divides them by its temperature.
    """
    grid = round((_need_tensor(clip, "visual.positional_embedding").shape[0] - 1) ** 0.5)
    context = _need_tensor(clip, "positional_embedding").shape[0]
    steps = viclip.SIZES["b16"].vision.num_frames
    vision = vision_state_from_clip(clip, grid=grid, num_steps=steps)
    text = text_state_from_clip(clip, context_length=context)
    state = {f"vision_encoder.{name}": value for name, value in vision.items()}
    state |= {f"text_encoder.{name}": value for name, value in text.items()}
    if "logit_scale" in clip:
        state["temp"] = torch.exp(-clip["logit_scale"].float())
    return state


def _need_tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state or state[name].ndim != 2:
        raise CheckpointError(f"not the weights of CLIP: no two-dimensional {name}")
    return state[name]


def _clip_size(name: str, **vision: int) -> viclip.ViCLIPConfig:
    base = viclip.SIZES[name]
    return dataclasses.replace(
        base,
        vision=dataclasses.replace(base.vision, **vision),
        text=dataclasses.replace(base.text, context_length=77),
    )


def _viclip_traits(config: Any) -> dict[str, Any]:
    vision, text = config.vision, config.text
    return {
        "vision": (type(vision).__name__, vision.width, vision.depth, vision.patch_size),
        "text": (text.width, text.depth, text.vocab_size),
        "tubelet_size": vision.tubelet_size,
        "embed_dim": config.embed_dim,
    }


VICLIP = Architecture(
    id="viclip",
    model=viclip.ViCLIP,
    config=viclip.ViCLIPConfig,
    sizes=viclip.SIZES,
    tables={"official": SAME_NAMES},
    infer=_infer_viclip,
    traits=_viclip_traits,
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
    tables={"official": OPENAI_CLIP},
    infer=_infer_viclip,
    traits=_viclip_traits,
    preset="viclip-eval",
    adapt=_viclip_from_clip,
)
