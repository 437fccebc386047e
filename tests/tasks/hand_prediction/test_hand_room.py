"""Hands from a written world to a report and an answer, with a tiny network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from internvideo.annotations import HandPoint, VideoAnnotation
from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.uniformer_video import UniFormerVideo
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.hand_prediction.evaluate import evaluate, open_clips, score
from internvideo.tasks.hand_prediction.predict import predict
from internvideo.tasks.hand_prediction.task import HandPrediction, annotated_clips
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import World
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.uniformer import UNIFORMER

PROTOCOL = Preprocessing(num_frames=4, sampling="sparse", num_clips=2, resize_size=64, crop_size=64)
RECIPE = """
name: tiny
task: {{kind: hand-prediction}}
model: {{image_size: 64, num_frames: 4, widths: [4, 8, 16, 16], depths: [1, 1, 1, 1], head_dim: 8}}
preprocessing: {{num_frames: 4, sampling: sparse, resize_size: 64, crop_size: 64}}
augmentation: {{size: 64, scale: [0.9, 1.0], flip_probability: 0.0, erasing_probability: 0.25}}
data: {{kind: untrimmed, annotations: {folder}/fho_hands_train.json}}
evaluation: {{data: {{kind: untrimmed, annotations: {folder}/fho_hands_val.json}}}}
optim: {{lr: 1.0e-3}}
schedule: {{epochs: 1}}
runtime: {{batch_size: 2, num_workers: 0, accelerator: cpu}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hands")
    world = World(size=32, num_frames=12, objects=("star", "circle"), idle_objects=(1,))
    write_world(place, 6, kind="ego4d-fhp", world=world, splits=(0.5, 0.5))
    return place


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = UniFormerVideo(UNIFORMER.tiny["hands"]).eval()
    return LoadedModel(network, Record(preprocessing=PROTOCOL))


def test_what_is_measured_is_what_the_submission_scores(folder, model, tmp_path):
    data = AnnotatedData(path=str(folder / "fho_hands_val.json"))
    answers = tmp_path / "answers.json"
    loop = EvalLoop(num_workers=0, directory=tmp_path / "run")
    report = evaluate(model, open_clips(data, PROTOCOL), loop=loop, submission=answers)
    assert report.num_answered == 3
    assert "2 clips" in report.protocol
    assert score(data, answers).metrics() == pytest.approx(report.metrics(), abs=0.01)
    resumed = evaluate(model, open_clips(data, PROTOCOL), loop=loop)
    assert resumed.numbers() == report.numbers()
    assert set(report.baselines) == {"mean_place", "at_rest"}


def test_hands_at_rest_are_told_by_their_first_place(tmp_path):
    places = ((0, 30.0), (1, 30.0), (4, 33.0))
    hands = tuple(HandPoint(key_frame=n, hand=0, point=(x, 5.0)) for n, x in places)
    videos = (VideoAnnotation(path="a", id="4_0", hands=hands),)
    from internvideo.tasks.hand_prediction.evaluate import _report

    answers = {"4_0": np.zeros(20)}
    report = _report(AnnotatedVideos(file=tmp_path / "x.json", videos=videos), answers)
    assert report.baselines["at_rest"] == {"left_mean": 1.0, "left_contact": 3.0}
    assert report.baselines["mean_place"] == {"left_mean": 0.0, "left_contact": 0.0}


def test_a_missing_clip_is_listed_and_left_out(folder, model):
    annotated = read_videos(folder / "fho_hands_val.json", root=str(folder / "elsewhere"))
    (here,) = (folder / annotated.videos[0].path,)
    path = folder / "elsewhere" / annotated.videos[0].path
    path.parent.mkdir(parents=True)
    path.write_bytes(here.read_bytes())
    report = evaluate(model, UntrimmedSource(annotated), loop=EvalLoop(num_workers=0))
    assert (report.num_answered, len(report.failures)) == (1, 2)


def test_what_does_not_fit_hands_is_refused(model):
    with pytest.raises(ConfigError, match="flip_probability must be 0"):
        HandPrediction(model.model, PROTOCOL, Augmentation(size=64))
    other = UniFormerVideo(UNIFORMER.tiny["hands"])
    other.config = UNIFORMER.infer({**UNIFORMER.shapes(other.config), "head.weight": (7, 16),
                                    "head.bias": (7,)}, other.config)  # fmt: skip
    with pytest.raises(ConfigError, match=r"num_classes is 7; .* 20 numbers"):
        HandPrediction(other, PROTOCOL)


def test_a_model_can_begin_with_the_mean_hands(folder):
    source = UntrimmedSource(read_videos(folder / "fho_hands_train.json"))
    network = UniFormerVideo(UNIFORMER.tiny["hands"])
    for given in (False, True):
        before = network.head.bias.clone()
        task = HandPrediction(network, PROTOCOL, start_at_mean=given)
        annotated_clips(task, source, folder, num_workers=0, fabric=Fabric(accelerator="cpu"))
        assert torch.equal(network.head.bias, before) is not given
    first = [(*p.point,) for v in source.annotated.videos for p in v.hands if not p.key_frame]
    where = network.head.bias.reshape(5, 2, 2)[0].detach()
    assert min(x for x, _ in first) <= where[0, 0] <= where[1, 0] <= max(x for x, _ in first)


def test_hands_are_predicted_after_a_part_of_a_video(folder, model, tmp_path):
    clip = sorted((folder / "cropped_clips").glob("*.mp4"))[0]
    found, late = predict(model, [clip], at=0.5), predict(model, [clip], at=9.0)
    (answer,) = found
    assert answer.time == 0.5
    assert answer.size == (64, 64)
    assert set(answer.contents()["key_frames"]["contact_frame"]) == {"left", "right"}
    answer.plot(tmp_path / "hands.png")
    assert (tmp_path / "hands.png").stat().st_size > 1000
    (error,) = late
    assert isinstance(error, VideoError)
    assert "nothing ends at 9 s" in str(error)


def test_a_recipe_trains_saves_and_measures(folder, tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(folder=folder.as_posix()))
    run_recipe(load_recipe(path), directory=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num_entries"] == 3
    line = ["evaluate", "hand-prediction", str(tmp_path / "run" / "best"), "--workers", "0"]
    assert run([*line, "-d", str(folder / "fho_hands_val.json"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["left_mean"] == pytest.approx(report["left_mean"], abs=0.01)
