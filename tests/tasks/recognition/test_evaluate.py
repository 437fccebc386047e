from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.predictions import read_predictions
from internvideo.evaluation.views import center_view
from internvideo.models.videomae import VideoMAE
from internvideo.tasks.recognition.evaluate import evaluate, measure
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import load_model
from internvideo.zoo.hub import Record
from internvideo.zoo.load import LoadedModel
from noise import NoiseSource

LOOP = EvalLoop()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    loaded = load_model(tiny.save_classifier(tmp_path_factory.mktemp("model")))
    with torch.no_grad():
        loaded.model.head.weight.mul_(20)
    return loaded


def by_hand(model: LoadedModel, source: NoiseSource) -> dict[int, np.ndarray]:
    scores = {}
    for index in range(len(source)):
        if index not in source.broken:
            with torch.no_grad():
                logits = model.model(source.read_views(index, tiny.MULTI_VIEW).views).double()
            scores[index] = logits.softmax(dim=1).mean(dim=0).numpy()
    return scores


@pytest.mark.parametrize("batch_size", [1, 64])
def test_numbers_equal_averaging_by_hand(model, batch_size):
    report = evaluate(model, NoiseSource(), loop=EvalLoop(batch_size=batch_size))
    scores = by_hand(model, NoiseSource())
    hits = [int(row.argmax()) == index % 4 for index, row in scores.items()]
    assert report.num_answered == 8
    assert report.top1 == pytest.approx(100 * np.mean(hits))
    assert report.top1_of_all == pytest.approx(100 * np.sum(hits) / 9)
    assert report.failures == (("v4.mp4", "v4.mp4: broken"),)
    assert report.protocol == tiny.MULTI_VIEW.describe()
    for prediction in report.predictions:
        row = scores[prediction.index]
        order = np.argsort(-row, kind="stable")
        assert prediction.best == tuple(order)
        assert order[prediction.rank] == prediction.label
        assert prediction.probabilities == pytest.approx(row[order], abs=1e-6)
        assert prediction.num_views == 6
        assert prediction.scores == ()  # those of all classes are kept on disk only


def test_center_looks_at_one_clip_and_the_central_crop(model):
    assert center_view(PRESETS["videomae-kinetics"]) == PRESETS["videomae-validation"]
    assert center_view(PRESETS["videomae-ssv2"]).sampling == "segment"
    assert center_view(PRESETS["nano"]) == PRESETS["nano"]
    report = evaluate(model, NoiseSource(), loop=LOOP, views="center")
    assert {prediction.num_views for prediction in report.predictions} == {1}
    assert "1 clip x 1 crop" in report.protocol
    assert measure(model, NoiseSource(), loop=LOOP, quick=True) == report
    whole = evaluate(model, NoiseSource(), loop=LOOP)
    assert measure(model, NoiseSource(), loop=LOOP, quick=False) == whole


def test_a_stopped_evaluation_goes_on_with_equal_numbers(model, tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    loop = EvalLoop(batch_size=1, directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, NoiseSource(), loop=replace(loop, progress=stop))
    source = NoiseSource()
    whole = evaluate(model, NoiseSource(), loop=EvalLoop(batch_size=1))
    assert evaluate(model, source, loop=loop) == whole
    assert 0 not in source.seen
    lines = read_predictions(tmp_path / "predictions.jsonl")
    assert sum(lines[0]["scores"]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ConfigError, match="protocol"):
        evaluate(model, NoiseSource(), loop=loop, views="center")


def test_labels_outside_the_classes_are_refused(model):
    source = NoiseSource(num_classes=5)
    with pytest.raises(DataError, match="outside"):
        evaluate(model, source, loop=LOOP)
    assert source.seen == []


def test_classes_are_named_by_the_model_or_else_by_the_data(model):
    def names(model: LoadedModel, of_data: tuple[str, ...] | None = None) -> tuple[str, ...]:
        return evaluate(model, NoiseSource(2, (), class_names=of_data), loop=LOOP).labels

    nameless = LoadedModel(model.model, Record(preprocessing=tiny.MULTI_VIEW))
    assert names(model) == tiny.CLASSES
    assert names(model, tuple(name.upper() for name in tiny.CLASSES)) == tiny.CLASSES
    assert names(nameless, ("a", "b", "c", "d")) == ("a", "b", "c", "d")
    assert names(nameless) == ("class 0", "class 1", "class 2", "class 3")
    with pytest.raises(ConfigError, match="has 4 classes, the data name 2"):
        names(nameless, ("a", "b"))
    with pytest.raises(ConfigError, match=r"'archery'.*'yoga'"):
        names(model, tiny.CLASSES[::-1])


def test_a_model_without_classes_is_refused(tmp_path):
    loaded = load_model(tiny.save_videomae(tmp_path / "videomae"))
    assert isinstance(loaded.model, VideoMAE)
    with pytest.raises(ConfigError, match="classes"):
        evaluate(loaded, NoiseSource(), loop=LOOP)
    with pytest.raises(ConfigError, match="evaluate zero-shot"):
        evaluate(load_model(tiny.save_viclip(tmp_path / "viclip")), NoiseSource(), loop=LOOP)
