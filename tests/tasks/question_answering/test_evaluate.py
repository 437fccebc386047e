"""Models on questions about real files: chosen answers, written ones, and what goes wrong."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.data.questions import QuestionSource
from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.tasks.question_answering.evaluate import evaluate, measure, open_questions
from internvideo.tasks.question_answering.predict import predict
from internvideo.video import write_video
from internvideo.world import World
from internvideo.zoo import load_model
from internvideo.zoo.load import LoadedModel

QUESTIONS = ("what color is the star", "how many objects are there", "what happens")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_internvideo_qa(root / "qa")
    tiny.save_internvideo_qa(root / "unnamed", labels=None, num_classes=3)
    tiny.save_internvideo_mm(root / "mm")
    tiny.save_viclip(root / "viclip")
    return root


@pytest.fixture(scope="module")
def model(models) -> LoadedModel:
    return load_model(models / "qa")


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A video, a gif, and a gif that cannot be read."""
    root = tmp_path_factory.mktemp("media")
    for seed, name in enumerate(("a.mp4", "b.gif")):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (6, 32, 40, 3), generator=generator, dtype=torch.uint8)
        write_video(root / name, frames, fps=8, codec="gif" if name.endswith("gif") else "h264")
    (root / "c.gif").write_bytes(b"GIF89a")
    return root


@pytest.fixture(scope="module")
def questions(media) -> Path:
    rows = [
        {"video": video, "question": question, "answer": answer, "kind": question.split()[0]}
        for video in ("a.mp4", "b.gif", "c.gif")
        for question, answer in zip(QUESTIONS, ("red", "two", "mauve"), strict=True)
    ]
    path = media / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(path: Path, **fields) -> QuestionSource:
    return open_questions(AnnotatedData(path=str(path), **fields), tiny.PROTOCOL)


def test_answers_equal_those_one_by_one(model, questions):
    report = evaluate(model, opened(questions), loop=EvalLoop(num_workers=0))
    source, network = opened(questions).asked.videos, model.model
    assert len(report.answers) == 6
    for place, answer in enumerate(report.answers):
        with torch.no_grad():
            views = source.read_views(place // 3, tiny.PROTOCOL).views
            logits = network(views, network.tokenize([QUESTIONS[place % 3]]))
        best = int(logits[0, :-1].argmax())
        assert answer.given == tiny.ANSWERS[best]
        assert answer.probability == pytest.approx(float(logits.softmax(1)[0, best]), abs=1e-4)
        assert answer.known == (answer.answer != "mauve")
        assert answer.right == (answer.given == answer.answer)
    assert len({answer.given for answer in report.answers}) > 1


def test_what_cannot_be_read_is_listed_and_counted(model, questions):
    report = evaluate(model, opened(questions), loop=EvalLoop())
    assert [Path(video).name for video, _ in report.failures] == ["c.gif"]
    assert (report.num_answered, report.num_unanswered) == (2, 3)
    assert report.num_answers == len(tiny.ANSWERS) - 1
    assert report.accuracies.official.total == 4
    assert report.accuracies.strict.total == 6


def test_each_video_is_encoded_once(models, questions, monkeypatch):
    model = load_model(models / "qa")
    sizes = []
    forward = model.model.forward_features
    monkeypatch.setattr(
        model.model, "forward_features", lambda video: sizes.append(len(video)) or forward(video)
    )
    evaluate(model, opened(questions), loop=EvalLoop(num_workers=0))
    assert sum(sizes) == 2


def test_a_stopped_evaluation_goes_on_and_another_is_refused(model, questions, tmp_path):
    loop = EvalLoop(directory=tmp_path / "out")
    whole = evaluate(model, opened(questions), loop=loop)
    file = tmp_path / "out" / "predictions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))
    again = evaluate(model, opened(questions), loop=loop)
    assert [replace(each, probability=0) for each in again.answers] == [
        replace(each, probability=0) for each in whole.answers
    ]
    other = questions.with_name("other.jsonl")
    other.write_text(questions.read_text().replace("what happens", "what is the star"))
    with pytest.raises(ConfigError, match=r"another evaluation|belongs"):
        evaluate(model, opened(other), loop=loop)


def test_a_captioner_writes_and_is_honest_about_it(models, questions, caplog):
    report = evaluate(load_model(models / "mm"), opened(questions), loop=EvalLoop())
    assert "was not trained on questions" in caplog.text
    assert (report.num_answers, report.accuracies.official.total) == (0, 6)
    assert all(answer.probability == 0 for answer in report.answers)
    trained = load_model(models / "mm").with_record(provenance={"task": "open-question-answering"})
    caplog.clear()
    evaluate(trained, opened(questions), loop=EvalLoop())
    assert not caplog.text


def test_written_answers_are_compared_word_by_word(models, questions, monkeypatch):
    model = load_model(models / "mm")
    said = iter(["Red.", "two", "mauve!", "blue", "TWO", "grey"])
    monkeypatch.setattr(
        type(model.model), "complete", lambda self, f, texts, rows: [next(said) for _ in texts]
    )
    report = evaluate(model, opened(questions), loop=EvalLoop(num_workers=0))
    assert [answer.right for answer in report.answers] == [True, True, True, False, True, False]


def test_a_model_that_does_not_name_its_answers_needs_their_file(models, questions):
    model = load_model(models / "unnamed")
    with pytest.raises(ConfigError, match=r"3 outputs.*--labels"):
        evaluate(model, opened(questions), loop=EvalLoop())
    path = questions.with_name("answers.txt")
    path.write_text("red\ntwo\n")
    report = evaluate(model, opened(questions, labels=str(path)), loop=EvalLoop())
    assert {answer.given for answer in report.answers} <= {"red", "two"}
    assert str(path) in report.answers_origin
    path.write_text("red\ntwo\nthree\nfour\n")
    with pytest.raises(ConfigError, match="4 answers are named; expected 3 or 2"):
        evaluate(model, opened(questions, labels=str(path)), loop=EvalLoop())


def test_the_world_asks(model):
    data = AnnotatedData(path="world", num_clips=3, seed=5)
    report = evaluate(model, open_questions(data, tiny.PROTOCOL), loop=EvalLoop())
    world = World(seed=5)
    true = [q for index in range(3) for q in world.questions(world.scene(index))]
    assert [(a.question, a.answer) for a in report.answers] == [
        (q.question, q.answer) for q in true
    ]
    assert set(report.kinds) == {q.kind for q in true}


def test_bad_input_is_refused(models, model, questions, tmp_path):
    with pytest.raises(ConfigError, match="answers no questions"):
        evaluate(load_model(models / "viclip"), opened(questions), loop=EvalLoop())
    with pytest.raises(ConfigError, match="no questions"):
        measure(model, WorldSource(World(), num_clips=1), loop=EvalLoop(), quick=True)
    captions = tmp_path / "captions.csv"
    captions.write_text("video,caption\na.mp4,a star\n")
    with pytest.raises(ConfigError, match="read as captions, which has no questions"):
        opened(captions)
    with pytest.raises(ConfigError, match="--split does not go"):
        opened(questions, split="test")
    with pytest.raises(DataError, match="no video could be read"):
        evaluate(model, opened(questions, root=str(tmp_path)), loop=EvalLoop())


# --- a user's question ------------------------------------------------------------------------


def ask(model, media, question, **options):
    paths = [str(media / name) for name in ("a.mp4", "b.gif", "c.gif")]
    return list(predict(model, paths, question=question, **options))


def test_the_best_answers_and_their_probabilities(model, media):
    first, second, broken = ask(model, media, "What color is the star?", top_k=3)
    assert isinstance(broken, VideoError)
    for reply in (first, second):
        assert len(set(reply.answers)) == len(reply.probabilities) == 3
        assert list(reply.probabilities) == sorted(reply.probabilities, reverse=True)
        answer = json.loads(reply.to_json())
        assert answer["question"] == "What color is the star?"
        assert answer["answer"] == answer["answers"][0]["answer"] == reply.text
    [all_of_them, *_] = ask(model, media, "what happens", top_k=1000)
    assert len(all_of_them.answers) == len(tiny.ANSWERS) - 1


def test_a_written_answer_has_no_probability(models, media):
    reply, *_ = ask(load_model(models / "mm"), media, "what happens")
    assert reply.probabilities == ()
    assert set(json.loads(reply.to_json())) == {"video", "model", "protocol", "question", "answer"}


def test_a_nearly_known_word_is_read_as_the_nearest_and_that_is_said(model, media, caplog):
    british, *_ = ask(model, media, "what colour is the star?")
    assert "'colour' and reads it as 'color'" in caplog.text
    american, *_ = ask(model, media, "what color is the star")
    assert replace(british, question="") == replace(american, question="")


def test_questions_that_cannot_be_answered(model, media, caplog):
    for empty in ("", "  ", "?!"):
        with pytest.raises(ConfigError, match="has no words"):
            ask(model, media, empty)
    with pytest.raises(ConfigError, match="knows no word"):
        ask(model, media, "这是什么颜色？")
    caplog.set_level(logging.WARNING)
    reply, *_ = ask(model, media, " ".join(["what happens"] * 1000))
    assert "2000 tokens" in caplog.text
    assert reply.text in tiny.ANSWERS
    ask(model, media, "what is the xylophone")
    assert "xylophone" in caplog.text
