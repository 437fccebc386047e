from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tiny
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.predictions import read_predictions
from internvideo.evaluation.ranking import dual_softmax
from internvideo.evaluation.text import prompt_rule
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier, ranking_metrics
from internvideo.tasks.zero_shot.evaluate import LabelledVideos, evaluate
from internvideo.tasks.zero_shot.prompting import class_prompts
from internvideo.zoo import load_model
from internvideo.zoo.load import LoadedModel
from noise import NoiseSource

ACTIONS = tuple(
    f"something {verb}"
    for verb in ("grows", "shrinks", "moves left", "moves up", "blinks", "bounces", "stays still")
)
TEMPLATES = ("{}", "watch how {}")


def noise(*arguments) -> NoiseSource:
    return NoiseSource(*arguments, num_classes=7, scale=3)


def measured(model: LoadedModel, source: NoiseSource | None = None, *, labels=ACTIONS,
             templates=TEMPLATES, **options):  # fmt: skip
    videos = LabelledVideos(source=source or noise(), labels=labels)
    return evaluate(model, videos, loop=EvalLoop(**options), templates=templates)


@pytest.fixture(scope="module", params=["viclip", "internvideo-mm"])
def model(request, tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save = tiny.save_viclip if request.param == "viclip" else tiny.save_internvideo_mm
    loaded = load_model(save(folder / "model"))
    return tiny.with_protocol(loaded, tiny.MULTI_VIEW)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_numbers_equal_those_of_the_scores(model, batch_size):
    rule = prompt_rule(model.architecture)
    classifier = ZeroShotClassifier(
        model.two_towers,
        model.protocol,
        class_prompts(ACTIONS, TEMPLATES, clean=rule.clean),
        ensemble=rule.ensemble,
    )
    source = noise()
    scores = {
        index: classifier.scores(source.read_views(index, model.protocol).views).mean(0)
        for index in range(len(source))
        if index not in source.broken
    }
    report = measured(model, batch_size=batch_size)
    labels = torch.tensor([index % 7 for index in scores])
    matrix = torch.stack(list(scores.values()))
    expected = ranking_metrics(matrix, labels)
    assert report.num_answered == 8
    assert round(report.top1, 2) == expected["top1"]
    assert round(report.top5, 2) == expected["top5"]
    assert report.average == pytest.approx(expected["avg"], abs=0.01)
    assert report.dual_softmax == ranking_metrics(dual_softmax(matrix), labels)
    assert report.failures == (("v4.mp4", "v4.mp4: broken"),)
    assert report.top1_of_all == pytest.approx(report.top1 * 8 / 9)
    assert report.ensemble == rule.ensemble
    assert report.sentences == classifier.prompts[ACTIONS[0]]
    for prediction in report.predictions:
        row = scores[prediction.index]
        assert prediction.num_views == 6
        assert prediction.best[0] == int(row.argmax())
        shares = classifier.probabilities(row)[list(prediction.best)]
        assert prediction.probabilities == pytest.approx(shares.tolist(), abs=1e-6)


def test_a_stopped_evaluation_goes_on_with_equal_numbers(model, tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(model, batch_size=1, directory=tmp_path, progress=stop)
    source = noise()
    report = measured(model, source, batch_size=1, directory=tmp_path)
    assert report == measured(model, batch_size=1)
    assert 0 not in source.seen
    line = read_predictions(tmp_path / "predictions.jsonl")[0]
    assert np.argmax(line["scores"]) == line["best"][0]
    with pytest.raises(ConfigError, match="classes"):
        measured(model, directory=tmp_path, templates=("{}", "here {}"))


def test_labels_outside_the_classes_are_refused_before_anything_is_read(model, monkeypatch):
    monkeypatch.setattr(type(model.model), "encode_text", None)
    with pytest.raises(DataError, match="outside"):
        measured(model, labels=ACTIONS[:3])


def test_nothing_readable_has_no_numbers(model):
    report = measured(model, noise(2, (0, 1)))
    assert (report.num_answered, report.top1, report.dual_softmax) == (0, 0.0, {})
    assert json.loads(report.to_json())["num_failed"] == 2
