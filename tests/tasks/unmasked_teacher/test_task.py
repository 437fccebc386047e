from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.unmasked_teacher import task as module
from internvideo.tasks.unmasked_teacher.task import UnmaskedTeacherPretraining
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.preprocessing import Preprocessing

PROTOCOL = Preprocessing(num_frames=4, resize_rule="squash", resize_size=32, crop_size=32)
STUDENT = UnmaskedTeacherConfig(
    encoder=VideoViTConfig(
        image_size=32, patch_size=8, num_frames=4, tubelet_size=1, width=16, depth=3, num_heads=2
    ),
    target_width=6,
    num_targets=2,
)
TEACHER = CLIPTeacherConfig(
    image_size=28, patch_size=7, width=16, depth=3, num_heads=2, embed_dim=6
)


def task(
    teacher: CLIPTeacherConfig | None = TEACHER,
    *,
    augmentation: Augmentation | None = None,
    **options,
) -> UnmaskedTeacherPretraining:
    torch.manual_seed(0)
    student = UnmaskedTeacher(STUDENT)
    tower = None if teacher is None else CLIPTeacher(teacher)
    config = module.UnmaskedTeacherPretrainingConfig(teacher="given", **options)
    return UnmaskedTeacherPretraining(student, tower, PROTOCOL, config, augmentation=augmentation)


@pytest.fixture
def sample() -> Sample:
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    return Sample(frames=frames, caption="a clip", label=0)


def batch(trained: UnmaskedTeacherPretraining, sample: Sample) -> dict[str, torch.Tensor]:
    (one,) = trained.prepare(sample, np.random.default_rng(1))
    return {name: torch.stack([value, value]) for name, value in one.items()}


def test_the_teacher_is_no_part_of_what_is_trained_or_stored():
    trained = task()
    trained.train()
    assert {name.split(".")[0] for name in trained.state_dict()} == {"model"}
    assert {name for name, _ in trained.named_parameters()} == set(trained.state_dict())
    assert trained.model.training
    assert not trained.teaching.teacher.training


def test_only_the_student_gets_gradients(sample):
    trained = task()
    before = {
        name: tensor.clone() for name, tensor in trained.teaching.teacher.state_dict().items()
    }
    loss = trained.training_loss(batch(trained, sample))["loss"]
    assert loss.shape == ()
    assert 0 < loss < 4
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.model.parameters())
    assert all(p.grad is None for p in trained.teaching.teacher.parameters())
    for name, tensor in trained.teaching.teacher.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("rule", ["attention", "tube", "random"])
def test_the_student_sees_the_share_of_every_frame_that_the_rule_leaves(monkeypatch, sample, rule):
    asked = []
    draw = module.draw_visible_places

    def watched(attention, num_visible, **options):
        asked.append((attention.shape, num_visible, options["rule"]))
        return draw(attention, num_visible, **options)

    monkeypatch.setattr(module, "draw_visible_places", watched)
    trained = task(mask=rule, mask_ratio=0.7)
    trained.training_loss(batch(trained, sample))
    assert asked == [((2, 4, 16), 16 - int(0.7 * 16), rule)]


def test_attention_masks_are_drawn_anew_from_the_global_generator(sample):
    trained = task()
    prepared = batch(trained, sample)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(trained.training_loss(prepared)["loss"].item())
    assert losses[0] == losses[1] != losses[2]


def test_the_augmentation_cuts_in_the_worker_and_finishes_on_the_device(sample):
    chosen = dataclasses.replace(AUGMENTATIONS["videomae-pretrain"], size=32, flip_probability=0.5)
    trained = task(augmentation=chosen)
    prepared = batch(trained, sample)
    assert prepared["video"].shape == (2, 4, 32, 32, 3)
    assert prepared["video"].dtype == torch.uint8
    assert prepared.keys() == {"video", "augment_flip"}
    assert torch.isfinite(trained.training_loss(prepared)["loss"])


def test_mixed_precision_stays_close(sample):
    trained = task()
    prepared = batch(trained, sample)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses.append(trained.training_loss(prepared)["loss"])
    assert losses[1].dtype == torch.float32
    assert losses[1].item() != losses[0].item()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02)


def test_the_teachers_patches_are_those_of_the_student_whatever_the_clip():
    trained = task()
    for rows, columns in ((32, 32), (48, 24)):
        seen = trained.teaching.observe(torch.randn(1, 3, 2, rows, columns))
        assert seen.attention.shape == (1, 2, rows * columns // 64)


@pytest.mark.parametrize(
    ("teacher", "options", "message"),
    [
        ({"embed_dim": 8}, {}, "8, model.target_width is 6"),
        ({"depth": 1}, {}, "task.teacher_interval: 2 .*1.0"),
        ({}, {"teacher_interval": 3.0}, "task.teacher_interval: 2 .*3.0"),
        ({}, {"mask_ratio": 1.0}, "task.mask_ratio 1.0 .*16"),
        ({}, {"mask_ratio": 0.05}, "task.mask_ratio 0.05 .*16"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(teacher, options, message):
    with pytest.raises(ConfigError, match=message):
        task(dataclasses.replace(TEACHER, **teacher), **options)


def test_without_its_teacher_a_task_holds_weights_only(sample):
    trained = task(None)
    trained.load_state_dict(task().state_dict())
    with pytest.raises(ConfigError, match="teacher"):
        trained.training_loss(batch(trained, sample))
