"""The fine-tuned unmasked teacher: classifier, frames, schedule, layer decay, views of the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.adapters.videomae import _check_stored
from golden.case import Case
from internvideo.models.classifier import VideoClassifier
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig
from internvideo.tasks.recognition.merge import ViewLogits, accuracy_percent, merge_views
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.optim import layer_numbers
from internvideo.train.schedules import Schedule
from internvideo.video import sampling


def check_finetune(case: Case) -> None:
    config, state = case.meta["config"], case.group("state.")
    model = UMTClassifier(
        UMTClassifierConfig(
            image_size=config["img_size"],
            num_frames=config["frames"],
            patch_size=config["patch_size"],
            tubelet_size=config["tubelet"],
            width=config["dim"],
            depth=config["depth"],
            num_heads=config["heads"],
            init_values=config.get("init_values", 0.0),
            num_classes=config["classes"],
        )
    )
    assert ("pos_embed" in state) == model.config.stores_positions
    if "pos_embed" in state:  # the one we make is the one that the reference made
        case.assert_close(model.pos_embed, "state.pos_embed")
    model.load_state_dict(state, strict=True)
    model.eval()
    video = case.tensors["input.video"]
    video = video.repeat_interleave(config["upsample"], dim=3)
    video = video.repeat_interleave(config["upsample"], dim=4)
    features = model.forward_features(video, layers=[0])
    logits = model(video)
    loss = F.cross_entropy(logits, case.tensors["input.labels"])
    _check_stored(
        case,
        {
            "after_block0_first64": features.hidden[0][:, :64],
            "features": model.pool(features),
            "logits": logits,
            "loss": loss,
            "pos_embed_used": model.positions(model.config.grid)[:, : config.get("keep_pos")],
        },
    )
    loss.backward()
    for name in case.group("grad."):
        case.assert_close(model.get_parameter(name).grad, f"grad.{name}")
    if "output.pos_embed_has_grad" in case.tensors:
        trained = any(parameter is model.pos_embed for parameter in model.parameters())
        assert trained == bool(case.tensors["output.pos_embed_has_grad"])


def _check_frames(rows: dict[str, Any]) -> None:
    for row in rows["finetune"]:
        length, frames = row["video_len"], row["frames"]
        clips = sampling.uniform_test_indices(
            length, clip_length=frames, num_clips=row["test_clips"]
        )
        assert clips.tolist() == row["test"], row
        middle = sampling.uniform_test_indices(length, clip_length=frames)
        assert middle[0].tolist() == row["validation"], row
        low, high = np.array(row["train_low"]), np.array(row["train_high_inclusive"])
        rng = np.random.default_rng(0)
        drawn = np.stack(
            [sampling.uniform_indices(length, clip_length=frames, rng=rng) for _ in range(1000)]
        )
        assert np.array_equal(drawn.min(axis=0), low)
        assert np.array_equal(drawn.max(axis=0), high)
    for row in rows["pretrain"]:
        rng = np.random.RandomState(row["numpy_seed"])
        length, frames = row["video_len"], row["frames"]
        drawn = sampling.umt_indices(length, clip_length=frames, rng=rng)
        assert drawn.tolist() == row["frame_ids"], row


def _check_schedule(row: dict[str, Any]) -> None:
    schedule = Schedule(
        OptimConfig(lr=row["base"]),
        ScheduleConfig(
            rule="videomae",
            epochs=row["epochs"],
            warmup_epochs=row["warmup_epochs"],
            min_lr=row["final"],
            warmup_lr=row["start"],
        ),
        lr=row["base"],
        steps_per_epoch=row["steps_per_epoch"],
    )
    rates = [schedule.lr(step) for step in range(schedule.total_steps)]
    assert rates == pytest.approx(row["values"], rel=1e-6)


def _check_layer_decay(table: dict[str, Any]) -> None:
    """Compare with two models: names of both stand in one table."""
    depth, decay = table["layers"], table["layer_decay"]
    learnable = UMTClassifierConfig(
        image_size=32, width=8, depth=depth, num_heads=2, num_classes=3, positions="learnable"
    )
    clip = ViCLIPVisionConfig(image_size=32, width=8, depth=depth, num_heads=2, embed_dim=4)
    numbers = {**layer_numbers(VideoClassifier(learnable)), **layer_numbers(ViCLIPVision(clip))}
    for name, expected in table["lr_scale"].items():
        assert numbers[name] == expected["layer_id"], name
        assert decay ** (depth + 1 - numbers[name]) == pytest.approx(expected["lr_scale"])


def _check_views(case: dict[str, Any], tolerance: float) -> None:
    views = case["views"]
    names = list(dict.fromkeys(view["video"] for view in views))
    columns = {
        "video": torch.tensor([names.index(view["video"]) for view in views]),
        "clip": torch.tensor([view["clip"] for view in views]),
        "crop": torch.tensor([view["crop"] for view in views]),
    }
    logits = torch.tensor([view["logits"] for view in views], dtype=torch.float64)
    labels = torch.zeros(len(names), dtype=torch.long)
    labels[columns["video"]] = torch.tensor([view["label"] for view in views])
    merged = merge_views(ViewLogits(logits=logits, **columns))
    for top in (1, 5):
        found = accuracy_percent(merged.scores, labels, top=top)
        assert found == pytest.approx(case[f"top{top}"], rel=tolerance)


def check_recipe(case: Case) -> None:
    _check_frames(case.meta["frame_sampling"])
    for row in case.meta["cosine_schedule"]:
        _check_schedule(row)
    _check_layer_decay(case.meta["layer_decay"])
    _check_views(case.meta["multi_view"], 1e-6)


ADAPTERS = {"umt-finetune": check_finetune, "umt-recipe": check_recipe}
