"""UniFormerV2: classifiers on CLIP's image transformer with a video token."""

from __future__ import annotations

from typing import Any

from internvideo.models import uniformerv2_classifier
from internvideo.models.uniformerv2_classifier import UniFormerV2ClassifierConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.renames import SAME_NAMES, Rename, RenameTable
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["CLASSIFIER"]

_OFFICIAL = RenameTable((Rename("backbone.{rest}", "{rest}"),))
_BLOCK = r"transformer\.resblocks\.\d+"
_DOWNSAMPLING_KERNEL = 3


def _infer_classifier(shapes: Shapes, base: Any) -> UniFormerV2ClassifierConfig:
    """Read the configuration; heads and the places of the global blocks follow the releases.

    Every released model has 64 channels a head and its global blocks after the last blocks.
    """
    width = required(shapes, rf"{_BLOCK}\.ln_[12]\.weight", 0, "width")
    sizes = uniformerv2_classifier.SIZES.values()
    usual = base or next((size for size in sizes if size.width == width), None)
    usual = usual or UniFormerV2ClassifierConfig(num_classes=1)
    kernel = shapes.get("conv1.weight", ())
    steps, patch = kernel[2:4] if len(kernel) == 5 and min(kernel) > 0 else (1, usual.patch_size)
    depth = depth_of(shapes, r"transformer\.resblocks")
    num_global = depth_of(shapes, r"transformer\.dec")
    places = tuple(range(max(depth - num_global, 0), depth))
    if base is not None and (base.depth, len(base.global_layers)) == (depth, num_global):
        places = base.global_layers
    hidden = required(shapes, r"transformer\.dec\.\d+\.mlp\.c_fc\.weight", 0, "width of the MLP")
    downsample = steps == _DOWNSAMPLING_KERNEL
    fields = {
        "image_size": _image_size(shapes, patch, usual),
        "num_frames": base.num_frames if base is not None else 16 if downsample else 8,
        "patch_size": patch,
        "temporal_downsample": downsample,
        "width": width,
        "depth": depth,
        "num_heads": usual.num_heads if usual.width == width else heads_of(width, {}),
        "global_layers": places,
        "global_mlp_ratio": hidden / width,
        "frozen": "transformer.balance" not in shapes,
        "num_classes": required(
            shapes, r"transformer\.proj\.2\.(weight|bias)", 0, "number of classes"
        ),
        **_local_fields(shapes, width, usual),
    }
    return with_fields(usual, fields)


def _image_size(shapes: Shapes, patch: int, usual: UniFormerV2ClassifierConfig) -> int:
    rows = most_common(shapes, r"positional_embedding", 0) or 0
    side = round((rows - 1) ** 0.5) if rows > 1 else usual.image_size // patch or 1
    return side * patch


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


CLASSIFIER = Architecture(
    id="uniformerv2/classifier",
    model=uniformerv2_classifier.UniFormerV2Classifier,
    config=UniFormerV2ClassifierConfig,
    sizes=uniformerv2_classifier.SIZES,
    tables={"official": _OFFICIAL, "bare": SAME_NAMES},
    infer=_infer_classifier,
    traits=_traits,
    preset="uniformerv2-kinetics",
    preset_of=_protocol,
)
