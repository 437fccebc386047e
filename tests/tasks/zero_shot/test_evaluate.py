from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from internvideo.metrics import dual_softmax, top_k_accuracy

import tiny
from internvideo.data.clips import ClipViews
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.engine import Running
from internvideo.evaluation.predictions import read_predictions
from internvideo.pipeline import VideoModel, load
from internvideo.tasks.zero_shot.classifier import zero_shot_metrics
from internvideo.tasks.zero_shot.evaluate import evaluate_zero_shot
from internvideo.tasks.zero_shot.prompting import class_prompts

ACTIONS = [f"something {verb}" for verb in ("grows", "shrinks", "moves left", "moves up", "blinks",
                                            "bounces", "stays still")]  # fmt: skip


class NoiseSource:
    """Videos of noise, some of which cannot be read; what was read is counted."""

    def __init__(self, num_videos: int = 9, broken: tuple[int, ...] = (4,)) -> None:
        self.num_videos, self.broken = num_videos, broken
        self.seen: list[int] = []

    def __len__(self):
        return self.num_videos

    def read_views(self, index, protocol):
        self.seen.append(index)
        if index in self.broken:
            raise VideoError(f"{self.key(index)}: broken")
        generator = torch.Generator().manual_seed(index)
        shape = (protocol.num_views, 3, protocol.num_frames, 32, 32)
        views = 3 * torch.randn(*shape, generator=generator)
        return ClipViews(views, self.label(index), self.key(index))

    def key(self, index):
        return f"v{index}.mp4"

    def label(self, index):
        return index % 7

    def check_labels(self, num_classes):
        if num_classes < 7:
            raise DataError("a label is outside")


@pytest.fixture(scope="module", params=["viclip", "internvideo-mm"])
def model(request, tmp_path_factory) -> VideoModel:
    folder = tmp_path_factory.mktemp("model")
    save = tiny.save_viclip if request.param == "viclip" else tiny.save_internvideo_mm
    return load(save(folder / "model"), device="cpu").with_preprocessing(tiny.MULTI_VIEW)


@pytest.fixture
def classifier(model):
    return model.zero_shot(class_prompts(ACTIONS, ["{}", "watch how {}"]))


def by_hand(classifier, source) -> dict[int, torch.Tensor]:
    return {
        index: classifier.scores(source.read_views(index, classifier.preprocessing).views).mean(0)
        for index in range(len(source))
        if index not in source.broken
    }


@pytest.mark.parametrize("batch_size", [1, 16])
def test_numbers_equal_those_of_the_scores(classifier, batch_size):
    report = evaluate_zero_shot(classifier, NoiseSource(), running=Running(batch_size=batch_size))
    scores = by_hand(classifier, NoiseSource())
    labels = torch.tensor([index % 7 for index in scores])
    matrix = torch.stack(list(scores.values()))
    expected = zero_shot_metrics(matrix, labels)
    assert report.num_videos == 8
    assert round(report.top1, 2) == expected["top1"]
    assert round(report.top5, 2) == expected["top5"]
    assert report.average == pytest.approx(expected["avg"], abs=0.01)
    assert report.dual_softmax["top1"] == top_k_accuracy(dual_softmax(matrix), labels, 1)
    assert report.failures == (("v4.mp4", "v4.mp4: broken"),)
    assert report.top1_of_all == pytest.approx(report.top1 * 8 / 9)
    assert report.ensemble == classifier.ensemble
    assert report.sentences == classifier.prompts[ACTIONS[0]]
    for prediction in report.predictions:
        row = scores[prediction.index]
        assert prediction.num_views == 6
        assert prediction.best[0] == int(row.argmax())
        shares = classifier.probabilities(row)[list(prediction.best)]
        assert prediction.probabilities == pytest.approx(shares.tolist(), abs=1e-6)


def test_a_stopped_evaluation_goes_on_and_gives_the_same_numbers(classifier, tmp_path):
    path = tmp_path / "predictions.jsonl"
    whole = evaluate_zero_shot(classifier, NoiseSource(), running=Running(batch_size=1))

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    how = {"batch_size": 1, "predictions": path}
    with pytest.raises(KeyboardInterrupt):
        evaluate_zero_shot(classifier, NoiseSource(), running=Running(progress=stop, **how))
    source = NoiseSource()
    report = evaluate_zero_shot(classifier, source, running=Running(**how))
    assert sorted(source.seen) == [4, 5, 6, 7, 8]  # the broken one is tried again
    assert report == whole
    lines = read_predictions(path)
    assert [line["index"] for line in lines] == list(range(9))
    assert np.argmax(lines[0]["scores"]) == lines[0]["best"][0]


def test_other_sentences_are_another_evaluation(model, classifier, tmp_path):
    running = Running(predictions=tmp_path / "predictions.jsonl")
    evaluate_zero_shot(classifier, NoiseSource(), running=running)
    other = model.zero_shot(class_prompts(ACTIONS, ["{}", "here {}"]))
    with pytest.raises(ConfigError, match="other classes"):
        evaluate_zero_shot(other, NoiseSource(), running=running)


def test_impossible_evaluations_are_refused(model, classifier):
    with pytest.raises(DataError, match="the list is empty"):
        evaluate_zero_shot(classifier, NoiseSource(0))
    with pytest.raises(DataError, match="outside"):
        evaluate_zero_shot(model.zero_shot(class_prompts(ACTIONS[:3])), NoiseSource())


def test_nothing_readable_has_no_numbers(classifier):
    report = evaluate_zero_shot(classifier, NoiseSource(2, (0, 1)))
    assert (report.num_videos, report.top1, report.dual_softmax) == (0, 0.0, {})
    assert json.loads(report.to_json())["num_failed"] == 2
