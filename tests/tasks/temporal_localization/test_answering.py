"""A finder of segments through the engine: measured, resumed, and written to be handed in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from internvideo.data.feature_videos import FeatureVideoSource, read_videos
from internvideo.data.features import FeatureFiles
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.segment_protocol import own_numbers
from internvideo.evaluation.segments import Segments
from internvideo.tasks.temporal_localization.answering import measure_finder
from internvideo.tasks.temporal_localization.evaluate import score
from internvideo.tasks.temporal_localization.measure import Measure
from internvideo.video.preprocessing import Preprocessing

CLASSES = ("jump", "swim")
HOW = Measure(tiou="0.5,0.9", resamples=0)


class Threshold(Answerer[Segments]):
    """Finds the rows in which a channel is positive; the channel is the class."""

    def __init__(self) -> None:
        network = nn.Linear(1, 1)
        nn.init.zeros_(network.weight)
        nn.init.zeros_(network.bias)
        super().__init__(network, Preprocessing(num_frames=1))
        self.seen: list[str] = []

    def answer(self, batch: Batch) -> list[Segments]:
        found = []
        for video in batch.videos:
            self.seen.append(video.name)
            rows = [
                (float(start), float(end), float(values[start]), label)
                for label, values in enumerate(video.views[0].T)
                for start, end in zip(*_runs(values > 0), strict=True)
            ]
            table = np.array(rows, np.float64).reshape(-1, 4)
            found.append(Segments(table[:, :2], table[:, 2], table[:, 3].astype(np.int64)))
        return found

    def from_json(self, line):
        return Segments.from_dict(line)


def _runs(inside: torch.Tensor) -> tuple[list[int], list[int]]:
    steps = np.diff(np.concatenate([[0], inside.int().numpy(), [0]]))
    return np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist()


@pytest.fixture
def source(tmp_path) -> FeatureVideoSource:
    """Three videos of 30 seconds, a row a second; the third has no features."""
    truth = {"a": [("jump", 2, 6), ("swim", 10, 20)], "b": [("swim", 4, 9)], "c": [("jump", 0, 5)]}
    database = {
        name: {
            "subset": "validation",
            "duration": 30,
            "annotations": [{"label": label, "segment": [s, e]} for label, s, e in rows],
        }
        for name, rows in truth.items()
    }
    (tmp_path / "x.json").write_text(json.dumps({"database": database}))
    (tmp_path / "features").mkdir()
    for name in ("a", "b"):
        rows = np.zeros((30, 2), np.float32)
        for label, start, end in truth[name]:
            rows[start:end, CLASSES.index(label)] = 0.5 + 0.01 * start
        rows[25:27, 0] = 0.1  # nothing happens there
        np.save(tmp_path / "features" / f"{name}.npy", rows)
    videos = read_videos(tmp_path / "x.json")
    files = FeatureFiles(folders=tmp_path / "features", fps=1.0, stride=1.0)
    return FeatureVideoSource(videos, files.open())


def test_what_is_found_is_measured_and_a_missing_video_counts_as_missed(source):
    report = measure_finder(Threshold(), source, loop=EvalLoop(), classes=CLASSES, how=HOW)
    # jump: one of two is found; swim: both
    assert report.map_by_overlap == (75, 75)
    assert report.num_answered == 2
    assert [video for video, _ in report.failures] == ["c"]
    assert any("count as missed" in note for note in report.notes())
    assert report.outcomes["right"] == 3
    assert report.outcomes["background"] == 1


def test_a_stopped_evaluation_goes_on_and_its_submission_scores_the_same(source, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    loop = EvalLoop(directory=out, batch_size=1, num_workers=0, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        measure_finder(Threshold(), source, loop=loop, classes=CLASSES, how=HOW)
    finder, loop = Threshold(), EvalLoop(directory=out, batch_size=1)
    report = measure_finder(finder, source, loop=loop, classes=CLASSES, how=HOW)
    assert finder.seen == ["b"]
    assert any("submission.json" in note for note in report.notes())
    again = score(
        AnnotatedData(path=str(tmp_path / "x.json")), out / "submission.json",
        tiou="0.5,0.9", resamples=0,
    )  # fmt: skip
    assert again.map_by_overlap == report.map_by_overlap
    np.testing.assert_array_equal(again.num_found, report.num_found)


def test_classes_of_a_model_in_another_order_and_of_more(source):
    finder = Threshold()
    report = measure_finder(
        finder, source, loop=EvalLoop(), classes=("swim", "jump"), how=HOW
    )  # the channels are called otherwise
    assert report.mean_map == 0
    assert own_numbers(("walk", "swim", "jump"), source.annotated).tolist() == [-1, 1, 0]
    assert own_numbers(2, source.annotated).tolist() == [0, 1]
    with pytest.raises(ConfigError, match="none of the classes"):
        own_numbers(("walk",), source.annotated)
    with pytest.raises(ConfigError, match="3 classes without names"):
        own_numbers(3, source.annotated)
    for classes in (1, ("action",)):
        one = measure_finder(finder, source, loop=EvalLoop(), classes=classes, how=HOW)
        assert one.class_names == ("any action",)
    part = measure_finder(finder, source, loop=EvalLoop(), classes=("walk", "swim"), how=HOW)
    assert part.num_found.tolist() == [0, 2]


def test_classes_from_elsewhere(source, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"a": [0.9, 0.8], "b": [0.0, 1.0], "c": [0.5, 0.5]}))
    options = {"loop": EvalLoop(), "classes": 1, "how": HOW, "external_scores": str(path)}
    report = measure_finder(Threshold(), source, **options)
    assert report.num_found.sum() == 2 * 5  # each segment has two classes
    assert 0 < report.mean_map < 75
    path.write_text(json.dumps({"a": [0.9, 0.8], "b": [0.0, 1.0]}))
    with pytest.raises(DataError, match="no scores of c"):
        measure_finder(Threshold(), source, **options)
