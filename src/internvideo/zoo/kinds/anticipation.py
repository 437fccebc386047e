"""What will be done with an object, and when: heads on boxes, on the transformers of VideoMAE."""

from __future__ import annotations

from typing import Any

from internvideo.models import contact_anticipator
from internvideo.models.contact_anticipator import ContactAnticipatorConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.videomae import unseen_of_vit, vit_fields, vit_traits
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes, required, with_fields

__all__ = ["ANTICIPATOR"]


def _infer(shapes: Shapes, base: Any) -> ContactAnticipatorConfig:
    name = r"ROIHEAD\.verb_projection\.(weight|bias)"
    verbs = required(shapes, name, 0, "number of verbs") - 1
    return with_fields(
        base or ContactAnticipatorConfig(), {**vit_fields(shapes, base), "num_verbs": verbs}
    )


def _traits(config: ContactAnticipatorConfig) -> dict[str, Any]:
    return {**vit_traits(config), "num_verbs": config.num_verbs}


ANTICIPATOR = Architecture(
    id="videomae/anticipation",
    model=contact_anticipator.ContactAnticipator,
    config=ContactAnticipatorConfig,
    sizes=contact_anticipator.SIZES,
    tiny={
        "released": ContactAnticipatorConfig(
            image_size=(24, 32), num_frames=4, patch_size=8, width=16, depth=2, num_heads=2,
            num_verbs=5, roi_size=3, roi_stride=8,
        )
    },
    tables={"official": SAME_NAMES},
    unseen=unseen_of_vit,
    infer=_infer,
    traits=_traits,
    preset="ego4d-sta",
)  # fmt: skip
