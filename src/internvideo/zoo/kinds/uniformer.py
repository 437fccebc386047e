"""UniFormer for video: classes of clips, or the twenty numbers of future hands."""

from __future__ import annotations

from typing import Any

from internvideo.models import uniformer_video
from internvideo.models.uniformer_video import UniFormerVideoConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes, depth_of, required, with_fields

__all__ = ["UNIFORMER", "pyramid_fields"]


def pyramid_fields(shapes: Shapes, usual: Any, prefix: str = "") -> dict[str, Any]:
    """Return what the shapes of a UniFormer's four stages tell, for pictures or clips.

    Args:
        shapes: of all tensors.
        usual: a configuration; tells the width of a head, where that fits.
        prefix: of its names, as a pattern.
    """
    stages = range(1, 5)
    widths = tuple(
        required(shapes, rf"{prefix}patch_embed{n}\.proj\.weight", 0, "width of a stage")
        for n in stages
    )
    hidden = required(shapes, rf"{prefix}blocks4\.\d+\.mlp\.fc1\.weight", 0, "width of the MLPs")
    fields: dict[str, Any] = {
        "widths": widths,
        "depths": tuple(depth_of(shapes, rf"{prefix}blocks{n}") for n in stages),
        "mlp_ratio": hidden / widths[-1],
    }
    if any(width % usual.head_dim for width in widths[2:]):
        fields["head_dim"] = next(n for n in (32, 16, 8, 4, 2, 1) if not any(w % n for w in widths))
    return fields


def _infer(shapes: Shapes, base: UniFormerVideoConfig | None) -> UniFormerVideoConfig:
    base = base or UniFormerVideoConfig()
    classes = required(shapes, r"head\.(weight|bias)", 0, "number of outputs")
    return with_fields(base, {**pyramid_fields(shapes, base), "num_classes": classes})


def _traits(config: UniFormerVideoConfig) -> dict[str, Any]:
    names = ("widths", "depths", "mlp_ratio", "num_classes")
    return {name: getattr(config, name) for name in names}


UNIFORMER = Architecture(
    id="uniformer/classifier",
    model=uniformer_video.UniFormerVideo,
    config=UniFormerVideoConfig,
    sizes=uniformer_video.SIZES,
    tiny={
        "hands": UniFormerVideoConfig(
            image_size=64, num_frames=4, widths=(4, 8, 16, 16), depths=(1, 1, 2, 1), head_dim=8
        )
    },
    tables={"official": SAME_NAMES},
    infer=_infer,
    traits=_traits,
    preset="ego4d-fhp",
    unseen=lambda _: ("head_dim", "image_size", "num_frames"),
)
