"""ActionFormer: a detector of actions in the features of untrimmed videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internvideo.models import actionformer
from internvideo.models.actionformer_config import ActionFormerConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.shapes import Shapes, depth_of, most_common, required, with_fields
from internvideo.zoo.tables import OFFICIAL_ACTIONFORMER

__all__ = ["ACTIONFORMER"]

_HEADS = {size.width: size.num_heads for size in actionformer.SIZES.values()}
_MAX_DEPTH = 16  # of a head
_TOLD = ("num_classes", "input_dims", "width", "num_branch", "first_level")


def _infer(shapes: Shapes, base: ActionFormerConfig | None) -> ActionFormerConfig:
    fields = {**_backbone_fields(shapes), **_head_fields(shapes)}
    fields["first_level"] = fields["num_branch"] + 1 - fields.pop("num_levels")
    usual = base or _alike(fields, _TOLD) or _alike(fields, _TOLD[1:])
    usual = usual or actionformer.SIZES["thumos-i3d"]
    if usual.width != fields["width"]:
        fields["num_heads"] = _HEADS.get(fields["width"], max(fields["width"] // 128, 1))
    if len(usual.windows) not in (1, fields["num_branch"] + 1):
        fields["windows"] = usual.windows[:1]
    if any(name.endswith(".attn.rel_pe") for name in shapes):
        fields |= _relative_fields(shapes, fields["num_branch"])
    drops = any(name.endswith(".drop_path_attn.scale") for name in shapes)
    fields["drop_path_rate"] = (usual.drop_path_rate or 0.1) if drops else 0.0
    return with_fields(usual, fields)


def _alike(fields: dict[str, Any], names: tuple[str, ...]) -> ActionFormerConfig | None:
    """Return the first published size with the same values of these fields."""
    sizes = actionformer.SIZES.values()
    return next((s for s in sizes if all(getattr(s, name) == fields[name] for name in names)), None)


def _backbone_fields(shapes: Shapes) -> dict[str, Any]:
    first, projected = r"backbone\.embd\.0\.conv\.weight", r"backbone\.proj\.\d+\.conv\.weight"
    width = required(shapes, first, 0, "width of the detector")
    kinds = depth_of(shapes, r"backbone\.proj") if most_common(shapes, projected, 0) else 0
    streams = [shapes.get(f"backbone.proj.{n}.conv.weight", (0, 0)) for n in range(kinds)]
    inputs = tuple(shape[1] for shape in streams) or (required(shapes, first, 1, "input"),)
    convolves = any(name.startswith("backbone.stem.0.conv1.") for name in shapes)
    return {
        "input_dims": inputs,
        "embed_dims": tuple(shape[0] for shape in streams),
        "width": width,
        "num_embed": depth_of(shapes, r"backbone\.embd"),
        "embed_kernel": required(shapes, first, 2, "kernel of the first convolution"),
        "embed_norm": any(name.startswith("backbone.embd_norm.") for name in shapes),
        "num_stem": depth_of(shapes, r"backbone\.stem"),
        "num_branch": depth_of(shapes, r"backbone\.branch"),
        "backbone": "convolution" if convolves else "attention",
        "relative": False,
    }


def _head_fields(shapes: Shapes) -> dict[str, Any]:
    scores = r"cls_head\.cls_head\.conv\.weight"
    return {
        "num_classes": required(shapes, scores, 0, "number of classes"),
        "head_width": required(shapes, scores, 1, "width of the heads"),
        "head_kernel": required(shapes, scores, 2, "kernel of the heads"),
        "head_depth": 1
        + sum(f"cls_head.head.{n}.conv.weight" in shapes for n in range(_MAX_DEPTH)),
        "head_norm": any(name.startswith("cls_head.norm.") for name in shapes),
        "neck": "fpn" if any(n.startswith("neck.lateral_convs.") for n in shapes) else "identity",
        "neck_norm": any(name.startswith("neck.fpn_norms.") for name in shapes),
        "num_levels": depth_of(shapes, r"reg_head\.scale"),
    }


def _relative_fields(shapes: Shapes, num_branch: int) -> dict[str, Any]:
    """Return what learnt relative positions tell; levels without any see everything."""
    blocks = ["stem.0", *(f"branch.{n}" for n in range(num_branch))]
    tables = [shapes.get(f"backbone.{block}.attn.rel_pe", (1, 1, 0, -1)) for block in blocks]
    return {
        "relative": True,
        "num_heads": max(shape[2] for shape in tables),
        "windows": tuple(shape[3] for shape in tables),
    }


def _unseen(shapes: Shapes) -> tuple[str, ...]:
    """Return what no shape tells."""
    if any(name.endswith(".attn.rel_pe") for name in shapes):
        return ("max_length", "positions", "padding")
    if any(name.startswith("backbone.stem.0.conv1.") for name in shapes):
        return ("max_length", "positions", "padding")
    return ("windows", "num_heads", "max_length", "positions", "padding")


def _traits(config: ActionFormerConfig) -> dict[str, Any]:
    names = (*_TOLD, "embed_dims", "backbone", "relative", "neck", "head_width", "head_depth")
    return {name: getattr(config, name) for name in names}


_TINY = ActionFormerConfig(
    input_dims=(12,),
    num_classes=3,
    width=16,
    num_heads=2,
    windows=(5,),
    num_stem=1,
    num_branch=2,
    max_length=48,
    head_width=16,
)
_STREAMS = replace(
    _TINY,
    input_dims=(6, 4, 2),
    embed_dims=(8, 4, 4),
    windows=(3, 5, -1),
    relative=True,
    positions=True,
    neck="fpn",
    first_level=1,
)

ACTIONFORMER = Architecture(
    id="actionformer",
    model=actionformer.ActionFormer,
    config=ActionFormerConfig,
    sizes=actionformer.SIZES,
    tiny={
        "window": _TINY,
        "reference": replace(_TINY, padding="reference", positions=True),
        "streams": _STREAMS,
        "convolution": replace(
            _TINY,
            backbone="convolution",
            embed_kernel=5,
            embed_norm=False,
            head_norm=False,
            drop_path_rate=0.0,
        ),
    },
    tables={"official": OFFICIAL_ACTIONFORMER},
    infer=_infer,
    traits=_traits,
    preset="tal-features",
    unseen=_unseen,
)
