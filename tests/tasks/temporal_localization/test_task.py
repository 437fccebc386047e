"""Training a detector: what a batch holds, what a run resumes, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import internvideo as iv
from internvideo.data.config import FeatureData
from internvideo.data.features import FeatureFiles
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.actionformer import ActionFormer
from internvideo.models.actionformer_config import ActionFormerConfig, RowGrid
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.temporal_localization.evaluate import evaluate
from internvideo.tasks.temporal_localization.labels import data_ranges
from internvideo.tasks.temporal_localization.task import Localization, LocalizationConfig
from internvideo.train.data import Example, collate
from internvideo.train.log import read_log
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.hub import LoadedModel, Record
from recipe.test_devices import assert_step_stays
from tasks.temporal_localization.untrimmed import (
    CHANNELS,
    CLASSES,
    FPS,
    STRIDE,
    WINDOW,
    write_videos,
)

DETECTOR = ActionFormerConfig(
    input_dims=(CHANNELS,),
    num_classes=len(CLASSES),
    width=16,
    head_width=16,
    num_heads=2,
    windows=(5,),
    num_stem=1,
    num_branch=2,
    max_length=96,
)
RECIPE = """
name: tiny
task: {{kind: localization, start_normalizer: 20}}
model: {{input_dims: [12], num_classes: 3, width: 16, head_width: 16, num_heads: 2, windows: [5],
        num_stem: 1, num_branch: 2, max_length: 96, drop_rate: 0.1}}
preprocessing: tal-features
data: {{kind: features, annotations: {folder}/annotations.json, format: activitynet,
       split: training, features: {{folders: {folder}/features, stride: 5, window: 10}}}}
optim: {{lr: 0.003, betas: [0.9, 0.999], weight_decay: 0.05, clip_grad_norm: 1.0, ema_decay: 0.9}}
schedule: {{rule: videomae, epochs: 4, warmup_epochs: 1, min_lr: 1.0e-8}}
runtime: {{batch_size: 4, num_workers: 0, log_every: 1, save_every: 1, threads: 1, seed: 1,
          accelerator: cpu}}
"""


def source(folder: Path, split: str = "training", **files):
    features = FeatureFiles(
        folders=folder / "features", **{"stride": float(STRIDE), "window": float(WINDOW), **files}
    )
    data = FeatureData(
        kind="features",
        annotations=folder / "annotations.json",
        format="activitynet",
        split=split,
        features=features,
    )
    return data.open(PRESETS["tal-features"], None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrimmed")
    write_videos(folder)
    return folder


def localization(config: ActionFormerConfig = DETECTOR, **options) -> Localization:
    torch.manual_seed(0)
    return Localization(ActionFormer(config), LocalizationConfig(**options))


def batch_of(task: Localization, videos, size: int = 3, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    rows = [task.prepare(videos.read(n, rng), rng) for n in range(size)]
    return collate([Example(each) for each in rows]).tensors


def test_a_batch_holds_padded_windows_and_the_targets_of_all_points(folder):
    task = localization(crop=None)
    batch = batch_of(task, source(folder))
    points = sum(DETECTOR.lengths(96))
    assert batch["features"].shape == (3, 96, CHANNELS)
    assert batch["classes"].shape == (3, points, len(CLASSES))
    assert batch["boundaries"].shape == (3, points, 2)
    assert batch["classes"].any()
    for row, length in zip(batch["features"], batch["host_length"].tolist(), strict=True):
        assert row[:length].any(dim=1).all()
        assert not row[length:].any()


@pytest.mark.parametrize("padding", ["exact", "reference"])
def test_rows_that_all_videos_of_a_batch_lack_change_nothing(folder, padding, monkeypatch):
    task = localization(replace(DETECTOR, padding=padding)).eval()
    for parameter in task.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    batch = batch_of(task, source(folder))
    assert int(batch["host_length"].max()) < 96 - 2**DETECTOR.num_branch
    short = task.training_loss(batch)
    task.normalizer.value.fill_(100.0)
    monkeypatch.setattr(task.detection, "rows_seen", lambda lengths: 96)
    whole = task.training_loss(batch)
    torch.testing.assert_close(short["loss"], whole["loss"], rtol=1e-4, atol=1e-6)


def test_every_class_of_a_proposal_detector_is_one(folder):
    task = localization(replace(DETECTOR, num_classes=1))
    assert set(batch_of(task, source(folder))["classes"].flatten().tolist()) == {0, 1}


def test_resized_videos_fill_the_training_length(folder):
    config = replace(DETECTOR, grid=RowGrid(resize_to=96))
    whole = batch_of(localization(config, crop_resized=False), source(folder))
    assert whole["host_length"].tolist() == [96] * 3
    cropped = batch_of(localization(config), source(folder))
    assert all(86 <= length <= 96 for length in cropped["host_length"].tolist())


def test_windows_are_drawn_by_the_generator_of_the_sample(folder):
    task, videos = localization(), source(folder)
    one, same, other = (batch_of(task, videos, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one["features"], same["features"])
    assert not torch.equal(one["features"], other["features"])


@pytest.mark.parametrize("weight", [1.0, None])
def test_a_step_stays_on_its_device_and_does_not_wait(folder, weight):
    task = localization(boundary_weight=weight, label_smoothing=0.1)
    assert_step_stays(task, batch_of(task, source(folder)))


# --- runs -------------------------------------------------------------------------------------


def recipe(folder: Path, *overrides: str):
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder))
    return load_recipe(path, overrides)


def losses(directory: Path) -> list[float]:
    return [record["loss"] for record in read_log(directory / "log.jsonl") if "loss" in record]


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(folder, tmp_path, monkeypatch):
    run_recipe(recipe(folder), tmp_path / "whole")
    assert losses(tmp_path / "whole")[-1] < 0.7 * losses(tmp_path / "whole")[0]

    seen = []
    plain = Localization.training_loss

    def stopping(self, batch):
        seen.append(1)
        if len(seen) == 7:
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(Localization, "training_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe(folder), tmp_path / "stopped")
    monkeypatch.undo()
    state = torch.load(tmp_path / "stopped" / "last.ckpt")
    assert state["step"] == 6
    assert state["task"]["normalizer.value"] != 20  # the mean is part of it
    run_recipe(recipe(folder), tmp_path / "stopped")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    one, other = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_ranges_of_the_data_are_taken_from_its_actions(tmp_path, caplog):
    write_videos(tmp_path, scale=6.0)
    with caplog.at_level("INFO"):
        run_recipe(recipe(tmp_path, "task.ranges=data", "schedule.steps=1"), tmp_path / "run")
    lengths = [
        (segment.end - segment.start) * FPS / STRIDE
        for video in source(tmp_path).annotated.videos
        for segment in video.segments
    ]
    (_, first), (_, second), _ = data_ranges(DETECTOR.strides, np.array(lengths))
    assert first > 8
    wanted = f"0 to {first:g}, {first:g} to {second:g}, {second:g} to 10000 rows"
    assert f"the levels find actions of {wanted}" in caplog.text


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A detector that was trained until it finds something, and measured by the run itself."""
    write_videos(folder, 6, subset="validation", seed=5)
    directory = tmp_path_factory.mktemp("runs") / "trained"
    files = f"{{folders: {folder}/features, stride: 5, window: 10}}"
    evaluated = f"{{kind: features, annotations: {folder}/annotations.json, format: activitynet, "
    run_recipe(
        recipe(
            folder,
            f"evaluation={{data: {evaluated} split: validation, features: {files}}}}}",
            "evaluation.every_epochs=15",
            "schedule.epochs=30",
            "optim.lr=0.005",
            "runtime.save_every=200",
            "model.selection={max_moments: 30}",
        ),
        directory,
    )
    return directory


def test_a_trained_detector_finds_the_actions(trained):
    report = json.loads((trained / "report.json").read_text())
    assert report["mAP@0.50"] > 60
    assert report["num_videos"] == 6
    assert report["failures"] == []
    loaded = iv.load(trained / "best").loaded
    assert loaded.class_names == CLASSES
    assert loaded.model.config.selection.max_moments == 30


def test_a_video_without_features_is_listed(trained, folder, tmp_path):
    shutil.copytree(folder / "features", tmp_path / "features")
    (tmp_path / "features" / "validation-03.npy").unlink()
    shutil.copy(folder / "annotations.json", tmp_path)
    loaded = iv.load(trained / "best").loaded
    report = evaluate(loaded, source(tmp_path, "validation"), loop=EvalLoop(num_workers=0))
    ((name, reason),) = report.failures
    assert name == "validation-03"
    assert "no features of validation-03" in reason


def test_a_detector_of_one_class_is_measured_as_proposals_or_with_classes_from_elsewhere(
    folder, trained, tmp_path
):
    videos = source(folder, "validation")
    config = replace(iv.load(trained / "best").model.config, num_classes=1)
    torch.manual_seed(0)
    loaded = LoadedModel(ActionFormer(config).eval(), Record(preprocessing=PRESETS["tal-features"]))
    report = evaluate(loaded, videos, loop=EvalLoop(num_workers=0))
    assert report.class_names == ("any action",)
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"results": {videos.key(n): [0.7, 0.2, 0.1] for n in range(6)}}))
    fused = evaluate(loaded, videos, loop=EvalLoop(num_workers=0), external_scores=str(scores))
    assert fused.class_names == CLASSES
    assert fused.num_found[0] == fused.num_found[1] > 0  # the two likeliest, each
    assert fused.num_found[2] == 0


# --- what is refused --------------------------------------------------------------------------


def test_features_of_another_encoder_are_named(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"12 channels.*takes 8"):
        batch_of(localization(replace(DETECTOR, input_dims=(8,))), source(folder))
    with pytest.raises(DataError, match=r"12 channels.*takes 8"):  # from the worker
        run_recipe(recipe(folder, "model.input_dims=[8]"), tmp_path)


def test_features_at_another_rate_are_named_with_both_lengths(folder, tmp_path):
    given = recipe(folder, "data.features.stride=10")
    with pytest.raises(DataError, match=r"rows.*annotation of training-\d\d says"):
        run_recipe(given, tmp_path)


def test_a_class_that_the_detector_does_not_know_is_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"the label 2, outside 0 to 1"):
        run_recipe(recipe(folder, "model.num_classes=2"), tmp_path)


def test_clips_of_frames_are_refused(folder):
    with pytest.raises(ConfigError, match="data of the kind 'features'"):
        localization().prepare(Sample(np.zeros((2, 4, 4, 3), np.uint8)), np.random.default_rng(0))


def test_ranges_must_be_as_many_as_levels():
    with pytest.raises(ConfigError, match="2 entries, the detector 3"):
        localization(ranges=((0.0, 4.0), (4.0, 10.0)))
