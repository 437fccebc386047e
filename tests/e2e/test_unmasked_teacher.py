"""A student is taught by a frozen image CLIP on procedural clips, and fine-tuned afterwards."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import internvideo as iv
from internvideo.errors import ConfigError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.unmasked_teacher.task import UnmaskedTeacherPretraining
from internvideo.train.stop import PreemptedError
from internvideo.zoo import load_encoder_weights, save_pretrained
from runs import assert_same_weights, learnt

TEACHER = CLIPTeacherConfig(
    image_size=16, patch_size=4, width=16, depth=3, num_heads=2, embed_dim=8
)
RECIPE = """
name: tiny
task: {kind: unmasked-teacher, teacher: TEACHER, mask_ratio: 0.5}
model: {encoder: {image_size: 32, num_frames: 4, patch_size: 8, tubelet_size: 1, width: 16,
                  depth: 3, num_heads: 2, drop_path_rate: 0.1},
        target_width: 8, num_targets: 2}
preprocessing: {num_frames: 4, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}
augmentation: {preset: videomae-pretrain, flip_probability: 0.5}
data: {kind: world, num_clips: 8}
optim: {lr: 0.01, ema_decay: 0.6}
schedule: {epochs: 2}
runtime: {batch_size: 4, num_workers: 0, log_every: 1, save_every: 1, threads: 1, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    torch.manual_seed(7)
    return save_pretrained(CLIPTeacher(TEACHER), tmp_path_factory.mktemp("teacher") / "clip")


def recipe(teacher: Path, directory: Path, *overrides: str):
    path = directory / "given.yaml"
    path.write_text(RECIPE.replace("TEACHER", str(teacher)))
    return load_recipe(path, overrides)


@pytest.fixture(scope="module")
def uninterrupted(teacher, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    torch.manual_seed(99)  # a run seeds itself
    run_recipe(recipe(teacher, directory), directory / "whole")
    return directory / "whole"


def test_neither_checkpoint_nor_model_holds_the_teacher(uninterrupted):
    stored = torch.load(uninterrupted / "last.ckpt")
    assert {name.split(".")[0] for name in stored["task"]} == {"model"}
    model = load_file(uninterrupted / "model" / "model.safetensors")
    assert {name.split(".")[0] for name in model} == {"encoder", "clip_decoder"}
    assert not any("pos_embed" in name for name in model)
    assert len(learnt(uninterrupted)) == 4
    loaded = iv.load(uninterrupted / "model")
    assert loaded.loaded.architecture == "unmasked-teacher/pretraining"
    assert loaded.preprocessing.num_frames == 4
    clips = torch.randint(0, 256, (2, 6, 40, 48, 3), dtype=torch.uint8)
    assert loaded.embed_video(list(clips)).shape == (2, 16)


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    teacher, uninterrupted, tmp_path, monkeypatch
):
    steps = []
    align = UnmaskedTeacherPretraining.align

    def stopped(self, *arguments):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return align(self, *arguments)

    monkeypatch.setattr(UnmaskedTeacherPretraining, "align", stopped)
    with pytest.raises(PreemptedError, match="step 2"):
        run_recipe(recipe(teacher, tmp_path), tmp_path / "run")
    assert len(steps) == 2
    run_recipe(recipe(teacher, tmp_path), tmp_path / "run")
    assert len(steps) == 4
    assert learnt(tmp_path / "run") == learnt(uninterrupted)
    assert_same_weights(uninterrupted / "model", tmp_path / "run" / "model")


def test_the_loss_falls_on_a_batch_that_is_seen_again_and_again(teacher, tmp_path):
    overrides = [
        "data.num_clips=4",
        "augmentation=null",
        "model.encoder.drop_path_rate=0",
        "schedule.epochs=20",
        "runtime.save_every=20",
    ]
    run_recipe(recipe(teacher, tmp_path, *overrides), tmp_path / "run")
    losses = [record["loss"] for record in learnt(tmp_path / "run")]
    assert len(losses) == 20
    assert 1 < losses[0] < 3  # unit vectors that know nothing of each other: 2
    assert losses[-1] < 0.6 * losses[0]


def test_another_teacher_is_another_run(teacher, uninterrupted, tmp_path):
    other = save_pretrained(CLIPTeacher(TEACHER), tmp_path / "other")
    with pytest.raises(ConfigError, match=r"task\.teacher was"):
        run_recipe(recipe(other, tmp_path), uninterrupted)


def test_a_teacher_that_does_not_fit_is_told_before_training(tmp_path):
    wide = save_pretrained(
        CLIPTeacher(dataclasses.replace(TEACHER, embed_dim=12)), tmp_path / "wide"
    )
    with pytest.raises(ConfigError, match=r"12.*model\.target_width.*8"):
        run_recipe(recipe(wide, tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrapper", "prefix"), [("", ""), ("model", ""), ("module", ""), ("model", "module.")]
)
def test_fine_tuning_starts_from_the_student(tmp_path, wrapper, prefix):
    torch.manual_seed(0)
    encoder = VideoViTConfig(width=64, depth=2, num_heads=1, num_frames=8, tubelet_size=1)
    student = UnmaskedTeacher(UnmaskedTeacherConfig(encoder=encoder, target_width=8, num_targets=2))
    state = {f"{prefix}{name}": tensor for name, tensor in student.state_dict().items()}
    torch.save({"epoch": 200, wrapper: state} if wrapper else state, tmp_path / "pt.pth")
    options = {"width": 64, "depth": 2, "num_heads": 1, "num_classes": 3}
    models = (
        VideoClassifier(VideoClassifierConfig(num_frames=8, tubelet_size=1, **options)),
        UMTClassifier(UMTClassifierConfig(**options)),
        UMTClassifier(UMTClassifierConfig(num_frames=4, image_size=32, **options)),
    )
    for model in models:
        fresh = {
            name: model.state_dict()[name].clone() for name in ("fc_norm.weight", "head.weight")
        }
        given = load_encoder_weights(model, tmp_path / "pt.pth")
        assert {name.removeprefix(prefix).split(".")[0] for name in given.left} == {
            "encoder",
            "clip_decoder",
        }
        assert sum("clip_decoder" not in name for name in given.left) == 2  # encoder.norm
        own = model.state_dict()
        for name, tensor in student.encoder.state_dict().items():
            if not name.startswith("norm."):
                assert torch.equal(own[name], tensor), name
        for name, tensor in fresh.items():
            assert torch.equal(own[name], tensor), name
        assert set(given.fresh) - {"pos_embed"} == {
            "fc_norm.weight",
            "fc_norm.bias",
            "head.weight",
            "head.bias",
        }
