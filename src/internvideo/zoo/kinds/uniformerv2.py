"""UniFormerV2: classifiers on CLIP's image transformer with a video token."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from internvideo.models import uniformerv2_classifier
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.uniformerv2_classifier import UniFormerV2ClassifierConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import clip
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes, depth_of, most_common, required, with_fields
from internvideo.zoo.tables import MMACTION_UNIFORMERV2, OFFICIAL_UNIFORMERV2

__all__ = ["CLASSIFIER", "TINY", "TINY_CLASSIFIER", "encoder_fields"]

_BLOCK = r"transformer\.resblocks\.\d+"
_DOWNSAMPLING_KERNEL = 3


def encoder_fields(shapes: Shapes, base: UniFormerV2Config) -> dict[str, Any]:
    """Return what shapes tell of any `UniFormerV2`.

    Every released model has 64 channels a head and its global blocks after the last blocks.
    """
    fields: dict[str, Any] = clip.image_fields(shapes, base)
    depth, num_global = fields["depth"], depth_of(shapes, r"transformer\.dec")
    if (base.depth, len(base.global_layers)) != (depth, num_global):
        fields["global_layers"] = tuple(range(max(depth - num_global, 0), depth))
    if base.width != fields["width"]:
        fields["global_heads"] = None
    return fields


def _infer_classifier(shapes: Shapes, base: Any) -> UniFormerV2ClassifierConfig:
    width, sizes = clip.tower_width(shapes, "video"), uniformerv2_classifier.SIZES.values()
    usual = base or next((size for size in sizes if size.width == width), None)
    usual = usual or UniFormerV2ClassifierConfig(num_classes=1)
    kernel = shapes.get("conv1.weight", ())
    downsample = len(kernel) == 5 and min(kernel) > 0 and kernel[2] == _DOWNSAMPLING_KERNEL
    hidden = required(shapes, r"transformer\.dec\.\d+\.mlp\.c_fc\.weight", 0, "width of the MLP")
    fields = {
        **encoder_fields(shapes, usual),
        "num_frames": base.num_frames if base is not None else 16 if downsample else 8,
        "temporal_downsample": downsample,
        "global_mlp_ratio": hidden / width,
        "frozen": "transformer.balance" not in shapes,
        "num_classes": most_common(shapes, r"transformer\.proj\.2\.(weight|bias)", 0) or 0,
        **_local_fields(shapes, width, usual),
    }
    return with_fields(usual, fields)


def _local_fields(shapes: Shapes, width: int, usual: UniFormerV2ClassifierConfig) -> dict[str, Any]:
    """Return which local relation aggregators the blocks have, and how narrow they are."""
    weights = (rf"{_BLOCK}\.lmhra{i}\.pos_embed\.1\.weight" for i in (1, 2))
    first, second = (most_common(shapes, pattern, 0) for pattern in weights)
    if not first:
        return {"local_mhra": "none"}
    reduction = usual.local_reduction
    if int(width // reduction) != first:
        reduction = width / (first + 0.5)  # whose integer part is `first`
    return {"local_mhra": "double" if second else "single", "local_reduction": reduction}


def _traits(config: UniFormerV2ClassifierConfig) -> dict[str, Any]:
    names = (
        "image_size", "patch_size", "temporal_downsample", "width", "depth", "local_mhra",
        "local_channels", "frozen", "num_classes",
    )  # fmt: skip
    values = {name: getattr(config, name) for name in names}
    return {**values, "num_global_blocks": len(config.global_layers)}


def _protocol(config: UniFormerV2ClassifierConfig) -> str:
    """Frames of Something-Something were read in the channel order of OpenCV."""
    return "uniformerv2-sth" if config.temporal_downsample else "uniformerv2-kinetics"


TINY = UniFormerV2Config(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=3, num_heads=2, global_layers=(1, 2)
)
"""A miniature of the encoder of Kinetics."""

TINY_CLASSIFIER = UniFormerV2ClassifierConfig(**asdict(TINY), num_classes=5)

CLASSIFIER = Architecture(
    id="uniformerv2/classifier",
    model=uniformerv2_classifier.UniFormerV2Classifier,
    config=UniFormerV2ClassifierConfig,
    sizes=uniformerv2_classifier.SIZES,
    tiny={
        "kinetics": TINY_CLASSIFIER,
        "sth": replace(TINY_CLASSIFIER, temporal_downsample=True, local_mhra="double"),
        "frozen": replace(TINY_CLASSIFIER, frozen=True),
    },
    tables={
        "official": OFFICIAL_UNIFORMERV2,
        "bare": SAME_NAMES,
        "mmaction2": MMACTION_UNIFORMERV2,
    },
    infer=_infer_classifier,
    traits=_traits,
    preset="uniformerv2-kinetics",
    preset_of=_protocol,
)
