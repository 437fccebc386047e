"""Detectors of actions in boxes on the transformers of VideoMAE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internvideo.formats.box_rows import NUM_CLASSES
from internvideo.models import action_detector
from internvideo.models.action_detector import ActionDetectorConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.videomae import TINY_STEM, classifier_traits, unseen_of_vit, vit_fields
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes, required, with_fields

__all__ = ["DETECTOR"]

_RELATIONS = "head.fc2.weight"


def _infer(shapes: Shapes, base: Any) -> ActionDetectorConfig:
    related = _RELATIONS in shapes
    name = r"head\.fc2\.weight" if related else r"head\.(weight|bias)"
    fields = {
        **vit_fields(shapes, base),
        "num_classes": required(shapes, name, 0, "number of classes"),
        "head": "acar" if related else "linear",
        "final_norm": True,
    }
    return with_fields(base or ActionDetectorConfig(), fields)


def _traits(config: Any) -> dict[str, Any]:
    return {**classifier_traits(config), "head": config.head}


def _suits(shapes: Shapes) -> bool:
    """Tell a detector of AVA from a classifier of the first token, whose names are the same."""
    of_ava = shapes.get("head.weight", (0,))[:1] == (NUM_CLASSES,)
    return _RELATIONS in shapes or (of_ava and "fc_norm.weight" not in shapes)


_TINY = ActionDetectorConfig(
    image_size=(24, 32), num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, num_classes=5,
    roi_size=3, roi_stride=8,
)  # fmt: skip

DETECTOR = Architecture(
    id="videomae/action-detection",
    model=action_detector.ActionDetector,
    config=ActionDetectorConfig,
    sizes=action_detector.SIZES,
    tiny={
        "released": _TINY,
        "relations": replace(_TINY, head="acar", image_size=32),
        "stem": replace(
            _TINY, image_size=32, patch_size=16, roi_stride=16, tubelet_size=1, stem=TINY_STEM.stem
        ),
    },
    tables={"official": SAME_NAMES},
    unseen=unseen_of_vit,
    infer=_infer,
    traits=_traits,
    preset="ava",
    suits=_suits,
)
