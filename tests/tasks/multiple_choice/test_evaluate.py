from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.data.clips import VideoListSource
from internvideo.data.formats.multiple_choice import read_multiple_choice
from internvideo.errors import ConfigError
from internvideo.evaluation.engine import Running
from internvideo.pipeline import load
from internvideo.tasks.multiple_choice.evaluate import (
    choice_scores,
    evaluate_multiple_choice,
)
from internvideo.video import write_video

OPTIONS = ["a star moves left", "a star moves right", "a circle grows", "nothing happens"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(tiny.save_internvideo_mm(tmp_path_factory.mktemp("m") / "mm"), device="cpu").model


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
    report = evaluate_multiple_choice(model, choices, protocol)
    source = VideoListSource(choices.videos, protocol)
    assert [len(answer.options) for answer in report.answers] == [2, 2, 3]
    for answer, place in zip(report.answers, (0, 0, 1), strict=True):
        with torch.no_grad():
            views = model.encode_video(source.read_views(place, protocol).views)
            texts = model.encode_text(model.tokenizer(list(answer.options)))
            scores = (views @ texts.T / model.temperature()).mean(0)
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
    views, texts = VideoListSource.read_views, type(model).encode_text
    monkeypatch.setattr(
        VideoListSource, "read_views",
        lambda self, index, protocol: read.append(index) or views(self, index, protocol),
    )  # fmt: skip
    monkeypatch.setattr(
        type(model), "encode_text", lambda self, ids: embedded.extend(ids) or texts(self, ids)
    )
    evaluate_multiple_choice(model, read_multiple_choice(questions), tiny.PROTOCOL)
    assert sorted(read) == [0, 1, 2]
    assert len(embedded) == len(OPTIONS)


def test_cleaning_changes_the_words_that_are_read(model, questions, monkeypatch):
    seen = []
    original = model.tokenizer
    monkeypatch.setattr(model, "tokenizer", lambda texts: seen.extend(texts) or original(texts))
    choices = read_multiple_choice(questions)
    shouted = tuple(
        tuple(
            type(each)(path=each.path, options=tuple(o.upper() + "!" for o in each.options),
                       answer=each.answer)
            for each in asked
        )
        for asked in choices.questions
    )  # fmt: skip
    loud = type(choices)(
        videos=choices.videos, questions=shouted, file=choices.file, description=""
    )
    evaluate_multiple_choice(model, loud, tiny.PROTOCOL, clean=True)
    assert seen == OPTIONS[: len(seen)]
    assert len(seen) == len(OPTIONS)


def test_a_stopped_evaluation_goes_on(model, questions, tmp_path):
    path = tmp_path / "predictions.jsonl"
    choices = read_multiple_choice(questions)
    whole = evaluate_multiple_choice(model, choices, tiny.PROTOCOL, running=Running(batch_size=1))

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    how = {"batch_size": 1, "predictions": path}
    with pytest.raises(KeyboardInterrupt):
        evaluate_multiple_choice(
            model, choices, tiny.PROTOCOL, running=Running(progress=stop, **how)
        )
    steps = []
    running = Running(progress=lambda *step: steps.append(step), **how)
    assert evaluate_multiple_choice(model, choices, tiny.PROTOCOL, running=running) == whole
    assert steps == [(2, 3), (3, 3)]
    with pytest.raises(ConfigError, match="other clean"):
        evaluate_multiple_choice(model, choices, tiny.PROTOCOL, clean=True, running=running)
