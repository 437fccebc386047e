"""Key frames from file to report, and a detector from recipe to answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.cli.answers import show_all
from internvideo.data.feature_videos import read_videos
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.dino import DINO
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.run import run_recipe
from internvideo.tasks.state_change.evaluate import evaluate, open_pictures, score
from internvideo.tasks.state_change.pictures import padded
from internvideo.tasks.state_change.predict import predict
from internvideo.tasks.state_change.task import StateChange, StateChangeConfig, annotated_pictures
from internvideo.video import Video, write_video
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.dino import DINO as KIND
from internvideo.zoo.load import load_model
from tasks.state_change.key_frames import SIZE, write_pictures

CONFIG = replace(KIND.tiny["uniformer"], num_classes=1)
PROTOCOL = replace(PRESETS["ego4d-scod"], resize_size=64, crop_size=64)
RECIPE = """
name: tiny
task: {{kind: state-change, short_sides: [48, 64], long_side: 96, denoising: {{num_queries: 4}}}}
model: {{num_classes: 1, width: 32, num_heads: 4, num_points: 2, encoder_depth: 1,
        decoder_depth: 2, mlp_hidden: 48, num_queries: 12, norm_groups: 8,
        backbone: {{kind: UniFormerPyramid, widths: [16, 16, 32, 32], depths: [1, 1, 1, 1],
                   head_dim: 16, third_stage: windows, window_size: 3}}}}
preprocessing: {{num_frames: 1, resize_size: 64, crop_size: 64}}
data: {{kind: untrimmed, annotations: {folder}/val.json, root: {folder}/frames}}
evaluation: {{data: {{kind: untrimmed, annotations: {folder}/val.json, root: {folder}/frames}}}}
optim: {{lr: 1.0e-4, clip_grad_norm: 0.1, lr_scales: {{backbone: 0.1}}}}
schedule: {{rule: multistep, epochs: 1, warmup_steps: 1, milestones: [0.5]}}
runtime: {{batch_size: 2, num_workers: 0, accelerator: cpu}}
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scod")
    return write_pictures(folder)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    record = Record(preprocessing=PROTOCOL, labels=("object_of_change",))
    return LoadedModel(DINO(CONFIG).eval(), record)


def opened(path):
    return open_pictures(AnnotatedData(path=str(path), root=str(path.parent / "frames")))


def test_what_is_measured_is_what_the_submission_scores(pictures, model, tmp_path):
    boxes = tmp_path / "boxes.json"
    loop = EvalLoop(num_workers=0, directory=tmp_path / "run")
    report = evaluate(model, opened(pictures), loop=loop, submission=boxes)
    assert (report.num_pictures, report.num_answered, report.num_true) == (6, 6, 5)
    assert report.num_found == 6 * CONFIG.num_queries
    again = score(AnnotatedData(path=str(pictures)), boxes)
    assert again.metrics() == pytest.approx(report.metrics(), abs=0.2)  # rounded to 0.001 pixels
    resumed = evaluate(model, opened(pictures), loop=loop)
    assert resumed.metrics() == pytest.approx(report.metrics())
    assert report.to_dict()["num_true"] == 5


def test_true_boxes_score_all_there_is(pictures, tmp_path):
    content = json.loads(pictures.read_text())
    boxes = [{**each, "score": 1 - each["id"] / 99} for each in content["annotations"]]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    report = score(AnnotatedData(path=str(pictures)), tmp_path / "boxes.json")
    assert report.metrics()["AP"] == pytest.approx(100)
    assert "AP_large" not in report.metrics()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "box 1 .* picture that is not there"),
        ({"bbox": [1, 2]}, "expected numbers bbox"),
        ({"score": "high"}, "expected numbers bbox"),
    ],
)
def test_boxes_that_do_not_fit_are_named(pictures, tmp_path, change, message):
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    (tmp_path / "boxes.json").write_text(json.dumps([{**box, **change}]))
    with pytest.raises(DataError, match=message):
        score(AnnotatedData(path=str(pictures)), tmp_path / "boxes.json")


def test_a_missing_picture_is_a_failure_whose_objects_are_missed(model, tmp_path):
    path = write_pictures(tmp_path, 3)
    (tmp_path / "frames" / "val_1.png").unlink()
    report = evaluate(model, opened(path), loop=EvalLoop(num_workers=0))
    assert (report.num_pictures, report.num_answered, report.num_true) == (3, 2, 2)
    ((name, reason),) = report.failures
    assert name == "1"
    assert "val_1.png" in reason
    assert "count as missed" in report.notes()[0]


def test_without_any_box_nothing_is_measured(tmp_path):
    path = write_pictures(tmp_path, 1)
    with pytest.raises(DataError, match="no boxes in 1 pictures"):
        opened(path)


def test_a_detector_of_other_classes_and_another_model_are_refused(pictures):
    other = LoadedModel(DINO(replace(CONFIG, num_classes=2)).eval(), Record(preprocessing=PROTOCOL))
    with pytest.raises(ConfigError, match="2 classes"):
        evaluate(other, opened(pictures), loop=EvalLoop(num_workers=0))


def test_objects_are_found_in_pictures_and_in_a_frame_of_a_video(pictures, model, tmp_path, capsys):
    frame = Video(pictures.parent / "frames" / "val_2.png").frames([0])[0].numpy()
    clip = tmp_path / "clip.mp4"
    write_video(clip, torch.from_numpy(np.stack([0 * frame] * 10 + [frame] * 10)), fps=10)
    picture, middle, late, lost = predict(
        model,
        [pictures.parent / "frames" / "val_2.png", clip, clip, tmp_path / "none.mp4"],
        top_k=3,
    )
    assert (picture.size, len(picture.boxes), picture.labels[0]) == (SIZE, 3, "object_of_change")
    assert middle.time == 1.0
    assert middle.scores[0] == pytest.approx(picture.scores[0], abs=0.1)
    assert late.to_dict()["objects"][0]["label"] == "object_of_change"
    assert picture.summary()
    assert isinstance(lost, VideoError)
    for answers in ([picture, lost], [picture, middle, late, picture]):  # tables, or one of all
        code = show_all(iter(answers), ["a"] * len(answers), [], description="", as_json=False,
                        targets={})  # fmt: skip
        assert code == (1 if lost in answers else 0)
        assert "object_of_change" in capsys.readouterr().out
    (behind,) = predict(model, [clip], at=9.0)
    assert "no frame at 9 s" in str(behind)


def test_mirrored_boxes_stay_on_what_they_are_around(pictures):
    source = UntrimmedSource(read_videos(pictures, root=str(pictures.parent / "frames")))
    config = StateChangeConfig(short_sides=(64, 64), long_side=96, flip=1.0)
    task = StateChange(DINO(CONFIG), config, PROTOCOL)
    kept = annotated_pictures(task, source, pictures.parent, num_workers=0, fabric=None)
    assert len(kept) == len(source) - 1
    for index in range(len(kept)):
        (row,) = task.prepare(kept.read(index, None), np.random.default_rng(0))
        left, top, right, bottom = row["boxes"][0].round().int().tolist()
        inside = row["image"][0, top:bottom, left:right].float()
        assert inside.mean() > 230
        assert row["image"][0].float().sum() - inside.sum() < 60 * row["image"][0].numel()
        assert row["host_size"].tolist() == [64, 96]


def test_a_picture_with_too_many_boxes_ends_the_run(pictures):
    source = UntrimmedSource(read_videos(pictures, root=str(pictures.parent / "frames")))
    sample = source.read(0, None)
    sample = replace(
        sample, annotation=replace(sample.annotation, boxes=sample.annotation.boxes * 3)
    )
    task = StateChange(DINO(CONFIG), StateChangeConfig(max_boxes=2), PROTOCOL)
    with pytest.raises(DataError, match=r"has 3 boxes, task\.max_boxes is 2"):
        task.prepare(sample, np.random.default_rng(0))


def test_pictures_of_several_sizes_become_one_batch():
    batch, shown = padded([torch.ones(3, 40, 60), torch.ones(3, 50, 20)])
    assert batch.shape == (2, 3, 64, 64)
    assert shown.sum(dim=(1, 2)).tolist() == [2400, 1000]
    assert torch.equal(batch[:, 0].bool(), shown)


def test_a_recipe_trains_saves_and_measures(pictures, tmp_path):
    text = RECIPE.format(folder=pictures.parent.as_posix())
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    run_recipe(load_recipe(path), directory=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num_true"] == 5


def test_the_encoder_of_a_videomae_becomes_the_backbone():
    known = load_model("videomae-nano").model
    names = ("image_size", "num_frames", "patch_size", "tubelet_size", "width", "depth")
    shape = {name: getattr(known.config, name) for name in (*names, "num_heads", "positions")}
    stem = {"channels": [16, 32, 32], "strides": [2, 2, 1]}
    backbone = {"kind": "VideoViTPyramid", **shape, "stem": stem}
    recipe = load_recipe(
        "world_dino-nano", [f"model.backbone={json.dumps(backbone)}", "init=videomae-nano"]
    )
    detector = build_task(recipe).model
    for name, tensor in detector.backbone.encoder.state_dict().items():
        assert torch.equal(tensor, known.state_dict()[name]), name
    assert detector(*detector.example_inputs(1)).boxes.isfinite().all()
