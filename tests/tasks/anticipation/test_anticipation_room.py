"""Contacts from a written world to a report and an answer, with a tiny network."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.annotations import NextContact
from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.data.feature_videos import read_videos
from internvideo.data.untrimmed import UntrimmedSource
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.contact_anticipator import ContactAnticipator
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.anticipation.clips import clip_before, frame_of
from internvideo.tasks.anticipation.evaluate import evaluate, open_frames, score
from internvideo.tasks.anticipation.predict import predict
from internvideo.tasks.anticipation.task import Anticipation, AnticipationConfig, annotated_frames
from internvideo.video import Video
from internvideo.video.preprocessing import PRESETS
from internvideo.world import ACTIONS, World
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.anticipation import ANTICIPATOR

CONFIG = replace(ANTICIPATOR.tiny["released"], image_size=32, num_verbs=len(ACTIONS))
PROTOCOL = replace(PRESETS["ego4d-sta"], num_frames=4, resize_size=32, crop_size=32)
RECIPE = """
name: tiny
task: {{kind: anticipation, short_sides: [32, 40]}}
model: {{image_size: 32, num_frames: 4, patch_size: 8, width: 16, depth: 1, num_heads: 2,
        num_verbs: 28, roi_size: 3, roi_stride: 8}}
preprocessing: {{num_frames: 4, sampling: center, frame_stride: 2, resize_size: 32, crop_size: 32}}
data: {{kind: untrimmed, annotations: {folder}/fho_sta_train.json}}
evaluation: {{data: {{kind: untrimmed, annotations: {folder}/fho_sta_val.json}}}}
optim: {{lr: 1.0e-3}}
schedule: {{epochs: 1}}
runtime: {{batch_size: 4, num_workers: 0, accelerator: cpu}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("contacts")
    write_world(place, 3, kind="ego4d-sta", world=World(size=24), splits=(0.6, 0.4))
    return place


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LoadedModel(ContactAnticipator(CONFIG).eval(), Record(preprocessing=PROTOCOL))


def opened(folder, split="val"):
    return open_frames(AnnotatedData(path=str(folder / f"fho_sta_{split}.json")), PROTOCOL)


def test_what_is_measured_is_what_the_submission_scores(folder, model, tmp_path):
    answers = tmp_path / "answers.json"
    loop = EvalLoop(num_workers=0, batch_size=2, directory=tmp_path / "run")
    report = evaluate(model, opened(folder), loop=loop, submission=answers)
    assert report.measured["noun"] == report.baseline["noun"] == 100  # true boxes and nouns
    again = score(AnnotatedData(path=str(folder / "fho_sta_val.json")), answers)
    assert again.measured == pytest.approx(report.measured)
    resumed = evaluate(model, opened(folder), loop=loop)
    assert resumed.measured == report.measured


def test_boxes_of_a_detector_keep_their_nouns_and_scores(folder, model, tmp_path):
    source = opened(folder)
    first = source.annotated.videos[0]
    box = {"box": list(first.contacts[0].box), "score": 0.25, "noun_category_id": 2}
    boxes, answers = tmp_path / "boxes.json", tmp_path / "answers.json"
    boxes.write_text(json.dumps({first.id: [box, {"box": 1}]}))
    report = evaluate(model, source, loop=EvalLoop(num_workers=0), boxes=boxes, submission=answers)
    assert report.num_answered == 1
    assert "object 2 is" in report.failures[0][1]
    (found,) = json.loads(answers.read_text())["results"][first.id]
    assert (found["score"], found["noun_category_id"]) == (0.25, 2)
    assert found["time_to_contact"] > 0


def test_answers_do_not_depend_on_the_other_clips(folder, model, tmp_path):
    found = []
    for size in (1, 8):
        answers = tmp_path / f"{size}.json"
        loop = EvalLoop(num_workers=0, batch_size=size)
        evaluate(model, opened(folder), loop=loop, submission=answers)
        found.append(json.loads(answers.read_text())["results"])
    for uid, objects in found[0].items():
        for one, other in zip(objects, found[1][uid], strict=True):
            assert one["time_to_contact"] == pytest.approx(other["time_to_contact"], abs=1e-4)


def test_a_clip_ends_with_its_frame_and_begins_with_the_first_one(folder):
    source = opened(folder, "train")
    video = min(source.annotated.videos, key=frame_of)
    with Video(folder / video.path) as opened_video:
        number = frame_of(video)
        clip = clip_before(opened_video, number, replace(PROTOCOL, num_frames=8))
        assert torch.equal(clip[-1], opened_video.frames([number])[0])
        assert torch.equal(clip[0], opened_video.frames([max(number - 14, 0)])[0])
        with pytest.raises(VideoError, match="has no frame 9999"):
            clip_before(opened_video, 9999, PROTOCOL)


def test_mirrored_boxes_stay_on_what_they_are_around(folder):
    network = ContactAnticipator(CONFIG)
    plain, mirrored = (
        Anticipation(network, PROTOCOL, AnticipationConfig(short_sides=(32, 32), flip=flip))
        for flip in (0.0, 1.0)
    )
    sample = opened(folder, "train").read(0, np.random.default_rng(0))
    (one,) = plain.prepare(sample, np.random.default_rng(0))
    (other,) = mirrored.prepare(sample, np.random.default_rng(0))
    assert torch.equal(one["video"], other["video"].flip(2))
    left, top, right, bottom = one["boxes"][0].tolist()
    expected = torch.tensor([31 - right, top, 31 - left, bottom]).clamp(0, 31)
    torch.testing.assert_close(other["boxes"][0], expected)


def test_a_verb_that_the_model_does_not_know_is_named(folder):
    task = Anticipation(
        ContactAnticipator(replace(CONFIG, num_verbs=1)),
        PROTOCOL,
        AnticipationConfig(short_sides=(32, 32)),
    )
    source = UntrimmedSource(read_videos(folder / "fho_sta_train.json"))
    with pytest.raises(DataError, match=r"with the verb \d+, the model has 1"):
        annotated_frames(task, source, folder, num_workers=0, fabric=None)
    with pytest.raises(ConfigError, match="short_sides begin at 16"):
        Anticipation(task.model, PROTOCOL, AnticipationConfig(short_sides=(16, 32)))


def test_contacts_are_told_in_a_frame_of_a_video(folder, model, tmp_path):
    video = folder / opened(folder).annotated.videos[0].path
    boxes = tmp_path / "boxes.json"
    sure = {"box": [4, 4, 20, 24], "score": 0.9, "noun_category_id": 1}
    boxes.write_text(json.dumps({video.stem: [{**sure, "score": 0.2}, sure]}))
    (answer,) = predict(model, [video], boxes=boxes, at=1.0, least_score=0.1)
    assert [each.score for _, _, each in answer.objects] == [0.9, 0.2]
    assert answer.contents()["objects"][0]["object"] == "class 1"
    answer.plot(tmp_path / "next.png")
    assert (tmp_path / "next.png").stat().st_size > 1000
    boxes.write_text("{}")
    (error,) = predict(model, [video], boxes=boxes)
    assert "has no boxes of" in str(error)
    with pytest.raises(ConfigError, match="--boxes FILE"):
        next(predict(model, [video]))


def test_an_answer_comes_back_from_its_line(model):
    from internvideo.tasks.anticipation.finding import ContactFinder

    finder = ContactFinder(model, (), ())
    contact = NextContact(box=(1.0, 2.0, 3.0, 4.0), noun=1, verb=2, seconds=0.5, score=0.5)
    assert finder.from_json(finder.to_json((contact,))) == (contact,)


def test_a_recipe_trains_saves_and_measures(folder, tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(folder=folder.as_posix()))
    run_recipe(load_recipe(path), directory=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["noun"] == 100
    line = ["evaluate", "anticipation", str(tmp_path / "run" / "best"), "--workers", "0"]
    assert run([*line, "-d", str(folder / "fho_sta_val.json"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["all"] == pytest.approx(report["all"])
    assert again["baseline"]["noun"] == 100
