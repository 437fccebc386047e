"""Fine-tuned classifiers of the unmasked teacher (UMT)."""

from __future__ import annotations

from typing import Any

from internvideo.errors import CheckpointError
from internvideo.models import umt_classifier
from internvideo.models.umt_classifier import UMTClassifierConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.videomae import classifier_traits, vit_fields
from internvideo.zoo.renames import SAME_NAMES
from internvideo.zoo.shapes import Shapes, required, with_fields

__all__ = ["CLASSIFIER"]


def _infer(shapes: Shapes, base: Any) -> UMTClassifierConfig:
    base = base or UMTClassifierConfig(num_classes=1)
    table = shapes.get("pos_embed")
    fields = vit_fields({n: s for n, s in shapes.items() if n != "pos_embed"}, base)
    fields["num_classes"] = required(shapes, r"head\.(weight|bias)", 0, "number of classes")
    if table is not None:
        fields |= _stored_grid(table, base, patch=fields["patch_size"])
    return with_fields(base, fields)


def _stored_grid(
    table: tuple[int, ...], base: UMTClassifierConfig, *, patch: int
) -> dict[str, int]:
    """Return the frames and pixels that a stored position table is made for.

    Of the pairs with that many tokens: the one with the pixels of the base, or else its frames.
    """
    tokens = table[1] if len(table) == 3 else 0
    a_frame = (base.image_size // patch) ** 2
    side = round((tokens / base.num_frames) ** 0.5)
    if tokens == base.num_frames * side**2 and side:
        return {"image_size": side * patch, "num_frames": base.num_frames}
    if tokens and tokens % a_frame == 0:
        return {"image_size": base.image_size, "num_frames": tokens // a_frame}
    raise CheckpointError(
        f"pos_embed {table} fits neither {base.num_frames} frames nor {base.image_size} pixels; "
        "give a folder with config.json"
    )


def _traits(config: Any) -> dict[str, Any]:
    return {**classifier_traits(config), "grid": config.grid}


def _has_single_frame_tubelets(shapes: Shapes) -> bool:
    kernel = shapes.get("patch_embed.proj.weight", ())
    return len(kernel) == 5 and kernel[2] == 1


CLASSIFIER = Architecture(
    id="unmasked-teacher/classifier",
    model=umt_classifier.UMTClassifier,
    config=UMTClassifierConfig,
    sizes=umt_classifier.SIZES,
    tables={"official": SAME_NAMES},
    infer=_infer,
    traits=_traits,
    preset="umt-kinetics",
    suits=_has_single_frame_tubelets,
)
