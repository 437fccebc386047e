"""Pretraining with an unmasked teacher: teacher, masking, student, loss."""

from __future__ import annotations

import torch

from golden.case import Case
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig, resize_frames
from internvideo.models.unmasked_teacher import (
    UnmaskedTeacher,
    UnmaskedTeacherConfig,
    alignment_loss,
)
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.unmasked_teacher import task as first_stage
from internvideo.tasks.unmasked_teacher.task import UnmaskedTeacherPretraining
from internvideo.video.masks import flat_places, num_visible_places
from internvideo.video.preprocessing import Preprocessing


def _task(case: Case) -> UnmaskedTeacherPretraining:
    config = case.meta["config"]
    student, teacher = config["student"], config["teacher"]
    encoder = VideoViTConfig(
        image_size=student["img_size"],
        patch_size=student["patch_size"],
        width=student["dim"],
        depth=student["depth"],
        num_heads=student["heads"],
        num_frames=student["num_frames"],
        tubelet_size=student["tubelet_size"],
    )
    model = UnmaskedTeacher(
        UnmaskedTeacherConfig(
            encoder=encoder,
            target_width=teacher["output_dim"],
            num_targets=config["return_layers"],
            interval=config["student_interval"],
        )
    )
    model.load_state_dict(case.group("state.student."), strict=True)
    tower = CLIPTeacher(
        CLIPTeacherConfig(
            image_size=teacher["input_resolution"],
            patch_size=teacher["patch_size"],
            width=teacher["width"],
            depth=teacher["layers"],
            num_heads=teacher["heads"],
            embed_dim=teacher["output_dim"],
        )
    )
    tower.load_state_dict(case.group("state.teacher."), strict=True)
    return UnmaskedTeacherPretraining(
        model,
        tower,
        Preprocessing(num_frames=encoder.num_frames, crop_size=encoder.image_size),
        first_stage.UnmaskedTeacherPretrainingConfig(
            teacher="given",
            mask_ratio=config["mask_ratio"],
            teacher_interval=config["teacher_interval"],
        ),
    )


def check_pretrain(case: Case) -> None:
    task, video = _task(case), case.tensors["input.video"]
    side = task.teaching.teacher.config.image_size
    case.assert_close(resize_frames(video, (side, side)), "output.teacher_video")
    seen = task.teaching.observe(video)
    case.assert_close(seen.attention.flatten(0, 1), "output.teacher_attention")
    b, t, n = seen.attention.shape
    every = torch.arange(n).expand(b, t, n)
    case.assert_close(task.teaching.teacher.targets(seen, every), "output.teacher_features")

    order = case.tensors["input.importance_order"].unflatten(0, (b, t))
    places = order[..., : num_visible_places(n, task.config.mask_ratio)].sort(dim=-1).values
    visible = flat_places(places, n)
    mask = torch.ones(b, t * n, dtype=torch.uint8).scatter(1, visible, 0)
    assert torch.equal(mask, case.tensors["output.mask"])
    targets, answers = task.teaching.teacher.targets(seen, places), task.model(video, visible)
    case.assert_close(targets, "output.targets")
    case.assert_close(answers, "output.student_outputs")
    case.assert_close(task.model.encoder.pos_embed, "output.student_pos_embed")
    case.assert_close(task.model.encoder.pos_embed, "output.student_clip_pos_embed")
    for kind, name in (("cosine", "l2"), ("mse", "mse"), ("smooth-l1", "smooth_l1")):
        case.assert_close(alignment_loss(answers, targets, kind), f"output.loss_{name}")

    loss = task.align(video, seen, places)
    case.assert_close(loss, "output.loss_l2")
    loss.backward()
    gradients = case.group("grad.student.")
    assert gradients
    for name in gradients:
        case.assert_close(task.model.get_parameter(name).grad, f"grad.student.{name}")


ADAPTERS = {"umt-pretrain": check_pretrain}
