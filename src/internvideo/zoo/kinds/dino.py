"""DINO: finds objects in pictures."""

from __future__ import annotations

from dataclasses import fields, replace
from math import isqrt
from typing import Any

from internvideo.models import dino
from internvideo.models.dino import DINOConfig
from internvideo.models.swin import SwinConfig
from internvideo.models.uniformer_pyramid import UniFormerPyramidConfig
from internvideo.models.vit_pyramid import VideoViTPyramidConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import videomae
from internvideo.zoo.kinds.uniformer import pyramid_fields
from internvideo.zoo.layouts import Layout, OnlyTheirs
from internvideo.zoo.shapes import (
    Shapes,
    below,
    depth_of,
    most_common,
    required,
    with_fields,
)

__all__ = ["DINO"]

OFFICIAL = Layout((OnlyTheirs("ema_{rest}"),))
"""Files written with averaged weights hold those under the plain names; the others are left out."""

_HEAD = r"bbox_head\.transformer"
_SWIN = "backbone.patch_embed.projection.weight"
_VIT = "backbone.encoder.patch_embed.proj.weight"


def _infer(shapes: Shapes, base: DINOConfig | None) -> DINOConfig:
    base = base or dino.SIZES["swin-l" if _SWIN in shapes else "uniformer-l"]
    read = _swin if _SWIN in shapes else _vit if _VIT in shapes else _uniformer
    backbone = read(shapes, base.backbone)
    points = required(
        shapes, rf"{_HEAD}\.encoder\..*\.attention_weights\.bias", 0, "points of attention"
    )
    levels = required(shapes, rf"{_HEAD}\.level_embeds", 0, "number of maps")
    heads = base.num_heads
    if points % (levels * heads):
        heads = next(each for each in (4, 2, 1) if points % (levels * each) == 0)
    scores = r"bbox_head\.cls_branches\.\d+\.weight"
    return with_fields(
        base,
        {
            "backbone": backbone,
            "num_classes": required(shapes, scores, 0, "number of classes"),
            "width": required(shapes, scores, 1, "width of the transformer"),
            "num_levels": levels,
            "num_heads": heads,
            "num_points": points // (levels * heads),
            "encoder_depth": depth_of(shapes, rf"{_HEAD}\.encoder\.layers"),
            "decoder_depth": depth_of(shapes, rf"{_HEAD}\.decoder\.layers"),
            "mlp_hidden": required(
                shapes, rf"{_HEAD}\..*\.ffns\.0\.layers\.0\.0\.weight", 0, "feed-forward's width"
            ),
            "num_queries": required(
                shapes, rf"{_HEAD}\.query_embed\.weight", 0, "number of queries"
            ),
        },
    )


def _uniformer(shapes: Shapes, base: Any) -> UniFormerPyramidConfig:
    usual = base if isinstance(base, UniFormerPyramidConfig) else UniFormerPyramidConfig()
    scale = most_common(shapes, r"backbone\.blocks4\.\d+\.gamma_1", 0)
    fields = pyramid_fields(shapes, usual, r"backbone\.")
    return with_fields(usual, {**fields, "layer_scale": scale is not None})


def _swin(shapes: Shapes, base: Any) -> SwinConfig:
    usual = base if isinstance(base, SwinConfig) else SwinConfig()
    width = required(shapes, r"backbone\.patch_embed\.projection\.weight", 0, "width of the Swin")
    blocks = r"backbone\.stages\.{}\.blocks"
    table = blocks + r"\.\d+\.attn\.w_msa\.relative_position_bias_table"
    biases = required(shapes, table.format(0), 0, "window of the Swin")
    hidden = required(
        shapes, blocks.format(0) + r"\.\d+\.ffn\.layers\.0\.0\.weight", 0, "width of the MLPs"
    )
    fields = {
        "width": width,
        "depths": tuple(depth_of(shapes, blocks.format(stage)) for stage in range(4)),
        "num_heads": tuple(
            required(shapes, table.format(stage), 1, "number of heads") for stage in range(4)
        ),
        "window_size": (isqrt(biases) + 1) // 2,
        "mlp_ratio": hidden / width,
    }
    return with_fields(usual, fields)


def _vit(shapes: Shapes, base: Any) -> VideoViTPyramidConfig:
    usual = base if isinstance(base, VideoViTPyramidConfig) else None
    encoder = videomae.ENCODER.infer(below(shapes, "backbone.encoder."), usual)
    return VideoViTPyramidConfig(
        **{part.name: getattr(encoder, part.name) for part in fields(encoder)}
    )


def _traits(config: DINOConfig) -> dict[str, Any]:
    backbone = config.backbone
    return {
        "backbone": type(backbone).__name__,
        "widths": backbone.widths,
        "depths": backbone.depths,
        "width": config.width,
        "num_queries": config.num_queries,
        "num_classes": config.num_classes,
    }


def _unseen(shapes: Shapes) -> tuple[str, ...]:
    others: tuple[str, ...] = ("backbone.head_dim", "backbone.third_stage", "backbone.window_size")
    if _SWIN in shapes:
        others = ()
    elif _VIT in shapes:
        others = ("backbone.num_heads", "backbone.image_size", "backbone.positions")
    return ("num_heads", "norm_groups", "position_temperature", *others)


_TINY = DINOConfig(
    backbone=UniFormerPyramidConfig(
        widths=(16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        head_dim=16,
        third_stage="windows",
        window_size=3,
    ),
    num_classes=2,
    width=32,
    num_heads=4,
    num_points=2,
    encoder_depth=1,
    decoder_depth=2,
    mlp_hidden=48,
    num_queries=12,
    norm_groups=8,
)

DINO = Architecture(
    id="dino/detector",
    model=dino.DINO,
    config=DINOConfig,
    sizes=dino.SIZES,
    tiny={
        "uniformer": _TINY,
        "swin": replace(
            _TINY,
            backbone=SwinConfig(
                width=16, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=4
            ),
        ),
        "vit": replace(
            _TINY,
            backbone=VideoViTPyramidConfig(
                image_size=64, num_frames=4, patch_size=16, width=32, depth=1, num_heads=2
            ),
        ),
    },
    tables={"official": OFFICIAL},
    infer=_infer,
    traits=_traits,
    preset="ego4d-scod",
    unseen=_unseen,
)
