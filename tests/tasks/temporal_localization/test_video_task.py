"""Detectors from frames: windows, a frozen and a tuned encoder, runs and their measure."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import internvideo as iv
from internvideo.annotations import VideoAnnotation
from internvideo.data.config import UntrimmedData
from internvideo.data.feature_videos import FeatureVideo
from internvideo.data.samples import Sample
from internvideo.data.untrimmed import UntrimmedVideo
from internvideo.errors import CheckpointError, ConfigError, DataError
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.extraction import video_features
from internvideo.models.vit import VideoViT
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.temporal_localization.evaluate import evaluate
from internvideo.tasks.temporal_localization.task import Localization, LocalizationConfig
from internvideo.tasks.temporal_localization.video_detector import VIDEO_DETECTOR, VideoDetector
from internvideo.tasks.temporal_localization.video_task import (
    VideoLocalization,
    VideoLocalizationConfig,
)
from internvideo.train.config import OptimConfig
from internvideo.train.data import Example, collate
from internvideo.train.optim import build_optimizer
from internvideo.video import Video, write_video
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo import save_pretrained
from internvideo.zoo.hub import LoadedModel, Record
from recipe.test_devices import assert_step_stays

CLASSES = ("blue", "green", "red")
FPS, FRAMES = 10, 60
TINY = VIDEO_DETECTOR.tiny["tuned"]
PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32
)
RECIPE = """
name: tiny
task: {{kind: localization-video, start_normalizer: 20, windows_at_once: 20}}
model:
  stride: 2
  frozen: {frozen}
  encoder: {{image_size: 32, num_frames: 4, patch_size: 16, tubelet_size: 2, width: 16, depth: 1,
            num_heads: 2}}
  detector: {{input_dims: [16], num_classes: 3, width: 16, head_width: 16, num_heads: 2,
             windows: [5], num_stem: 1, num_branch: 2, max_length: 24}}
preprocessing: {{num_frames: 4, sampling: middle, resize_rule: squash, resize_size: 32,
                crop_size: 32}}
data: {{kind: untrimmed, annotations: {folder}/annotations.json, root: {folder},
       format: activitynet, split: training}}
evaluation: {{data: {{kind: untrimmed, annotations: {folder}/annotations.json, root: {folder},
             format: activitynet, split: validation}}}}
optim: {{lr: 0.003, betas: [0.9, 0.999], clip_grad_norm: 1.0, ema_decay: 0.9}}
schedule: {{rule: videomae, epochs: 2, warmup_epochs: 1}}
runtime: {{batch_size: 2, num_workers: 0, log_every: 1, save_every: 1, threads: 1,
          accelerator: cpu}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey videos; an action of a class is its colour."""
    folder, rng = tmp_path_factory.mktemp("untrimmed"), np.random.default_rng(0)
    database = {}
    for number in range(6):
        frames = rng.integers(90, 130, (FRAMES, 32, 40, 3), dtype=np.uint8)
        start, label = int(rng.integers(5, 25)), int(rng.integers(3))
        frames[start : start + 25, ..., 2 - label] = 240
        name = f"clip{number}"
        write_video(folder / f"v_{name}.mp4", frames, fps=FPS)
        segment = {"label": CLASSES[label], "segment": [start / FPS, (start + 25) / FPS]}
        database[name] = {
            "subset": "training" if number < 4 else "validation",
            "duration": FRAMES / FPS,
            "annotations": [segment],
        }
    content = {"database": database, "taxonomy": [
        {"nodeId": n, "nodeName": name, "parentId": 9} for n, name in enumerate(CLASSES)
    ]}  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def videos(folder, split="training"):
    data = UntrimmedData(
        kind="untrimmed", annotations=folder / "annotations.json", root=str(folder),
        format="activitynet", split=split,
    )  # fmt: skip
    return data.open(PROTOCOL, None)


def localization(config=TINY, **options) -> VideoLocalization:
    torch.manual_seed(0)
    model = VideoDetector(config)
    with torch.no_grad():
        for parameter in model.detector.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    options = {"crop": None, "windows_at_once": 10, **options}
    return VideoLocalization(model, PROTOCOL, VideoLocalizationConfig(**options))


def batch_of(task, source, numbers=(0, 1)) -> dict:
    rng = np.random.default_rng(0)
    return collate([Example(task.prepare(source.read(n, rng), rng)) for n in numbers]).tensors


def test_training_from_frames_is_training_on_the_features_of_its_encoder(folder):
    """The same windows, the same rows, the same loss."""
    config = replace(TINY, detector=replace(TINY.detector, max_length=40))
    task, source = localization(config).eval(), videos(folder)
    loss = task.training_loss(batch_of(task, source))

    loaded = LoadedModel(
        task.model, Record(preprocessing=PROTOCOL), architectures=(VIDEO_DETECTOR,)
    )
    on_features = Localization(task.model.detector, LocalizationConfig(crop=None)).eval()
    rng = np.random.default_rng(0)
    rows = []
    for number in (0, 1):
        features = video_features(loaded, source.path(number), task.extraction)
        assert len(features) == (FRAMES - 4) // 2 + 1
        sample = FeatureVideo(
            features=features, annotation=source.annotated.videos[number], key="a"
        )
        rows.append(Example(on_features.prepare(sample, rng)))
    expected = on_features.training_loss(collate(rows).tensors)
    for name in ("loss", "classes", "boundaries"):
        torch.testing.assert_close(loss[name], expected[name], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_video_shorter_than_a_window_is_seen_as_by_extraction(tmp_path):
    frames = np.arange(0, 240, 80, dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    write_video(tmp_path / "short.mp4", np.tile(frames, (1, 32, 40, 1)), fps=FPS)
    task, rng = localization().eval(), np.random.default_rng(0)
    annotation = VideoAnnotation(path="short.mp4", id="short", duration=0.3)
    sample = UntrimmedVideo(video=Video(tmp_path / "short.mp4"), annotation=annotation)
    batch = collate([Example(task.prepare(sample, rng))]).tensors
    assert batch["host_length"].tolist() == [1]
    loaded = LoadedModel(
        task.model, Record(preprocessing=PROTOCOL), architectures=(VIDEO_DETECTOR,)
    )
    expected = video_features(loaded, tmp_path / "short.mp4", task.extraction).features
    torch.testing.assert_close(task._rows(batch["video"], [1], 1)[0], expected)


def test_tables_of_the_encoder_and_scales_of_the_detector_do_not_decay():
    task = localization(replace(TINY, encoder=replace(TINY.encoder, positions="learnable")))
    groups = build_optimizer(task, OptimConfig(weight_decay=0.1), lr=1.0).param_groups
    still = {id(each) for group in groups if not group["decays"] for each in group["params"]}
    assert id(task.model.encoder.pos_embed) in still
    assert all(id(p) in still for n, p in task.named_parameters() if n.endswith("scale"))


def test_padding_is_not_encoded_and_windows_at_once_change_nothing(folder, monkeypatch):
    config = replace(TINY, detector=replace(TINY.detector, max_length=40))
    losses, encoded = [], []
    plain = VideoViT.forward_features

    def counting(self, clips, **options):
        encoded.append(len(clips))
        return plain(self, clips, **options)

    monkeypatch.setattr(VideoViT, "forward_features", counting)
    for at_once in (7, 1000):
        task = localization(config, windows_at_once=at_once, crop=(0.4, 0.9)).eval()
        batch = batch_of(task, videos(folder))
        encoded.clear()
        losses.append(task.training_loss(batch)["loss"])
        assert sum(encoded) == int(batch["host_length"].sum()) < 2 * 29
        assert max(encoded) <= at_once
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_gradient_reaches_a_tuned_encoder_and_no_frozen_one(folder, frozen):
    task = localization(replace(TINY, frozen=frozen)).train()
    assert task.model.encoder.training == (not frozen)
    assert task.model.detector.training
    task.training_loss(batch_of(task, videos(folder)))["loss"].backward()
    grads = [p.grad for p in task.model.encoder.parameters()]
    assert all((grad is None or not grad.any()) == frozen for grad in grads)
    assert all(p.requires_grad == (not frozen) for p in task.model.encoder.parameters())
    assert task.model.detector.backbone.embd[0].conv.weight.grad.any()


def test_a_step_stays_on_its_device_and_does_not_wait(folder):
    task = localization()
    assert_step_stays(task, batch_of(task, videos(folder)))


@torch.no_grad()
def test_the_network_by_itself_is_encoder_then_detector():
    model = localization().model.eval()
    (video,) = model.example_inputs(2)
    found = model(video)
    windows = [video[:, :, start : start + 4] for start in range(0, video.shape[2] - 3, 2)]
    rows = torch.stack([model.encoder.pooled(window) for window in windows], dim=1)
    for one, other in zip(found.logits, model.detector(rows).logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_is_built_without_memory_and_takes_weights_without_a_copy():
    model = localization().model.eval()
    with torch.device("meta"):
        hollow = VideoDetector(TINY).eval()
    hollow.load_state_dict(model.state_dict(), strict=True, assign=True)
    hollow.reset_buffers()
    inputs = model.example_inputs(2)
    with torch.no_grad():
        for one, other in zip(hollow(*inputs).logits, model(*inputs).logits, strict=True):
            assert torch.equal(one, other)
    hollow.to_empty(device="cpu").reset_parameters()
    assert all(torch.isfinite(p).all() for p in hollow.parameters())


def recipe(folder, directory, *overrides, frozen="false"):
    path = directory / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder, frozen=frozen))
    return load_recipe(path, overrides)


def test_a_run_from_frames_is_measured_saved_and_measured_again(folder, tmp_path):
    torch.manual_seed(3)
    start = save_pretrained(VideoViT(TINY.encoder), tmp_path / "encoder")
    run_recipe(recipe(folder, tmp_path, f"init={start}", frozen="true"), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num_videos"] == 2
    given = load_file(start / "model.safetensors")
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(trained[f"encoder.{name}"], given[name]) for name in given)

    loaded = iv.load(tmp_path / "run" / "best").loaded
    assert loaded.architecture == "actionformer/video"
    assert loaded.class_names == CLASSES
    again = evaluate(loaded, videos(folder, "validation"), loop=EvalLoop())
    assert again.metrics() == pytest.approx({name: report[name] for name in again.metrics()})

    submitted = json.loads((tmp_path / "run" / "submission.json").read_text())["results"]["clip4"]
    film = folder / "v_clip4.mp4"
    (answer,) = iv.load(tmp_path / "run" / "best").predict(
        "moments", [film], threshold=0, top_k=999
    )
    asked = [(each.label, each.start, each.end, each.score) for each in answer.moments]
    measured = [(each["label"], *each["segment"], each["score"]) for each in submitted]
    assert len(asked) == len(measured) > 0
    for one, other in zip(sorted(asked), sorted(measured), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=1e-3)


def test_a_video_that_cannot_be_read_is_listed(folder, tmp_path):
    (tmp_path / "v_clip5.mp4").write_bytes(b"no video")
    for name in ("annotations.json", "v_clip4.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    model = LoadedModel(
        localization().model.eval(), Record(preprocessing=PROTOCOL), architectures=(VIDEO_DETECTOR,)
    )
    report = evaluate(model, videos(tmp_path, "validation"), loop=EvalLoop())
    assert [name for name, _ in report.failures] == ["clip5"]
    assert report.num_videos == 1


def test_what_does_not_go_together_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="width of the encoder"):
        replace(TINY, detector=replace(TINY.detector, input_dims=(8,)))
    with pytest.raises(ConfigError, match="data of the kind 'untrimmed'"):
        localization().prepare(Sample(np.zeros((4, 8, 8, 3), np.uint8)), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="a clip is a window"):
        run_recipe(recipe(folder, tmp_path, "preprocessing.num_frames=8"), tmp_path / "d")
    with pytest.raises(ConfigError, match="grid is for features"):
        run_recipe(recipe(folder, tmp_path, "model.detector.grid={keep_every: 2}"), tmp_path / "a")
    with pytest.raises(ConfigError, match="for training on features"):
        run_recipe(recipe(folder, tmp_path, "task.ranges=data"), tmp_path / "b")
    with pytest.raises(DataError, match="outside 0 to 1"):
        run_recipe(recipe(folder, tmp_path, "model.detector.num_classes=2"), tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        VIDEO_DETECTOR.infer({}, None)
