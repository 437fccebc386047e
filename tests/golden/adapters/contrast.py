"""Contrastive pretraining: what decays, learning rates, and the loss of several processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from golden.adapters.viclip import vision_config
from golden.case import Case
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.tasks.contrastive.task import ContrastiveConfig, ContrastivePretraining
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.contrast import blockwise_contrast
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.video.preprocessing import Preprocessing

TINY = {  # of the case viclip-tiny, where the fixture of the groups says it comes from
    "input_resolution": 32, "num_frames": 4, "kernel_size": 1, "patch_size": 8, "width": 16,
    "layers": 2, "heads": 2, "output_dim": 8,
}  # fmt: skip


def check_parameter_groups(case: Case) -> None:
    for name, frozen in (("text_frozen", True), ("text_trainable", False)):
        expected = case.meta["weight_decay"][name]
        text = CLIPTextConfig(
            vocab_size=20, context_length=6, width=16, depth=2, num_heads=2, embed_dim=8
        )
        model = ViCLIP(ViCLIPConfig(vision=vision_config(TINY), text=text, embed_dim=8))
        task = ContrastivePretraining(
            model, Preprocessing(num_frames=4), ContrastiveConfig(freeze_text=frozen)
        )
        optimizer = build_optimizer(task, OptimConfig(weight_decay=0.2), lr=1.0)
        names = {id(p): n.removeprefix("model.") for n, p in task.named_parameters()}
        groups = {
            names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]
        }
        assert groups == expected, name


def check_learning_rates(case: Case) -> None:
    config, optim = case.meta["config"], OptimConfig(lr=case.meta["config"]["lr"])
    for name, rule in (("cosine", "viclip"), ("poly1", "linear")):
        schedule = Schedule(
            optim,
            ScheduleConfig(rule=rule, steps=config["total"], warmup_steps=config["warmup"]),
            lr=optim.lr,
            steps_per_epoch=123,
        )
        rates = [schedule.lr(step) for step in range(schedule.total_steps)]
        case.assert_close(torch.tensor(rates, dtype=torch.float64), f"output.lr.{name}")


def check_processes(case: Case) -> None:
    """The reference keeps a slice of the gradient on each rank; the slices are the whole of ours.

    tests/train/test_contrast.py shows that our processes compute what one computes.
    """
    ranks = range(sum(name.startswith("input.video_rank") for name in case.tensors))
    sides = {}
    for side in ("video", "text"):
        parts = [case.tensors[f"input.{side}_rank{rank}"] for rank in ranks]
        sides[side] = torch.cat(parts)[:, 0].requires_grad_()
    scale = torch.tensor(case.meta["logit_scale"], requires_grad=True)
    unit = {side: F.normalize(x, dim=-1) for side, x in sides.items()}
    case.assert_close(torch.exp(scale) * unit["text"] @ unit["video"].T, "output.logits_global")
    loss = blockwise_contrast(unit["video"], unit["text"], torch.exp(-scale), block=20).loss
    loss.backward()
    for rank in ranks:
        case.assert_close(loss, f"output.loss_rank{rank}")
        for side, x in sides.items():
            assert x.grad is not None
            own = x.grad.chunk(len(ranks))[rank]
            case.assert_close(own[:, None], f"grad.{side}_rank{rank}")
        assert scale.grad is not None
        case.assert_close(scale.grad, f"grad.logit_scale_rank{rank}")


ADAPTERS = {
    "viclip-param-groups": check_parameter_groups,
    "internvideo-mm-lr-warmup": check_learning_rates,
    "retrieval-gather": check_processes,
}
