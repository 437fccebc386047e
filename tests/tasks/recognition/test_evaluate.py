from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from internvideo.data.clips import ClipViews
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.predictions import read_predictions
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.tasks.recognition.evaluate import center_view, evaluate_classifier
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import load_model

PROTOCOL = tiny.MULTI_VIEW


class NoiseSource:
    """Videos of noise, some of which cannot be read."""

    def __init__(self, num_videos: int = 9, broken: tuple[int, ...] = (4,)) -> None:
        self.num_videos, self.broken = num_videos, broken
        self.read: list[int] = []
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.num_videos

    def read_views(self, index, protocol):
        self.read.append(index)
        self.threads.add(threading.get_ident())
        if index in self.broken:
            raise VideoError(f"{self.key(index)}: broken")
        generator = torch.Generator().manual_seed(index)
        size = protocol.crop_size
        views = torch.randn(
            protocol.num_views, 3, protocol.num_frames, size, size, generator=generator
        )
        return ClipViews(views, self.label(index), self.key(index))

    def key(self, index):
        return f"v{index}.mp4"

    def label(self, index):
        return index % 4

    def check_labels(self, num_classes):
        if num_classes < 4:
            raise DataError("a label is outside")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    network = load_model(tiny.save_classifier(tmp_path_factory.mktemp("model"))).model
    with torch.no_grad():
        network.head.weight.mul_(20)
    return network


def by_hand(model, source, protocol) -> dict[int, np.ndarray]:
    scores = {}
    for index in range(len(source)):
        if index not in source.broken:
            with torch.no_grad():
                logits = model(source.read_views(index, protocol).views).double()
            scores[index] = logits.softmax(dim=1).mean(dim=0).numpy()
    return scores


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_numbers_equal_averaging_by_hand(model, batch_size, num_workers):
    source = NoiseSource()
    report = evaluate_classifier(
        model, source, PROTOCOL, batch_size=batch_size, num_workers=num_workers
    )
    scores = by_hand(model, source, PROTOCOL)
    hits = [int(row.argmax()) == index % 4 for index, row in scores.items()]
    assert report.num_videos == 8
    assert report.top1 == pytest.approx(100 * np.mean(hits))
    assert report.top1_of_all == pytest.approx(100 * np.sum(hits) / 9)
    assert report.failures == (("v4.mp4", "v4.mp4: broken"),)
    assert report.protocol == PROTOCOL.describe()
    for prediction in report.predictions:
        row = scores[prediction.index]
        order = np.argsort(-row, kind="stable")
        assert prediction.best == tuple(order)
        assert order[prediction.rank] == prediction.label
        assert prediction.probabilities == pytest.approx(row[order], abs=1e-6)
        assert prediction.num_views == 6


def test_center_looks_at_one_clip_and_the_central_crop(model):
    assert center_view(PRESETS["videomae-kinetics"]) == PRESETS["videomae-validation"]
    assert center_view(PRESETS["videomae-ssv2"]).sampling == "segment"
    assert center_view(PRESETS["nano"]) == PRESETS["nano"]
    report = evaluate_classifier(model, NoiseSource(), PROTOCOL, views="center")
    assert {prediction.num_views for prediction in report.predictions} == {1}
    assert "1 clip x 1 crop" in report.protocol


def test_the_model_is_measured_in_evaluation_mode_and_left_as_it_was(model):
    modes = []
    handle = model.register_forward_hook(lambda module, *_: modes.append(module.training))
    model.train()
    try:
        evaluate_classifier(model, NoiseSource(2, ()), PROTOCOL)
        assert modes
        assert not any(modes)
        assert model.training
    finally:
        handle.remove()
        model.eval()


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_numbers(model, tmp_path):
    path = tmp_path / "predictions.jsonl"
    whole = evaluate_classifier(model, NoiseSource(), PROTOCOL, batch_size=1)

    def stop(done, total):
        assert total == 9
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_classifier(
            model, NoiseSource(), PROTOCOL, batch_size=1, predictions=path, progress=stop
        )
    assert [line["index"] for line in read_predictions(path)] == [0, 1, 2, 3, 4]
    source = NoiseSource()
    steps = []
    report = evaluate_classifier(
        model,
        source,
        PROTOCOL,
        batch_size=1,
        predictions=path,
        progress=lambda *step: steps.append(step),
    )
    assert sorted(source.read) == [4, 5, 6, 7, 8]  # the broken one is tried again
    assert steps[-1] == (9, 9)
    assert report == whole
    lines = read_predictions(path)
    assert [line["index"] for line in lines] == list(range(9))
    assert sum(lines[0]["scores"]) == pytest.approx(1, abs=1e-6)
    third = NoiseSource(broken=())
    assert evaluate_classifier(model, third, PROTOCOL, predictions=path).num_videos == 9
    assert third.read == [4]


def test_answers_of_other_weights_or_views_are_not_continued(model, tmp_path):
    path = tmp_path / "predictions.jsonl"
    evaluate_classifier(model, NoiseSource(), PROTOCOL, predictions=path)
    with pytest.raises(ConfigError, match="other protocol"):
        evaluate_classifier(model, NoiseSource(), PROTOCOL, views="center", predictions=path)
    with pytest.raises(ConfigError, match="other num_videos"):
        evaluate_classifier(model, NoiseSource(3), PROTOCOL, predictions=path)


def test_each_process_reads_its_share_and_all_get_the_whole(model, tmp_path, monkeypatch):
    """Two processes one after the other; what would be gathered is played back."""
    path = tmp_path / "predictions.jsonl"
    shares = []
    gathered: list = [[frozenset()] * 2, None]

    def all_gather(values, value):
        asked = gathered.pop(0)
        values[:] = asked if asked is not None else [value, shares[0] if shares else {}]
        if not isinstance(value, frozenset):
            shares.append(value)

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather)
    sources = NoiseSource(), NoiseSource()
    for rank in (1, 0):
        gathered[:] = [[frozenset()] * 2, None]
        fabric = SimpleNamespace(
            global_rank=rank, world_size=2, autocast=lambda: torch.autocast("cpu", enabled=False)
        )
        target = tmp_path / f"machine{rank}" / path.name  # nothing shared but the messages
        report = evaluate_classifier(
            model, sources[rank], PROTOCOL, batch_size=1, fabric=fabric, predictions=target
        )
    assert sorted(sources[0].read) == [0, 2, 4, 6, 8]
    assert sorted(sources[1].read) == [1, 3, 5, 7]
    assert report == evaluate_classifier(model, NoiseSource(), PROTOCOL, batch_size=1)
    lines = read_predictions(tmp_path / "machine0" / path.name)
    assert [line["index"] for line in lines] == list(range(9))


def test_empty_lists_and_labels_outside_the_classes_are_refused(model):
    with pytest.raises(DataError, match="the list is empty"):
        evaluate_classifier(model, NoiseSource(0), PROTOCOL)
    small = VideoClassifier(
        VideoClassifierConfig(num_classes=3, image_size=32, num_frames=4, width=32, depth=1,
                              num_heads=2)
    )  # fmt: skip
    with pytest.raises(DataError, match="outside"):
        evaluate_classifier(small, NoiseSource(), PROTOCOL)


def test_a_report_can_be_given_the_names_of_the_classes(model):
    report = evaluate_classifier(model, NoiseSource(), PROTOCOL)
    named = replace(report, labels=tiny.CLASSES)
    assert [row.name for row in named.classes] == list(tiny.CLASSES)
    assert named.top1 == report.top1
