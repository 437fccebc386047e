"""The unmasked teacher: student and decoders, its classifier, and the CLIP that teaches it."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from internvideo.errors import CheckpointError
from internvideo.models import clip_teacher, umt_classifier, unmasked_teacher, vit
from internvideo.models.umt_classifier import UMTClassifierConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import clip, videomae
from internvideo.zoo.kinds.videomae import classifier_traits, vit_fields
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import (
    AmbiguousShapesError,
    Shapes,
    below,
    depth_of,
    most_common,
    required,
    with_fields,
)
from internvideo.zoo.tables import IMAGE_TEACHER

__all__ = ["CLASSIFIER", "PRETRAINING", "TEACHER", "TINY", "TINY_TEACHER"]


def _infer_student(shapes: Shapes, base: Any) -> unmasked_teacher.UnmaskedTeacherConfig:
    encoder = below(shapes, "encoder.")
    blank = vit.VideoViTConfig(num_frames=8, tubelet_size=1)
    encoder_base = base.encoder if base is not None else None
    fields = {
        "encoder": with_fields(
            encoder_base or blank,
            {**vit_fields(encoder, encoder_base or blank), "final_norm": True},
        ),
        "target_width": required(
            shapes, r"clip_decoder\.\d+\.(norm\.weight|head\.bias)", 0, "width of the targets"
        ),
        "num_targets": depth_of(shapes, "clip_decoder"),
    }
    empty = base or unmasked_teacher.UnmaskedTeacherConfig(encoder=blank)
    return with_fields(empty, fields)


def _student_traits(config: Any) -> dict[str, Any]:
    encoder = config.encoder
    names = ("width", "depth", "patch_size", "tubelet_size", "num_channels", "mlp_hidden")
    return {
        **{name: getattr(encoder, name) for name in names},
        "target_width": config.target_width,
        "num_targets": config.num_targets,
    }


def _infer_classifier(shapes: Shapes, base: Any) -> UMTClassifierConfig:
    base = base or UMTClassifierConfig(num_classes=1)
    table = shapes.get("pos_embed")
    fields = vit_fields({n: s for n, s in shapes.items() if n != "pos_embed"}, base)
    fields["num_classes"] = most_common(shapes, r"head\.(weight|bias)", 0) or 0
    if table is not None:
        fields |= _stored_grid(table, base, patch=fields["patch_size"])
    return with_fields(base, fields)


def _stored_grid(
    table: tuple[int, ...], base: UMTClassifierConfig, *, patch: int
) -> dict[str, Any]:
    """Return the frames and pixels that a stored position table is made for.

    Of the pairs with that many tokens: the base itself, else the one with its frames or its pixels.
    """
    tokens = table[1] if len(table) == 3 else 0
    a_frame = prod(side // patch for side in base.frame_size)
    side = round((tokens / base.num_frames) ** 0.5)
    pairs = []
    if isinstance(base.image_size, int) and side and tokens == base.num_frames * side**2:
        pairs.append({"image_size": side * patch, "num_frames": base.num_frames})
    if tokens and tokens % a_frame == 0:
        pairs.append({"image_size": base.image_size, "num_frames": tokens // a_frame})
    # fewer frames than usual only where nothing else fits
    pairs = [pair for pair in pairs if pair["num_frames"] >= base.num_frames] or pairs
    if len(pairs) == 2 and pairs[0] != pairs[1]:
        sizes = [f"{pair['num_frames']} frames of {pair['image_size']} pixels" for pair in pairs]
        raise AmbiguousShapesError(
            f"pos_embed {table} is that of {' and of '.join(sizes)}: say which with"
            f" num_frames={pairs[1]['num_frames']} or num_frames={pairs[0]['num_frames']}"
            " (--set of `internvideo models convert` and `verify`, config= of `load_model`)",
            [replace(base, **pair) for pair in pairs],
        )
    if not pairs:
        raise CheckpointError(
            f"pos_embed {table} fits neither {base.num_frames} frames nor {base.image_size} pixels;"
            " give num_frames (--set num_frames=…), or a folder with config.json"
        )
    return pairs[0]


def _classifier_traits(config: Any) -> dict[str, Any]:
    return {**classifier_traits(config), "grid": config.grid}


def _has_single_frame_tubelets(shapes: Shapes) -> bool:
    kernel = shapes.get("patch_embed.proj.weight", ())
    return len(kernel) == 5 and kernel[2] == 1


def _infer_teacher(shapes: Shapes, base: Any) -> clip_teacher.CLIPTeacherConfig:
    base = base or clip_teacher.CLIPTeacherConfig()
    embed = required(shapes, "proj", 1, "width of the targets")
    return with_fields(base, {**clip.image_fields(shapes, base), "embed_dim": embed})


def _teacher_traits(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("width", "depth", "patch_size", "embed_dim")}


TINY = unmasked_teacher.UnmaskedTeacherConfig(
    encoder=replace(videomae.TINY, tubelet_size=1), target_width=8, num_targets=2
)
"""A miniature of the student."""

TINY_TEACHER = clip_teacher.CLIPTeacherConfig(
    image_size=16, patch_size=8, width=16, depth=2, num_heads=2, embed_dim=TINY.target_width
)
"""A miniature of its teacher."""

_TINY_CLASSIFIER = UMTClassifierConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, num_classes=5
)

PRETRAINING = Architecture(
    id="unmasked-teacher/pretraining",
    model=unmasked_teacher.UnmaskedTeacher,
    config=unmasked_teacher.UnmaskedTeacherConfig,
    sizes=unmasked_teacher.SIZES,
    tiny={"released": TINY},
    tables={"official": SAME_NAMES},
    infer=_infer_student,
    traits=_student_traits,
    preset="umt-kinetics",
)

CLASSIFIER = Architecture(
    id="unmasked-teacher/classifier",
    model=umt_classifier.UMTClassifier,
    config=UMTClassifierConfig,
    sizes=umt_classifier.SIZES,
    tiny={"released": _TINY_CLASSIFIER},
    tables={"official": SAME_NAMES},
    infer=_infer_classifier,
    traits=_classifier_traits,
    preset="umt-kinetics",
    suits=_has_single_frame_tubelets,
)

TEACHER = Architecture(
    id="unmasked-teacher/teacher",
    model=clip_teacher.CLIPTeacher,
    config=clip_teacher.CLIPTeacherConfig,
    sizes=clip_teacher.SIZES,
    tiny={"released": TINY_TEACHER},
    tables={"official": SAME_NAMES, "clip": IMAGE_TEACHER},
    infer=_infer_teacher,
    traits=_teacher_traits,
    preset="umt-kinetics",
)
