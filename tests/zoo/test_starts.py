from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from internvideo.errors import CheckpointError, ConfigError, UnknownNameError
from internvideo.models.clip_teacher import CLIPTeacher, last_layers
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.vit import VideoViT
from internvideo.zoo.hub import save_pretrained
from internvideo.zoo.load import load_model
from internvideo.zoo.starts import average_with_start, load_clip_teacher, load_towers
from zoo import tiny

TEXT = CLIPTextConfig(vocab_size=99, context_length=8, width=64, depth=1, num_heads=1, embed_dim=16)
VISION = ViCLIPVisionConfig(
    image_size=32, num_frames=4, patch_size=16, width=64, depth=1, num_heads=1, embed_dim=16
)
CONFIG = ViCLIPConfig(vision=VISION, text=TEXT, embed_dim=16, temp_init=0.05)


def multimodal(depth: int = 1) -> InternVideoMM:
    vision = UniFormerV2Config(
        image_size=32, num_frames=4, patch_size=16, temporal_downsample=False, width=64,
        depth=depth, num_heads=1, global_layers=(depth - 1,), local_mhra="none",
    )  # fmt: skip
    return InternVideoMM(
        InternVideoMMConfig(
            vision=vision, text=TEXT, embed_dim=16, decoder_depth=1, decoder_queries=4
        )
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Return an image CLIP, read as a ViCLIP, and where it lies."""
    model = tiny.randomised(ViCLIP(replace(CONFIG, text=replace(TEXT, context_length=12))))
    torch.nn.init.zeros_(model.vision_encoder.temporal_positional_embedding)
    torch.nn.init.constant_(model.temp, 0.01)
    return model, save_pretrained(model, tmp_path_factory.mktemp("clip"))


def test_image_clip_starts_both_towers_of_a_viclip(clip):
    start, folder = clip
    model = ViCLIP(CONFIG)
    told = load_towers(model, folder)
    assert told.fresh == ("temp",)
    assert float(model.temp.detach()) == pytest.approx(0.05)
    image = torch.randn(2, 3, 1, 32, 32)
    torch.testing.assert_close(
        model.eval().encode_video(image), start.encode_video(image), rtol=1e-4, atol=1e-5
    )
    ids = torch.tensor([[5, 6, 98, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(model.encode_text(ids), start.encode_text(ids))


def test_tables_and_kernels_are_fitted(clip):
    start, folder = clip
    vision = replace(VISION, image_size=64, num_frames=8, tubelet_size=2)
    text = replace(TEXT, context_length=20)
    model = ViCLIP(replace(CONFIG, vision=vision, text=text))
    load_towers(model, folder)
    kernel = model.vision_encoder.conv1.weight
    assert not kernel[:, :, 0].any()
    assert torch.equal(kernel[:, :, 1], start.vision_encoder.conv1.weight[:, :, 0])
    assert model.vision_encoder.positional_embedding.shape == (17, 64)
    positions = model.text_encoder.positional_embedding
    assert torch.equal(positions[:12], start.text_encoder.positional_embedding)
    assert not positions[12:].any()


def test_a_second_stage_takes_all_of_the_first(tmp_path):
    first = tiny.randomised(ViCLIP(CONFIG))
    folder = save_pretrained(first, tmp_path / "first")
    second = ViCLIP(CONFIG)
    assert load_towers(second, folder).fresh == ()
    tiny.assert_same_weights(first, second)
    longer = ViCLIP(replace(CONFIG, vision=replace(VISION, num_frames=8)))
    load_towers(longer, folder)
    table = first.vision_encoder.temporal_positional_embedding
    grown = F.interpolate(table.transpose(1, 2), size=8, mode="linear").transpose(1, 2)
    torch.testing.assert_close(longer.vision_encoder.temporal_positional_embedding, grown)


def test_image_clip_starts_an_internvideo_mm(clip):
    start, folder = clip
    model = multimodal()
    told = load_towers(model, folder)
    assert float(model.logit_scale.detach()) == pytest.approx(math.log(100))
    assert told.left == ()
    parts = ("visual.transformer.", "text_mask_embedding", "caption_decoder.")
    assert all(name.startswith(parts) for name in told.fresh)
    vision = start.vision_encoder
    assert torch.equal(model.visual_proj, vision.proj)
    assert torch.equal(model.visual_ln_post.weight, vision.ln_post.weight)
    assert torch.equal(model.visual.conv1.weight, vision.conv1.weight)
    ids = torch.tensor([[5, 6, 98, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(model.encode_text(ids), start.encode_text(ids))


def test_a_pretrained_encoder_starts_a_small_model(tmp_path):
    model = tiny.viclip_nano()
    encoder = tiny.randomised(VideoViT(tiny.STEM), seed=4)
    folder = save_pretrained(encoder, tmp_path / "encoder")
    before = model.text_encoder.text_projection.clone()
    load_towers(model, folder)
    tiny.assert_same_weights(model.vision_encoder.encoder, encoder)
    assert torch.equal(model.text_encoder.text_projection, before)


def test_what_does_not_fit_is_refused(clip, tmp_path):
    encoder = save_pretrained(tiny.randomised(VideoViT(tiny.STEM)), tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="starts from an image CLIP"):
        load_towers(ViCLIP(CONFIG), encoder)
    wider = ViCLIPConfig(
        vision=replace(VISION, width=128, num_heads=2), text=TEXT, embed_dim=16, temp_init=0.05
    )
    with pytest.raises(CheckpointError, match="does not fit the ViCLIP"):
        load_towers(ViCLIP(wider), clip[1])
    trained = save_pretrained(tiny.randomised(ViCLIP(CONFIG)), tmp_path / "trained")
    with pytest.raises(CheckpointError, match="is a ViCLIP, which is no start of a InternVideoMM"):
        load_towers(multimodal(), trained)


def test_the_average_with_the_start_of_a_viclip(clip):
    start, folder = clip
    model = tiny.randomised(ViCLIP(CONFIG), seed=3)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    average_with_start(model, folder, weight=0.25)
    after = model.state_dict()
    name = "vision_encoder.temporal_positional_embedding"
    assert torch.equal(after[name], before[name])
    torch.testing.assert_close(after["temp"], 0.25 * before["temp"] + 0.75 * 0.05)
    name = "vision_encoder.proj"
    expected = 0.25 * before[name] + 0.75 * start.state_dict()[name]
    torch.testing.assert_close(after[name], expected)


def deep_image_clip(folder):
    start = tiny.randomised(ViCLIP(replace(CONFIG, vision=replace(VISION, depth=13))))
    torch.nn.init.zeros_(start.vision_encoder.temporal_positional_embedding)
    return start, save_pretrained(start, folder)


def test_the_average_of_an_internvideo_mm_touches_twelve_blocks(tmp_path):
    start, folder = deep_image_clip(tmp_path / "clip")
    model = tiny.randomised(multimodal(13), seed=3)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    average_with_start(model, folder)
    kept = {name for name, t in model.state_dict().items() if torch.equal(t, before[name])}
    assert "logit_scale" in kept
    assert "visual.transformer.resblocks.12.ln_1.weight" in kept
    assert "visual.transformer.resblocks.11.ln_1.weight" not in kept
    assert "text_encoder.positional_embedding" not in kept
    assert all(name in kept for name in before if name.startswith("caption_decoder."))
    name = "visual_proj"
    half = (before[name] + start.state_dict()["vision_encoder.proj"]) / 2
    torch.testing.assert_close(model.state_dict()[name], half)


def test_the_average_for_retrieval_is_of_all_that_is_named_as_in_clip(tmp_path):
    start, folder = deep_image_clip(tmp_path / "clip")
    model = tiny.randomised(multimodal(13), seed=3)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    average_with_start(model, folder, weight=0.75, rule="retrieval")
    kept = {name for name, t in model.state_dict().items() if torch.equal(t, before[name])}
    assert {"visual_proj", "visual_ln_post.weight", "visual.transformer.balance"} <= kept
    assert not any(".resblocks." in name for name in kept)
    scale = 0.75 * before["logit_scale"] - 0.25 * start.temp.detach().log()
    torch.testing.assert_close(model.state_dict()["logit_scale"], scale)
    with pytest.raises(ConfigError, match="InternVideo-MM"):
        average_with_start(tiny.randomised(ViCLIP(CONFIG)), folder, rule="retrieval")


# --- the teacher of a student


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
