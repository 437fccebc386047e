from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.data.build import read_multiple_choice
from internvideo.data.clips import VideoListSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.tasks.multiple_choice.evaluate import (
    OptionChooser,
    choice_scores,
    evaluate,
    score,
)
from internvideo.video import write_video
from internvideo.zoo import load_model
from internvideo.zoo.load import LoadedModel

OPTIONS = ["a star moves left", "a star moves right", "a circle grows", "nothing happens"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    return load_model(tiny.save_internvideo_mm(tmp_path_factory.mktemp("m") / "mm"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """Five questions about three videos, of which one is broken."""
    root = tmp_path_factory.mktemp("choices")
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (8, 32, 32, 3), generator=generator, dtype=torch.uint8)
        write_video(root / f"v{seed}.mp4", frames, fps=8)
    (root / "v2.mp4").write_text("no video")
    rows = [
        {"video": f"v{number}.mp4", "options": OPTIONS[: 2 + number], "answer": 1, "kind": kind}
        for number, kind in ((0, "action"), (1, "color"), (2, "color"), (0, "color"), (2, "action"))
    ]
    path = root / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_scores_are_cosines_over_the_temperature():
    videos = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    options = torch.nn.functional.normalize(torch.randn(3, 5, 8), dim=-1)
    scores = choice_scores(videos, options, torch.tensor(0.02))
    for row in range(3):
        torch.testing.assert_close(scores[row], 50 * options[row] @ videos[row])


@pytest.mark.parametrize("protocol", [tiny.PROTOCOL, tiny.MULTI_VIEW])
def test_answers_equal_those_one_by_one(model, questions, protocol):
    choices = read_multiple_choice(questions)
    report = evaluate(tiny.with_protocol(model, protocol), choices, loop=EvalLoop())
    network = model.model
    source = VideoListSource(choices.videos, protocol)
    assert [len(answer.options) for answer in report.answers] == [2, 2, 3]
    for answer, place in zip(report.answers, (0, 0, 1), strict=True):
        with torch.no_grad():
            views = network.encode_video(source.read_views(place, protocol).views)
            texts = network.encode_text(network.tokenizer(list(answer.options)))
            scores = (views @ texts.T / network.temperature()).mean(0)
        assert answer.scores == pytest.approx(scores.tolist(), abs=1e-4)
        assert answer.chosen == int(scores.argmax())
    correct = sum(answer.correct for answer in report.answers)
    assert report.accuracy == pytest.approx(100 * correct / 3)
    assert report.accuracy_of_all == pytest.approx(100 * correct / 5)
    assert report.chance == pytest.approx(100 * (1 / 2 + 1 / 2 + 1 / 3) / 3)
    assert [Path(video).name for video, _ in report.failures] == ["v2.mp4"]
    assert report.num_unanswered == 2
    assert {kind: len(part.answers) for kind, part in report.kinds.items()} == {
        "action": 1, "color": 2,
    }  # fmt: skip


def test_a_video_is_read_once_and_a_sentence_embedded_once(model, questions, monkeypatch):
    read, embedded = [], []
    network = type(model.model)
    views, texts = VideoListSource.read_views, network.encode_text
    monkeypatch.setattr(
        VideoListSource, "read_views",
        lambda self, index, protocol: read.append(index) or views(self, index, protocol),
    )  # fmt: skip
    monkeypatch.setattr(
        network, "encode_text", lambda self, ids: embedded.extend(ids) or texts(self, ids)
    )
    evaluate(model, read_multiple_choice(questions), loop=EvalLoop())
    assert sorted(read) == [0, 1, 2]
    assert len(embedded) == len(OPTIONS)


def test_cleaning_changes_the_words_that_are_read(model, questions, monkeypatch):
    seen = []
    network, original = model.model, model.model.tokenizer
    monkeypatch.setattr(network, "tokenizer", lambda texts: seen.extend(texts) or original(texts))
    choices = read_multiple_choice(questions)
    shouted = tuple(
        tuple(
            type(each)(options=tuple(o.upper() + "!" for o in each.options),
                       answer=each.answer)
            for each in asked
        )
        for asked in choices.questions
    )  # fmt: skip
    OptionChooser(model, replace(choices, questions=shouted), clean=True)
    assert seen == OPTIONS


def test_a_stopped_evaluation_goes_on_with_equal_numbers(model, questions, tmp_path):
    choices = read_multiple_choice(questions)

    def stop(done, total):
        raise KeyboardInterrupt

    loop = EvalLoop(batch_size=1, directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, choices, loop=replace(loop, progress=stop))
    steps = []
    told = replace(loop, progress=lambda *step: steps.append(step))
    whole = evaluate(model, choices, loop=EvalLoop(batch_size=1))
    assert evaluate(model, choices, loop=told) == whole
    assert steps == [(2, 3), (3, 3)]
    with pytest.raises(ConfigError, match="questions"):
        evaluate(model, replace(choices, questions=choices.questions[::-1]), loop=loop)
    source = VideoListSource(choices.videos, model.protocol)
    with pytest.raises(ConfigError, match="clean"):
        loop.run(OptionChooser(model, choices, clean=True), source)


def test_a_question_stands_before_each_option(model, questions, tmp_path):
    row = {"video": "v0.mp4", "question": "what happens?", "options": OPTIONS[:2], "answer": 0}
    path = tmp_path / "asked.jsonl"
    path.write_text(json.dumps(row))
    choices = read_multiple_choice(path, root=questions.parent)
    [answer] = evaluate(model, choices, loop=EvalLoop()).answers
    texts = [
        f"what happens?Options: {OPTIONS[0]} {OPTIONS[1]}Answer: {option}" for option in OPTIONS[:2]
    ]
    network, source = model.model, VideoListSource(choices.videos, tiny.PROTOCOL)
    with torch.no_grad():
        views = network.encode_video(source.read_views(0, tiny.PROTOCOL).views)
        scores = views @ network.encode_text(network.tokenizer(texts)).T / network.temperature()
    assert answer.scores == pytest.approx(scores.mean(0).tolist(), abs=1e-4)
    assert answer.question == "what happens?"


NEXT_QA = Path(__file__).parents[4] / "shared" / "real" / "qa" / "next-qa"
NEXT = """video,question,answer,qid,type,a0,a1,a2,a3,a4
40,how,0,6,CH,a,b,c,d,e
40,why,2,7,CW,a,b,c,d,e
41,where,1,1,DL,a,b,c,d,e
"""


def test_predictions_of_another_program_are_scored(tmp_path):
    (tmp_path / "val.csv").write_text(NEXT)
    data = AnnotatedData(path=str(tmp_path / "val.csv"))
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps({"40_6": {"prediction": 0}, "40_7": 1, "41_1": {"prediction": 1}}))
    report = score(data, file)
    assert report.accuracy == pytest.approx(200 / 3)
    found = {kind: part.right.correct for kind, part in report.kinds.items()}
    assert found == {
        "causal": 1, "causal/how": 1, "causal/why": 0, "descriptive": 1, "descriptive/location": 1,
    }  # fmt: skip
    for broken in ({"40_6": 0}, {"40_6": 9, "40_7": 0, "41_1": 0}, ["x"]):
        file.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=r"no answer from 0 to 4.*val\.csv:"):
            score(data, file)


@pytest.mark.skipif(not NEXT_QA.is_dir(), reason="needs ../shared/real/qa/next-qa")
def test_the_published_numbers_of_a_model_on_nextqa():
    report = score(AnnotatedData(path=str(NEXT_QA / "val.csv")), NEXT_QA / "predictions-val.json")
    found = {
        kind: round(part.accuracy, 2) for kind, part in report.kinds.items() if "/" not in kind
    }
    assert round(report.accuracy, 2) == 49.74
    assert found == {"causal": 46.26, "temporal": 50.74, "descriptive": 59.33}
