"""Training: parameter groups, schedules and whole optimiser steps of the reference engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from golden.adapters.videomae import MEAN, STD, _classifier, _pretraining_model
from golden.case import Case
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.tubelets import split_mask
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.masked.task import MaskedConfig, MaskedPretraining
from internvideo.tasks.recognition.supervised import SupervisedConfig, SupervisedRecognition
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.train.step import StepReport, optimizer_step
from internvideo.train.task import LossModule
from internvideo.video.preprocessing import Preprocessing


def _groups(model: nn.Module, config: OptimConfig) -> list[tuple[float, float, set[str]]]:
    """Return (lr scale, weight decay, names) of the groups of the library's optimiser."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, config, lr=config.lr)
    return [
        (group["lr_scale"], group["weight_decay"], {names[id(p)] for p in group["params"]})
        for group in optimizer.param_groups
    ]


def _merged(groups: Sequence[dict[str, Any]]) -> list[tuple[float, float, set[str]]]:
    """Return the reference's groups; it splits some that have the same numbers."""
    merged: dict[tuple[float, float], set[str]] = {}
    for group in groups:
        key = (group["lr_scale"], group["weight_decay"])
        merged.setdefault(key, set()).update(group["params"])
    return [(scale, decay, names) for (scale, decay), names in merged.items()]


def _sorted(groups: list[tuple[float, float, set[str]]]) -> list[tuple[float, float, list[str]]]:
    return sorted((round(scale, 12), decay, sorted(names)) for scale, decay, names in groups)


def check_layer_decay(case: Case) -> None:
    for table in case.meta["tables"]:
        config = table["config"]
        mean = config["use_mean_pooling"]
        model = VideoClassifier(
            VideoClassifierConfig(
                image_size=config["img_size"],
                num_frames=config["all_frames"],
                patch_size=config["patch_size"],
                width=config["embed_dim"],
                depth=config["depth"],
                num_heads=config["num_heads"],
                mlp_ratio=config["mlp_ratio"],
                init_values=config["init_values"],
                num_classes=config["num_classes"],
                positions="learnable" if config.get("use_learnable_pos_emb") else "base-grid",
                pooling="mean" if mean else "first",
                final_norm=not mean,
            )
        )
        groups = _groups(
            model,
            OptimConfig(layer_decay=table["layer_decay"], weight_decay=table["weight_decay"]),
        )
        assert _sorted(groups) == _sorted(_merged(table["groups"])), table["variant"]
        numbers = {name: (scale, decay) for scale, decay, names in groups for name in names}
        assert numbers == {
            name: (expected["lr_scale"], expected["weight_decay"])
            for name, expected in table["per_param"].items()
        }
        for column, field in enumerate(("lr_scale", "weight_decay")):
            stored = case.tensors[f"output.{table['variant']}.{field}"]
            ours = [numbers[name][column] for name, _ in model.named_parameters()]
            assert ours == stored.tolist(), f"{table['variant']}: {field}"
    pretrain = case.meta["pretrain_groups"]
    names = {name for group in pretrain for name in group["params"]}
    depths = {
        part: len({n.split(".")[2] for n in names if n.startswith(f"{part}.blocks.")})
        for part in ("encoder", "decoder")
    }
    encoder = VideoViTConfig(image_size=32, num_frames=4, width=8, depth=depths["encoder"],
                             num_heads=2)  # fmt: skip
    model = VideoMAE(
        VideoMAEConfig(
            encoder=encoder,
            decoder_width=8,
            decoder_depth=depths["decoder"],
            decoder_num_heads=2,
        )
    )
    decay = max(group["weight_decay"] for group in pretrain)
    assert _sorted(_groups(model, OptimConfig(weight_decay=decay))) == _sorted(_merged(pretrain))


def _lr_schedule(spec: dict[str, Any], optim: OptimConfig) -> Schedule:
    return Schedule(
        optim,
        ScheduleConfig(
            rule="videomae",
            epochs=spec["epochs"],
            warmup_epochs=spec["warmup_epochs"],
            min_lr=spec["final"],
        ),
        lr=spec["base"],
        steps_per_epoch=spec["iters_per_epoch"],
    )


def _train(
    task: nn.Module,
    optim: OptimConfig,
    schedule: Schedule,
    steps: dict[int, Sequence[dict[str, Tensor]]],
) -> tuple[list[StepReport], list[float], list[float]]:
    """Take the given steps as the training loop takes them."""
    fabric = Fabric(accelerator="cpu", devices=1)
    objective = fabric.setup_module(LossModule(task))
    objective.train()
    optimizer = fabric.setup_optimizers(build_optimizer(task, optim, lr=schedule.peak))
    reports, rates, decays = [], [], []
    for step, batches in steps.items():
        rates.append(schedule.apply_(optimizer, step))
        decays.append(max(group["weight_decay"] for group in optimizer.param_groups))
        reports.append(
            optimizer_step(
                fabric,
                objective,
                optimizer,
                batches,
                max_norm=optim.clip_grad_norm,
            )
        )
    return reports, rates, decays


def _frames(video: Tensor) -> Tensor:
    """Return a clip "b c t y x" as data workers give it: "b t y x c"."""
    return video.permute(0, 2, 3, 4, 1).contiguous()


def _check_after(case: Case, model: nn.Module) -> None:
    expected = case.group("output.state_after.")
    state = model.state_dict()
    assert expected.keys() == state.keys()
    assert any(not torch.equal(state[name], t) for name, t in case.group("state.").items())
    for name in expected:
        case.assert_close(state[name], f"output.state_after.{name}")


def check_pretrain_steps(case: Case) -> None:
    spec = case.meta["optimizer"]
    rates, decays = spec["lr_schedule"], spec["wd_schedule"]
    optim = OptimConfig(
        lr=rates["base"],
        betas=tuple(spec["betas"]),
        eps=spec["eps"],
        clip_grad_norm=spec["clip_grad"],
        weight_decay=decays["base"],
        weight_decay_end=decays["final"],
    )
    case.meta["config"].setdefault("normalize_target", True)
    model = _pretraining_model(case)
    protocol = Preprocessing(num_frames=16, mean=MEAN, std=STD)
    task = MaskedPretraining(model, protocol, MaskedConfig())
    steps = {}
    for number in range(spec["num_steps"]):
        split = split_mask(case.tensors[f"input.mask.{number}"].bool())
        batch = {
            "video": _frames(case.tensors[f"input.video_uint8.{number}"]),
            "visible": split.visible,
            "masked": split.masked,
        }
        steps[spec["start_step"] + number] = [batch]
    reports, used_rates, used_decays = _train(task, optim, _lr_schedule(rates, optim), steps)
    losses = torch.stack([report.losses["loss"] for report in reports])
    case.assert_close(losses, "output.losses", rtol=case.meta["tolerance"]["loss_rtol"], atol=0)
    for ours, name in ((used_rates, "lr_used"), (used_decays, "wd_used")):
        case.assert_close(torch.tensor(ours), f"output.{name}", rtol=1e-6, atol=0)
    _check_after(case, model)


def check_finetune_steps(case: Case) -> None:
    spec = case.meta["optimizer"]
    rates = spec["lr_schedule"]
    optim = OptimConfig(
        lr=rates["base"],
        betas=tuple(spec["betas"]),
        eps=spec["eps"],
        clip_grad_norm=spec["clip_grad"],
        weight_decay=spec["weight_decay"],
        layer_decay=spec["layer_decay"],
    )
    model = _classifier(case)
    task = SupervisedRecognition(
        model,
        Preprocessing(num_frames=16, mean=MEAN, std=STD),
        SupervisedConfig(label_smoothing=spec["label_smoothing"], mixup=0.0, cutmix=0.0),
    )
    factor = case.meta["input_upsample"]
    batches = []
    for number in range(spec["micro_batches"]):
        pixels = case.tensors[f"input.video_small_uint8.{number}"]
        pixels = pixels.repeat_interleave(factor, dim=3).repeat_interleave(factor, dim=4)
        label = case.tensors[f"input.label.{number}"]
        batches.append({"video": _frames(pixels), "label": label})
    size = spec["update_freq"]
    parts = [batches[first : first + size] for first in range(0, len(batches), size)]
    steps = {spec["start_step"] + number: part for number, part in enumerate(parts)}

    reports, used_rates, _ = _train(task, optim, _lr_schedule(rates, optim), steps)
    losses = torch.stack([each for report in reports for each in report.loss_of_each])
    case.assert_close(losses, "output.losses")
    case.assert_close(torch.tensor(used_rates), "output.base_lr_used", rtol=1e-6, atol=0)
    _check_after(case, model)


ADAPTERS = {
    "videomae-layer-decay": check_layer_decay,
    "videomae-pretrain-trainsteps": check_pretrain_steps,
    "videomae-finetune-trainsteps": check_finetune_steps,
}
