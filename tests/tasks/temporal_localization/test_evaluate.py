"""Scoring files of predictions, by the command and in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from internvideo.data.feature_videos import read_videos
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_protocol import THRESHOLDS, overlaps, true_segments
from internvideo.evaluation.segments import Segments
from internvideo.tasks.temporal_localization.evaluate import open_untrimmed, score
from internvideo.tasks.temporal_localization.measure import Measure

REAL = Path(__file__).parents[4] / "shared" / "real" / "tal"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real annotations in {REAL}")
CLASSES = ("jump", "swim", "yoga")


@pytest.fixture
def annotations(tmp_path) -> Path:
    """Two annotated videos and one without annotation; a segment has no length, one is too long."""

    def video(*segments):
        named = [{"label": label, "segment": [s, e]} for label, s, e in segments]
        return {"subset": "validation", "duration": 60.0, "annotations": named}

    database = {
        "a": video(("jump", 0, 10), ("jump", 20, 30), ("swim", 40, 61)),
        "b": video(("yoga", 5, 25), ("yoga", 5, 25), ("swim", 50, 50)),
        "c": video(),
        "old": {**video(("jump", 1, 2)), "subset": "training"},
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"database": database}))
    return path


def submission(path: Path, **videos) -> Path:
    results = {
        name: [{"label": label, "score": p, "segment": [s, e]} for label, p, s, e in rows]
        for name, rows in videos.items()
    }
    path.write_text(json.dumps({"version": "VERSION 1.3", "results": results}))
    return path


GOOD = {
    "a": [
        ("jump", 0.9, 0, 10),
        ("jump", 0.8, 20, 29),
        ("jump", 0.3, 21, 29),
        ("swim", 0.6, 40, 61),
    ],
    "b": [("yoga", 0.7, 5, 24), ("swim", 0.2, 30, 40)],
}


def test_the_command_scores_a_file_without_a_model(call, annotations, tmp_path):
    pytest.importorskip("matplotlib")
    found = submission(tmp_path / "found.json", **GOOD, c=[("jump", 0.85, 3, 9)])
    line = (
        "evaluate", "temporal-localization", "--predictions", found, "-d", annotations,
        "--split", "val", "--out", tmp_path / "results",
    )  # fmt: skip
    code, out, err = call(*line, "--json")
    assert code == 0
    report = json.loads(out)
    # jump: right, wrong (video c), right of 2; swim: right of 2; yoga: right of 2 equal ones
    jump, swim, yoga = (1 + 2 / 3) / 2, 1 / 2, 1 / 2
    assert report["mAP@0.50"] == pytest.approx(100 * (jump + swim + yoga) / 3)
    assert report["mAP@0.95"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert report["mAP_without_other_videos"] > report["mAP"]
    outcomes = {name: report["outcomes"][name] for name in ("right", "double", "background")}
    assert outcomes == {"right": 4, "double": 1, "background": 1}  # of six; there are seven
    assert [each["num_true"] for each in report["classes"]] == [2, 2, 2]
    assert report["interval"][0] <= report["mAP"] <= report["interval"][1]
    assert json.loads((tmp_path / "results" / "report.json").read_text()) == report
    for told in (
        "1 true segments have no length", "1 true segments end after their video",
        "1 predictions are about 1 videos without true segments",
    ):  # fmt: skip
        assert told in err
    code, out, _ = call(*line, "--details", "--plot", tmp_path / "plot.png", "--tiou", "thumos14")
    assert code == 0
    assert "0.30" in out
    assert "wrong bounds" in out
    assert out.index("jump") < out.index("yoga")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_repeated_true_segments_count_twice_or_once(annotations, tmp_path):
    found = submission(tmp_path / "found.json", **GOOD)
    data = AnnotatedData(path=str(annotations), split="val")
    options = {"tiou": "0.5", "resamples": 0}
    official, once = (
        score(data, found, evaluator=each, **options) for each in ("official", "actionformer")
    )
    release = score(data, found, evaluator="actionformer-release", **options)
    yoga, swim = CLASSES.index("yoga"), CLASSES.index("swim")
    assert (official.num_true[yoga], once.num_true[yoga]) == (2, 1)
    assert official.average_precision[0, yoga] == 0.5
    assert once.average_precision[0, yoga] == 1
    assert (once.num_true[swim], release.num_true[swim]) == (2, 1)
    assert official.interval is None


def test_segments_without_classes_get_those_of_their_video(call, annotations, tmp_path):
    rows = {name: [("action", *row[1:]) for row in rows] for name, rows in GOOD.items()}
    found = submission(tmp_path / "found.json", **rows)
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"results": {"a": [0.8, 0.2, 0.0], "b": [1.0, 0.0, 9.0]}}))
    line = (
        "evaluate", "temporal-localization", "--predictions", found, "-d", annotations,
        "--split", "val", "--resamples", 0, "--json",
    )  # fmt: skip
    code, _, err = call(*line)
    assert code == 2
    assert "'action', which is none of the 3" in err
    code, out, err = call(*line, "--external-scores", scores)
    assert code == 0
    assert "classes of 2 videos by" in err
    assert "1 became a softmax" in err
    assert json.loads(out)["mAP@0.50"] > 50
    scores.write_text(json.dumps({"results": {"a": [0.8, 0.2, 0.0]}}))
    code, _, err = call(*line, "--external-scores", scores)
    assert code == 2
    assert "no scores of b" in err


def test_classes_of_whole_videos(call, annotations, tmp_path):
    """The official rules: average precision by class, and the first answers of each video."""
    path = tmp_path / "found.json"
    results = {
        "a": [{"label": "jump", "score": 0.9}, {"label": "yoga", "score": 0.5}],
        "b": [{"label": "jump", "score": 0.8}, {"label": "swim", "score": 0.7}],
    }
    path.write_text(json.dumps({"results": results}))
    line = (
        "evaluate", "temporal-localization", "--predictions", path, "-d", annotations,
        "--split", "val", "--json",
    )  # fmt: skip
    report = json.loads(call(*line)[1])
    assert report["mAP"] == pytest.approx(100 * (1 + 0.5 + 0) / 3)
    assert (report["top1"], report["hit@1"], report["hit@3"]) == (50, 25, 50)
    table = {"results": {"a": [0.9, 0.1, 0.0], "b": [0.1, 0.2, 0.7], "c": [1, 0, 0]}}
    path.write_text(json.dumps(table))
    report = json.loads(call(*line)[1])
    assert (report["top1"], report["num_videos"]) == (100, 2)


def test_a_split_without_annotation_measures_nothing_and_says_so(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    for video in content["database"].values():
        video["annotations"] = []
    content["taxonomy"] = [{"nodeName": name, "parentName": "Root"} for name in CLASSES]
    annotations.write_text(json.dumps(content))
    data = AnnotatedData(path=str(annotations), split="val")
    report = score(data, submission(tmp_path / "found.json", **GOOD))
    assert report.metrics() == {}
    assert "has no true segments here" in report.notes()[0]
    assert report.numbers()["num_predictions"] == 6


def test_what_is_left_out_of_the_annotations_is_told(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    content["database"]["a"]["annotations"].append({"label": "jump", "segment": [9, 3]})
    annotations.write_text(json.dumps(content))
    data = AnnotatedData(path=str(annotations), split="val")
    report = score(data, submission(tmp_path / "found.json", **GOOD), resamples=0)
    assert any("ends before it begins" in note for note in report.notes())


def test_annotations_that_do_not_fit_are_refused(tmp_path, annotations):
    lines = tmp_path / "charades_sta_test.txt"
    lines.write_text("A 1.0 2.0##a person runs.\n")
    with pytest.raises(DataError, match="names no classes"):
        open_untrimmed(AnnotatedData(path=str(lines)))
    with pytest.raises(ConfigError, match="--format thumos14"):
        open_untrimmed(AnnotatedData(path="world"))
    with pytest.raises(ConfigError, match="first-label"):
        open_untrimmed(AnnotatedData(path=str(annotations), first_label=1))


def test_overlaps_are_those_of_a_data_set_or_numbers():
    assert overlaps("ego4d") == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))
    assert overlaps("0.7, 0.3,0.3") == (0.3, 0.7)
    for text in ("thumos", "0.5,2", "", "0"):
        with pytest.raises(ConfigError, match="thumos14"):
            overlaps(text)


def test_the_data_decide_the_overlaps(tmp_path):
    path = tmp_path / "Diving_test.txt"
    path.write_text("video_test_0000004 1.0 2.0\n")
    videos = read_videos(path)
    report = Measure(resamples=0)(videos, true_segments(videos))
    assert report.thresholds == THRESHOLDS["thumos14"]
    assert report.mean_map == 100
    report = Measure(resamples=0, tiou="0.9")(videos, SegmentTable.of([Segments.none()]))
    assert (report.thresholds, report.mean_map) == ((0.9,), 0)


# ---------------------------------------------------------------- real files


@real
def test_the_official_sample_of_activitynet():
    folder = REAL / "activitynet"
    path = str(folder / "anet_v1-3_trainval_rebuilt.json")
    data = AnnotatedData(path=path, split="validation", format="activitynet")
    found = score(data, folder / "sample_detection_prediction.json", resamples=0)
    np.testing.assert_allclose(found.map_by_overlap, 97.1976, atol=5e-5)
    assert found.elsewhere == 1
    told = score(data, folder / "sample_classification_prediction.json")
    assert told.metrics()["mAP"] == pytest.approx(97.5582, abs=5e-5)
    assert told.hits[3] == 1


@real
def test_untrimmednet_on_thumos14():
    data = AnnotatedData(path=str(REAL / "thumos14" / "test_Annotation.csv"))
    told = score(data, REAL / "thumos14" / "uNet_test.npy")
    assert told.top1.total == 212
    assert told.metrics()["top1"] == pytest.approx(89.2, abs=0.05)
    assert told.metrics()["mAP"] == pytest.approx(93.5, abs=0.05)
