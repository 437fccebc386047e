from __future__ import annotations

import pytest
import torch

from internvideo.errors import CheckpointError, UnknownNameError
from internvideo.models.clip_teacher import CLIPTeacher, last_layers
from internvideo.models.viclip import ViCLIP
from internvideo.zoo import load_clip_teacher, load_model, save_pretrained
from zoo import tiny


@pytest.fixture(scope="module")
def teacher() -> CLIPTeacher:
    return tiny.clip_teacher()


def flat(model: CLIPTeacher) -> dict[str, torch.Tensor]:
    """Return the tower as an image tower has it, its patch kernel without a time axis."""
    state = dict(model.state_dict())
    return {**state, "conv1.weight": state["conv1.weight"][:, :, 0]}


def whole_clip(model: CLIPTeacher) -> dict[str, torch.Tensor]:
    """Return an image CLIP with this tower, under the names of OpenAI's files."""
    text = tiny.viclip().text_encoder.state_dict()
    return {
        **{f"visual.{name}": tensor for name, tensor in flat(model).items()},
        **text,
        "logit_scale": torch.tensor(4.6),
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda model: model.state_dict(),
        flat,
        whole_clip,
        lambda model: {"model": {f"module.{n}": t for n, t in model.state_dict().items()}},
    ],
    ids=["released", "image tower", "whole CLIP", "wrapped"],
)
def test_every_file_with_an_image_tower_gives_the_teacher(teacher, tmp_path, make):
    torch.save(make(teacher), tmp_path / "clip.pt")
    loaded = load_clip_teacher(tmp_path / "clip.pt")
    assert loaded.config == teacher.config
    tiny.assert_same_weights(teacher, loaded)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training
    video = torch.randn(1, 3, 2, 32, 32)
    seen = [model.observe(video, last_layers(2, 2)) for model in (teacher, loaded)]
    assert torch.equal(seen[0].attention, seen[1].attention)


def test_half_precision_files_become_float32(teacher, tmp_path):
    torch.save({n: t.half() for n, t in flat(teacher).items()}, tmp_path / "clip.pt")
    assert load_clip_teacher(tmp_path / "clip.pt").proj.dtype == torch.float32


def test_a_teacher_is_stored_and_loaded_as_any_model(teacher, tmp_path):
    folder = save_pretrained(teacher, tmp_path / "teacher")
    tiny.assert_same_weights(teacher, load_clip_teacher(folder))
    assert load_model(folder).architecture == "unmasked-teacher/teacher"


def test_a_video_clip_is_no_teacher(tmp_path):
    model = tiny.viclip()
    assert isinstance(model, ViCLIP)
    assert model.vision_encoder.temporal_positional_embedding.any()
    folder = save_pretrained(model, tmp_path / "viclip")
    with pytest.raises(CheckpointError, match="is a CLIP of videos, a teacher looks at single"):
        load_clip_teacher(folder)


@pytest.mark.parametrize("make", [tiny.videomae, tiny.viclip_nano])
def test_other_models_are_no_teachers(tmp_path, make):
    folder = save_pretrained(make(), tmp_path / "other")
    with pytest.raises(CheckpointError, match="a teacher must be an image CLIP, such as openai-"):
        load_clip_teacher(folder)
    with pytest.raises(UnknownNameError, match="openai-clip-vit-b-16"):
        load_clip_teacher("openai-clip-vit-b16")
