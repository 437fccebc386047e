"""The unmasked teacher: the student with its decoders, and the image CLIP that teaches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from internvideo.models import clip_teacher, unmasked_teacher, vit
from internvideo.models.clip_init import inflate_patch_kernel
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.videomae import vit_fields
from internvideo.zoo.renames import SAME_NAMES
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["PRETRAINING", "TEACHER"]


def _infer_student(shapes: Shapes, base: Any) -> unmasked_teacher.UnmaskedTeacherConfig:
    encoder = {n.removeprefix("encoder."): s for n, s in shapes.items() if n.startswith("encoder.")}
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


def _infer_teacher(shapes: Shapes, base: Any) -> clip_teacher.CLIPTeacherConfig:
    base = base or clip_teacher.CLIPTeacherConfig()
    width = required(shapes, r"transformer\.resblocks\.\d+\.ln_[12]\.weight", 0, "width")
    heads = {size.width: size.num_heads for size in (base, *clip_teacher.SIZES.values())}
    kernel = shapes.get("conv1.weight", ())
    patch = kernel[3] if len(kernel) == 5 and kernel[3] > 0 else base.patch_size
    rows = most_common(shapes, "positional_embedding", 0) or 0
    return with_fields(
        base,
        {
            "width": width,
            "depth": depth_of(shapes, r"transformer\.resblocks"),
            "num_heads": heads_of(width, heads),
            "patch_size": patch,
            "image_size": round((rows - 1) ** 0.5) * patch if rows > 1 else patch,
            "embed_dim": required(shapes, "proj", 1, "width of the targets"),
        },
    )


def _teacher_from_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the patch kernel of an image tower the time axis of 1 of the released teachers."""
    kernel = state.get("conv1.weight")
    if kernel is None or kernel.ndim != 4:
        return dict(state)
    return {**state, "conv1.weight": inflate_patch_kernel(kernel, 1)}


def _teacher_traits(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("width", "depth", "patch_size", "embed_dim")}


PRETRAINING = Architecture(
    id="unmasked-teacher/pretraining",
    model=unmasked_teacher.UnmaskedTeacher,
    config=unmasked_teacher.UnmaskedTeacherConfig,
    sizes=unmasked_teacher.SIZES,
    tables={"official": SAME_NAMES},
    infer=_infer_student,
    traits=_student_traits,
    preset="umt-kinetics",
)

TEACHER = Architecture(
    id="unmasked-teacher/teacher",
    model=clip_teacher.CLIPTeacher,
    config=clip_teacher.CLIPTeacherConfig,
    sizes=clip_teacher.SIZES,
    tables={"official": SAME_NAMES},
    infer=_infer_teacher,
    traits=_teacher_traits,
    preset="umt-kinetics",
    adapt=_teacher_from_clip,
)
