"""From a name or a file to the frozen image CLIP that teaches a video student."""

from __future__ import annotations

from pathlib import Path

from internvideo.errors import CheckpointError
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.viclip import ViCLIP
from internvideo.models.viclip_vision import ViCLIPVision
from internvideo.zoo.kinds.unmasked_teacher import TEACHER
from internvideo.zoo.load import load_model

__all__ = ["load_clip_teacher"]

_TIME = "temporal_positional_embedding"


def load_clip_teacher(source: str | Path) -> CLIPTeacher:
    """Load the image tower of a CLIP as a teacher.

    Args:
        source: as for `load_model`: a whole image CLIP ("openai-clip-vit-b-16", a file of OpenAI)
            or an image tower alone.

    Raises:
        UnknownNameError: no such name.
        CheckpointError: the file cannot be read, or is no image CLIP.
    """
    model = load_model(source).model
    if isinstance(model, CLIPTeacher):
        return model
    tower = model.vision_encoder if isinstance(model, ViCLIP) else None
    if not isinstance(tower, ViCLIPVision):
        raise CheckpointError(
            f"{source} is a {type(model).__name__}, a teacher must be an image CLIP, such as "
            "openai-clip-vit-b-16"
        )
    state, config = tower.state_dict(), tower.config
    if config.tubelet_size != 1 or bool(state.pop(_TIME).any()):
        raise CheckpointError(
            f"{source} is a CLIP of videos, a teacher looks at single frames; take an image CLIP, "
            "such as openai-clip-vit-b-16"
        )
    teacher = TEACHER.build(
        CLIPTeacherConfig(
            image_size=config.image_size,
            patch_size=config.patch_size,
            width=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
            embed_dim=config.embed_dim,
        )
    )
    assert isinstance(teacher, CLIPTeacher)
    teacher.load_state_dict(state, assign=True)
    return teacher
