"""The recipes of question answering: what is published, and a run on the world from end to end."""

from __future__ import annotations

import json

import pytest
import torch

from internvideo.data import write_world
from internvideo.models.internvideo_qa import InternVideoQA
from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_preprocessing, build_task
from internvideo.recipe.run import run_recipe
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.world import World
from internvideo.zoo import load_model

PUBLISHED = [name for name in list_recipes() if "-qa_inter" in name or "frameqa_inter" in name]
OUTPUTS = {"msrvtt-qa": 1501, "msvd-qa": 1001, "tgif-frameqa": 1541}


def test_three_data_sets_in_two_sizes():
    assert sorted(PUBLISHED) == sorted(
        f"{data}_internvideo-mm-{size}" for data in OUTPUTS for size in "bl"
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_what_was_published(name):
    recipe = load_recipe(name)
    with torch.device("meta"):
        task = build_task(recipe, with_weights=False)
    model = task.model
    assert isinstance(model, InternVideoQA)
    assert model.config.num_classes == OUTPUTS[name.split("_")[0]]
    assert model.config.fused_width == (2560 if name.endswith("l") else 1792)
    assert model.config.towers.vision.global_drop_rate == model.config.dropout == 0.5
    assert 8 * recipe.runtime.batch_size * recipe.runtime.accumulate == 512
    assert recipe.data.shuffle is False
    assert recipe.data.answers == recipe.evaluation.data.answers
    assert recipe.data.annotations != recipe.evaluation.data.annotations
    protocol = build_preprocessing(recipe)
    shape = "short-side" if name.startswith("tgif") else "squash"
    assert (protocol.sampling, protocol.num_frames) == ("middle", 8)
    assert (protocol.resize_rule, protocol.resize_size, protocol.crop_size) == (shape, 256, 224)
    assert task.input.augmentation.flip_probability == 0
    assert task.input.augmentation.mean == protocol.mean
    optimizer = build_optimizer(task, recipe.optim, lr=recipe.optim.lr)
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    assert (scales, recipe.optim.lr) == ({1.0, 10.0}, 1e-5)
    schedule = Schedule(recipe.optim, recipe.schedule, lr=1e-5, steps_per_epoch=37)
    assert (schedule.total_steps, schedule.warmup_steps) == (740, int(0.1 * 740))
    assert schedule.lr(407) == pytest.approx(1e-5 / 2)


TINY = {
    "vision": {
        "kind": "VideoViT", "image_size": 16, "num_frames": 4, "patch_size": 16,
        "tubelet_size": 1, "width": 16, "depth": 1, "num_heads": 2,
    },
    "text": {"width": 16, "depth": 1, "num_heads": 2, "context_length": 24, "embed_dim": 8},
    "embed_dim": 8, "decoder_depth": 1, "decoder_queries": 2, "vocabulary": "world",
}  # fmt: skip


def overrides(**values) -> list[str]:
    return [f"{name.replace('__', '.')}={json.dumps(value)}" for name, value in values.items()]


def test_a_run_keeps_its_answers_and_says_where_they_come_from(tmp_path):
    data = tmp_path / "data"
    write_world(data, 20, kind="msrvtt-qa", world=World(seed=1, size=16, num_frames=8))
    train, test = (data / f"msrvtt_qa_{split}.jsonl" for split in ("train", "test"))
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    recipe = load_recipe(
        "world_qa-nano",
        overrides(
            init=None, model__towers=TINY, model__num_classes=13, optim__lr_scales={},
            preprocessing={"num_frames": 4, "resize_size": 16, "crop_size": 16},
            data={"kind": "msrvtt-qa", "annotations": str(train), "answers": 12, "per_video": True},
            evaluation={"data": {"kind": "msrvtt-qa", "annotations": str(test)}},
            runtime={"batch_size": 4, "num_workers": 0, "log_every": 1},
        ),
    )  # fmt: skip
    model = load_model(run_recipe(recipe, tmp_path / "run"))
    assert len(model.labels) == 13
    assert model.labels[12] == ""
    counts = {answer: sum(row["answer"] == answer for row in rows) for answer in model.labels[:12]}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["answers_origin"].startswith("12 most frequent of the ")
    assert report["answers_origin"].endswith(f"questions of {train}")
    assert report["num_questions"] > report["num_questions"] - report["num_unknown"] > 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("accuracy" in line and "known" in line for line in log)


def test_a_decoder_that_learnt_to_answer_says_so(tmp_path):
    recipe = load_recipe(
        "world_qa-nano_open",
        overrides(
            init=None, model={"architecture": "internvideo-mm", **TINY},
            preprocessing={"num_frames": 4, "resize_size": 16, "crop_size": 16},
            data__num_clips=8, runtime={"batch_size": 4, "num_workers": 0},
        ),
    )  # fmt: skip
    model = load_model(run_recipe(recipe, tmp_path / "run"))
    assert model.record.provenance["task"] == "open-question-answering"
