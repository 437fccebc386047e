"""Both towers and their fusion learn from captioned procedural clips, through the real loop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import internvideo as iv
from internvideo.errors import ConfigError
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.run import run_recipe
from internvideo.tasks.unmasked_teacher.multimodal import UMTMultimodalPretraining
from internvideo.train.stop import PreemptedError
from internvideo.zoo import save_pretrained
from runs import assert_same_weights, learnt

TEACHER = CLIPTeacherConfig(
    image_size=16, patch_size=4, width=16, depth=3, num_heads=2, embed_dim=8
)
ENCODER = VideoViTConfig(
    image_size=32, num_frames=8, patch_size=8, tubelet_size=1, width=16, depth=3, num_heads=2
)
RECIPE = """
name: tiny
task: {kind: umt-multimodal, teacher: DIR/clip, video_mask_ratio: 0.5}
init: DIR/student
model:
  vision: {encoder: {image_size: 32, num_frames: 4, patch_size: 8, tubelet_size: 1, width: 16,
                     depth: 3, num_heads: 2},
           target_width: 8, num_targets: 2, decoder_norm_eps: 1.0e-5}
  text: {width: 16, depth: 2, num_heads: 2, mlp_hidden: 32, fusion_layer: 1, vision_width: 16,
         max_positions: 26, drop_rate: 0.0, attention_drop_rate: 0.0}
  embed_dim: 12
  context_length: 26
  vocabulary: world
preprocessing: {num_frames: 4, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}
augmentation: viclip-pretrain
data: {kind: world, num_clips: 8}
optim: {lr: 0.003}
schedule: {epochs: 2}
runtime: {batch_size: 4, num_workers: 0, log_every: 1, save_every: 1, threads: 1, accelerator: cpu}
"""
LOSSES = ("uta", "vtc", "vtm", "mlm")


@pytest.fixture(scope="module")
def starts(tmp_path_factory) -> Path:
    """A teacher, and a student of the first stage."""
    directory = tmp_path_factory.mktemp("starts")
    torch.manual_seed(7)
    save_pretrained(CLIPTeacher(TEACHER), directory / "clip")
    student = UnmaskedTeacherConfig(encoder=ENCODER, target_width=8, num_targets=2)
    save_pretrained(UnmaskedTeacher(student), directory / "student")
    return directory


def recipe(starts: Path, directory: Path, *overrides: str):
    path = directory / "given.yaml"
    path.write_text(RECIPE.replace("DIR", str(starts)))
    return load_recipe(path, overrides)


@pytest.fixture(scope="module")
def uninterrupted(starts, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    torch.manual_seed(99)  # a run seeds itself
    run_recipe(recipe(starts, directory), directory / "whole")
    return directory / "whole"


def test_the_saved_model_compares_and_matches(uninterrupted):
    records = learnt(uninterrupted)
    assert len(records) == 4
    for record in records:
        assert record["loss"] == pytest.approx(sum(record[name] for name in LOSSES), rel=1e-4)
    model = iv.load(uninterrupted / "model").loaded.model
    assert model.clip_teacher is None
    ids = model.tokenizer(["a red star moves left", "a circle vanishes"])
    assert not (ids == model.tokenizer.special_id("[UNK]")).any()
    video = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        similarity = model.encode_video(video) @ model.encode_text(ids).T
        matches = model.match(model.forward_features(video).tokens, model.read(ids))
    assert similarity.abs().max() <= 1
    assert ((matches > 0) & (matches < 1)).all()


def test_the_tied_word_table_is_stored_twice_and_kept_once(uninterrupted):
    state = load_file(uninterrupted / "model" / "model.safetensors")
    table = state["text_encoder.bert.embeddings.word_embeddings.weight"]
    assert torch.equal(table, state["text_encoder.cls.predictions.decoder.weight"])
    text = iv.load(uninterrupted / "model").loaded.model.text_encoder
    assert text.cls.predictions.decoder.weight is text.bert.embeddings.word_embeddings.weight


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    starts, uninterrupted, tmp_path, monkeypatch
):
    steps = []
    losses = UMTMultimodalPretraining.losses

    def stopped(self, *arguments, **options):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, *arguments, **options)

    monkeypatch.setattr(UMTMultimodalPretraining, "losses", stopped)
    with pytest.raises(PreemptedError, match="step 2"):
        run_recipe(recipe(starts, tmp_path), tmp_path / "run")
    run_recipe(recipe(starts, tmp_path), tmp_path / "run")
    assert len(steps) == 4
    assert learnt(tmp_path / "run") == learnt(uninterrupted)
    assert_same_weights(uninterrupted / "model", tmp_path / "run" / "model")


def test_encoder_and_decoders_start_from_the_student(starts, tmp_path):
    student = iv.load(starts / "student").loaded.model.state_dict()
    task = build_task(recipe(starts, tmp_path))
    own = task.model.vision_encoder.state_dict()
    assert {name.split(".")[0] for name in student} == {"encoder", "clip_decoder"}
    for name, tensor in student.items():
        assert torch.equal(own[name], tensor), name


def test_fine_tuning_for_retrieval_needs_no_teacher(starts, uninterrupted, tmp_path):
    overrides = [
        f"init={uninterrupted / 'model'}",
        "model.alignment=false",
        "model.text.masked_lm=false",
        "task.teacher=null",
        "task.video_mask_ratio=0",
        "task.weights={uta: 0, mlm: 0}",
    ]
    given = recipe(starts, tmp_path, *overrides)
    run_recipe(given, tmp_path / "run")
    assert {"vtc", "vtm"} <= learnt(tmp_path / "run")[0].keys()
    assert not {"uta", "mlm"} & learnt(tmp_path / "run")[0].keys()
    stored = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert not any("clip_decoder" in name or ".cls." in name for name in stored)
    assert iv.load(tmp_path / "run" / "model").loaded.model.config.alignment is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.alignment=false", "weights.uta needs model.alignment"),
        ("model.text.masked_lm=false", "weights.mlm needs model.text.masked_lm"),
        ("task.weights={uta: 0, vtc: 0, vtm: 0, mlm: 0}", "task.weights.* all 0"),
        ("task.video_mask_ratio=1", r"task\.video_mask_ratio.* 1"),
        ("task.word_ratio=0", r"task\.word_ratio.* 0"),
        ("model.vision.target_width=9", "features have width 8, model.vision.target_width is 9"),
        ("model.text.vision_width=8", "text.vision_width 8 is not the width of the video"),
    ],
)
def test_what_cannot_work_is_told_before_training(starts, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_recipe(recipe(starts, tmp_path, "init=null", override), tmp_path / "run")
    assert not (tmp_path / "run").exists()
