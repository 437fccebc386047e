"""Questions about videos as clips: their order, their answers, and what a run remembers of them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from internvideo.annotations import Question
from internvideo.config import validate
from internvideo.data.config import open_data
from internvideo.data.identity import clip_identity, difference
from internvideo.data.questions import Answers, AskedVideos, QuestionSource
from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError, UnknownNameError
from internvideo.recipe.schema import EvaluationConfig
from internvideo.train.data import EpochBatchSampler
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import World, all_answers

PROTOCOL = Preprocessing(num_frames=4, resize_size=16, crop_size=16)
WORLD = World(seed=2, size=16, num_frames=4)
ABOUT = (
    (Question("what?", "red", line=3), Question("how many?", "two", line=1)),
    (Question("who?", "nobody", line=2),),
)


def clips(**options) -> QuestionSource:
    videos = WorldSource(WORLD, num_clips=2)
    answers = Answers(("red", "two"), "two of a file")
    return QuestionSource(AskedVideos(videos=videos, questions=ABOUT), answers, **options)


def config(**fields):
    return validate(EvaluationConfig, {"data": fields}, source="test").data


def read(source, index):
    sample = source.read(index, np.random.default_rng(0))
    return sample.key, [each[:3] for each in sample.questions]


def test_every_question_is_a_clip_in_the_order_of_the_lines():
    source = clips()
    assert [read(source, index) for index in range(len(source))] == [
        ("world-2-0?1", [("how many?", "two", 1)]),
        ("world-2-1?2", [("who?", "nobody", None)]),
        ("world-2-0?3", [("what?", "red", 0)]),
    ]
    assert source.class_names == ("red", "two", "")
    assert source.label(0) is None
    assert source.read_views(1, PROTOCOL).key == "world-2-1?2"


def test_a_video_with_all_its_questions_is_a_clip():
    source = clips(per_video=True)
    assert [read(source, index)[0] for index in range(len(source))] == ["world-2-0", "world-2-1"]
    assert read(source, 0)[1] == [("what?", "red", 0), ("how many?", "two", 1)]


def test_the_published_order_is_that_of_the_lines_in_every_epoch():
    fixed = EpochBatchSampler(clips(shuffled=False), batch_size=1, epochs=2, seed=0)
    assert list(fixed) == [[(epoch, index)] for epoch in range(2) for index in range(3)]
    drawn = EpochBatchSampler(clips(), batch_size=1, epochs=8, seed=0)
    orders = np.array([index for [(_, index)] in drawn]).reshape(8, 3)
    assert len(np.unique(orders, axis=0)) > 1
    assert (np.sort(orders) == [0, 1, 2]).all()


def test_a_classifier_has_an_output_for_each_answer_and_one_more():
    clips().check_labels(3)
    QuestionSource(clips().asked).check_labels(3)  # for measuring: no answers of its own
    with pytest.raises(DataError, match=r"2 answers.*num_classes: 3 \(it is 2\)"):
        clips().check_labels(2)


def test_answers_are_those_of_a_file_or_the_most_frequent(tmp_path):
    asked = clips().asked
    (tmp_path / "a.txt").write_text("two\nred\n")
    file = Answers.choose(tmp_path / "a.txt", asked, file=tmp_path)
    assert file.names == ("two", "red")
    some = Answers.choose(2, asked, file=tmp_path / "q.jsonl")
    assert some.names == ("nobody", "red")
    assert some.origin == (
        f"2 most frequent of the 3 answers to 3 questions of {tmp_path / 'q.jsonl'}"
    )
    assert len(Answers.choose(None, asked, file=tmp_path).names) == 3


def test_a_recipe_opens_questions(tmp_path):
    rows = [
        {"video": "a.mp4", "question": "who?", "answer": answer} for answer in ("me", "you", "me")
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = config(kind="questions", annotations=path, answers="all", shuffle=False)
    source = open_data(data, PROTOCOL)
    assert isinstance(source, QuestionSource)
    assert (len(source), source.class_names) == (3, ("me", "you", ""))
    assert pickle.loads(pickle.dumps(source)).class_names == source.class_names
    fewer = open_data(config(kind="questions", annotations=path, answers=1), PROTOCOL)
    assert [each.number for i in range(3) for each in fewer.asked_questions(i)] == [0, None, 0]
    assert open_data(config(kind="questions", annotations=path), PROTOCOL).class_names is None
    with pytest.raises(ConfigError, match="answers"):
        config(kind="questions", annotations=path, answers=0)


def test_the_world_asks_about_its_clips():
    source = open_data(config(kind="world", num_clips=5, start=2, seed=2, questions=True), PROTOCOL)
    assert source.class_names == (*all_answers(), "")
    assert len(source) == len(source.asked.questions) == 5
    world = World(seed=2)
    for index in range(5):
        true = world.questions(world.scene(2 + index))
        found = read(source, index)[1]
        assert [each[:2] for each in found] == [(q.question, q.answer) for q in true]
        assert [source.class_names[each[2]] for each in found] == [q.answer for q in true]
    assert list(source.asked.questions[1:3]) == [
        source.asked.questions[1],
        source.asked.questions[2],
    ]
    with pytest.raises(IndexError):
        source.asked.questions[5]


def test_the_world_asks_about_single_objects_and_only_what_is_wanted():
    wanted = {"kind": "world", "num_clips": 12, "alone": True, "questions": ["object"]}
    source = open_data(config(**wanted), PROTOCOL)
    scenes = [source.asked.videos.world.scene(index) for index in range(12)]
    assert {len(scene.actors) for scene in scenes} == {1}
    asked = [source.asked_questions(index) for index in range(12)]
    assert [[each.answer for each in about] for about in asked] == [
        [scene.actors[0].name] for scene in scenes
    ]
    assert source.class_names == (*all_answers(), "")
    with pytest.raises(UnknownNameError, match="mean 'color'"):
        open_data(config(**wanted | {"questions": ["colour"]}), PROTOCOL)


def test_a_run_notices_other_questions(tmp_path):
    def identity(answer):
        row = {"video": "a.mp4", "question": "who?", "answer": answer}
        (tmp_path / "q.jsonl").write_text(json.dumps(row))
        data = config(kind="questions", annotations=tmp_path / "q.jsonl", answers="all")
        return clip_identity(open_data(data, PROTOCOL))

    assert difference(identity("me"), identity("me")) is None
    assert difference(identity("me"), identity("you")) is not None
