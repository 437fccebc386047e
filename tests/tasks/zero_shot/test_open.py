from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from internvideo.data import write_world
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.text import prompt_rule
from internvideo.pipeline import VideoModel, load
from internvideo.tasks.zero_shot.evaluate import LabelledVideos, open_labelled
from internvideo.tasks.zero_shot.report import ZeroShotReport
from internvideo.world import ACTIONS, World, action_prompts, is_held_out


def opened(path, labels=None, num_clips: int | None = None) -> LabelledVideos:
    data = AnnotatedData(path=str(path), labels=labels and str(labels), num_clips=num_clips)
    return open_labelled(data, tiny.PROTOCOL)


def measured(
    model: VideoModel, path, labels=None, *, num_clips: int | None = None, **options
) -> ZeroShotReport:
    data = AnnotatedData(path=str(path), labels=labels and str(labels), num_clips=num_clips)
    report = model.evaluate(data, "zero-shot", **options)
    assert isinstance(report, ZeroShotReport)
    return report


@pytest.fixture(scope="module", params=["viclip", "internvideo-mm"])
def model(request, tmp_path_factory) -> VideoModel:
    save = tiny.save_viclip if request.param == "viclip" else tiny.save_internvideo_mm
    return load(save(tmp_path_factory.mktemp("model") / "model"), device="cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(root, 6, world=World(seed=3, size=32, num_frames=8), splits=(0.0, 0.0, 1.0))
    return root


@pytest.fixture(scope="module")
def folders(world, tmp_path_factory) -> Path:
    """Six videos in three folders of classes."""
    root = tmp_path_factory.mktemp("folders")
    for number, video in enumerate(sorted((world / "videos").iterdir())):
        target = root / ("grow_big", "jump", "转动")[number % 3] / video.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(video.read_bytes())
    return root


def test_the_world_is_asked_by_held_out_sentences(model):
    videos = opened("world", num_clips=8)
    assert videos.labels == ACTIONS
    assert videos.sentences is not None
    assert len({len(sentences) for sentences in videos.sentences.values()}) == 1
    for action, sentences in videos.sentences.items():
        assert list(sentences) == action_prompts(action)[: len(sentences)]
        assert all(is_held_out(sentence) for sentence in sentences)
    report = measured(model, "world", num_clips=8)
    assert (report.num_answered, len(report.labels)) == (8, 28)
    assert report.templates == "held-out sentences of the world"
    assert report.ensemble == prompt_rule(model.loaded.architecture).ensemble
    with pytest.raises(ConfigError, match="num_clips"):
        opened("world", num_clips=0)


def test_a_list_with_a_class_list(model, world, tmp_path):
    report = measured(
        model, world / "test.csv", world / "labels.txt", directory=tmp_path, name="mine"
    )
    assert report.labels == ACTIONS
    assert report.templates == "action16"
    assert len(report.sentences) == 16
    assert (report.model, report.data) == ("mine", str(world / "test.csv"))
    assert json.loads((tmp_path / "report.json").read_text())["top1"] == report.top1


def test_numbers_for_classes_need_names(world):
    with pytest.raises(ConfigError, match="--labels"):
        opened(world / "test.csv")


def test_a_known_label_map_names_the_numbers(world):
    videos = opened(world / "test.csv", "kinetics-400/alphabetical")
    assert len(videos.labels) == 400
    assert videos.labels[0] == "abseiling"


def test_a_label_map_must_suit_the_names_of_the_data(folders):
    with pytest.raises(ConfigError, match=r"3 classes.* 400"):
        opened(folders, "kinetics-400/alphabetical")


def test_folders_are_classes_and_their_names_are_words(model, folders):
    videos = opened(folders)
    assert videos.labels == ("grow_big", "jump", "转动")
    assert videos.described["grow_big"] == ("grow big",)
    report = measured(model, folders)
    assert report.num_answered == 6
    assert [row.total for row in report.classes] == [2, 2, 2]
    assert report.templates == "none"  # English sentences around other scripts make no sense
    assert report.sentences == ("grow big",)


def test_labels_and_templates_in_another_language(model, folders, tmp_path):
    labels, templates = tmp_path / "labels.json", tmp_path / "zh.txt"
    said = {"转动": "转动", "jump": "跳跃", "grow_big": "变 大"}
    labels.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    templates.write_text("一段{}的视频\n有人在{}\n", encoding="utf-8")
    videos = opened(folders, labels)
    assert videos.labels == ("转动", "jump", "grow_big")
    report = measured(model, folders, labels, templates=str(templates))
    assert report.labels == videos.labels
    assert report.sentences == ("一段转动的视频", "有人在转动")
    assert report.equal_labels == (("转动", "jump"),)  # one unknown word each
    assert report.templates == str(templates)
    assert {p.label for p in report.predictions if "转动" in p.video} == {0}


def test_labels_that_are_all_the_same_to_the_model_are_no_measurement(model, folders, tmp_path):
    labels = tmp_path / "labels.json"
    said = {"转动": "转动", "jump": "跳跃", "grow_big": "变大"}
    labels.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot tell them apart"):
        measured(model, folders, labels)


def test_classes_described_by_several_sentences(folders, tmp_path):
    labels = tmp_path / "labels.json"
    said = {"grow_big": ["it grows", "it gets bigger"], "jump": ["it hops"], "转动": ["it turns"]}
    labels.write_text(json.dumps(said), encoding="utf-8")
    viclip = load(tiny.save_viclip(tmp_path / "viclip"), device="cpu")
    report = measured(viclip, folders, labels)
    assert report.sentences == ("it grows", "it gets bigger")
    with pytest.raises(ConfigError, match="templates"):
        measured(viclip, folders, labels, rule="probability")


def test_captions_are_classes_where_classes_are_wanted(folders, tmp_path):
    first = next((folders / "jump").iterdir())
    path = tmp_path / "act_val.json"
    path.write_text(json.dumps([{"video": str(first), "caption": "jumping"}]), encoding="utf-8")
    videos = opened(path)
    assert videos.labels == ("jumping",)
    assert len(videos.source) == 1


def test_models_and_labels_that_cannot_be_used(folders, tmp_path):
    classifier = load(tiny.save_classifier(tmp_path / "classifier"), device="cpu")
    with pytest.raises(ConfigError, match="text tower"):
        measured(classifier, folders)
    with pytest.raises(DataError, match="no annotation file"):
        opened(folders, tmp_path / "gone.txt")
