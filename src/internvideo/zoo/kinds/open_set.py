"""Classifiers that know when they see none of their classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internvideo.models import open_set
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.videomae import classifier_fields, classifier_traits, unseen_of_vit
from internvideo.zoo.shapes import Shapes, most_common, with_fields
from internvideo.zoo.tables import OPEN_SET_CLASSIFIER

__all__ = ["OPEN_SET"]


def _infer(shapes: Shapes, base: Any) -> open_set.OpenSetClassifierConfig:
    default = open_set.OpenSetClassifierConfig(num_classes=2)
    fields = classifier_fields(shapes, base or default)
    if (classes := most_common(shapes, r"head\.weight_mu", 0)) is not None:
        fields |= {"num_classes": classes, "head_kind": "bayesian", "score": "bayesian"}
    elif "head.bias" not in shapes and (base is None or base.head_kind == "linear"):
        fields |= {"head_kind": "reciprocal-points", "score": "softmax"}
    return with_fields(base or default, fields)


_TINY = open_set.OpenSetClassifierConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, num_classes=5
)

OPEN_SET = Architecture(
    id="open-set/classifier",
    model=open_set.OpenSetClassifier,
    config=open_set.OpenSetClassifierConfig,
    sizes=open_set.SIZES,
    tiny={
        "released": _TINY,
        "reciprocal-points": replace(_TINY, head_kind="reciprocal-points", score="softmax"),
        "openmax": replace(_TINY, score="openmax"),
    },
    tables={"official": OPEN_SET_CLASSIFIER},
    unseen=unseen_of_vit,
    infer=_infer,
    traits=classifier_traits,
    preset="open-set",
)
