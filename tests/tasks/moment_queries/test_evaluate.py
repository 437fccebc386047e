"""Moment queries by the command: a two-tower model, a detector, a submission."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import internvideo as iv
from internvideo.cli.application import run
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.text import embed_sentences
from internvideo.models.actionformer import ActionFormer
from internvideo.models.actionformer_config import Selection
from internvideo.tasks.moment_queries.evaluate import evaluate, open_moments, score
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.actionformer import ACTIONFORMER

CLASSES = ("something grows", "something slides left", "something vanishes")
MANIFEST = {"fps": 8.0, "stride": 8.0, "window": 8.0}  # a row a second


def write_clips(folder: Path, vectors: np.ndarray, num_clips: int = 4) -> Path:
    """Write `moments_val.json`, and features that are the vector of a class while it happens."""
    rng = np.random.default_rng(0)
    (folder / "features").mkdir()
    (folder / "features" / "manifest.json").write_text(json.dumps(MANIFEST))
    clips = []
    for number in range(num_clips):
        rows, labels = rng.normal(0, 0.02, (40, vectors.shape[1])), []
        for label, start in zip(rng.permutation(3).tolist(), (3, 15, 28), strict=True):
            rows[start : start + 5] += vectors[label]
            times = {"start_time": float(start), "end_time": start + 5.0}
            labels.append({"label": CLASSES[label], "primary": True, **times})
        np.save(folder / "features" / f"c{number}.npy", rows.astype(np.float32))
        clips.append(
            {
                "clip_uid": f"c{number}",
                "video_start_sec": 0.0,
                "video_end_sec": 40.0,
                "annotations": [{"labels": labels}],
            }
        )
    path = folder / "moments_val.json"
    path.write_text(json.dumps({"videos": [{"video_uid": "v", "split": "val", "clips": clips}]}))
    return path


@pytest.fixture(scope="module")
def towers():
    return iv.load("viclip-nano").loaded


@pytest.fixture
def annotations(tmp_path, towers) -> Path:
    vectors = embed_sentences(towers.two_towers, list(CLASSES)).numpy()
    return write_clips(tmp_path, vectors)


def test_a_two_tower_model_finds_windows_like_the_names_and_hands_them_in(
    annotations, tmp_path, capsys
):
    line = ("evaluate", "moment-queries", "-d", str(annotations), "--json", "--device", "cpu")
    features = ("--features", str(tmp_path / "features"), "--out", str(tmp_path / "out"))
    assert run([*line, "viclip-nano", *features, "--threshold", "0.9"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_moments"] == 12
    assert found["mAP"] == found["recall@1x@0.50"] == 100
    assert found["release"]["recall@1x@0.50"] == 100
    low, high = found["recall@1x@0.50_interval"]
    assert (low, high) == (100, 100)
    assert run([*line, "--predictions", str(tmp_path / "out" / "submission.json")]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {key: scored[key] for key in ("mAP", "release")} == {
        key: found[key] for key in ("mAP", "release")
    }


def test_sentences_on_classes_stand_for_their_names(annotations, tmp_path, towers):
    (tmp_path / "s.json").write_text(json.dumps({CLASSES[0]: [CLASSES[2]], CLASSES[2]: CLASSES[0]}))
    report = evaluate(
        towers, open_moments(AnnotatedData(path=str(annotations))), loop=EvalLoop(),
        features=[str(tmp_path / "features")], threshold=0.9, sentences=tmp_path / "s.json",
    )  # fmt: skip
    assert report.metrics()["mAP"] == pytest.approx(100 / 3)  # of the one in the middle alone


def detector(**selection) -> LoadedModel:
    config = replace(
        ACTIONFORMER.tiny["window"], input_dims=(128,), num_classes=3,
        selection=Selection(min_score=0.0, kept_score=0.0, **selection),
    )  # fmt: skip
    record = Record(labels=CLASSES, preprocessing=PRESETS["tal-features"])
    return LoadedModel(ActionFormer(config).eval(), record)


@pytest.mark.parametrize("post_processing", ["detector", "ego4d"])
def test_a_detector_answers_in_both_ways(annotations, tmp_path, post_processing):
    report = evaluate(
        detector(max_moments=20), open_moments(AnnotatedData(path=str(annotations))),
        loop=EvalLoop(directory=tmp_path / "out"), features=[str(tmp_path / "features")],
        post_processing=post_processing,
    )  # fmt: skip
    assert report.num_answered == 4
    assert post_processing in report.protocol
    written = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert written["challenge"] == "ego4d_moment_queries"
    number = {len(each) for each in written["detect_results"].values()}
    assert number == {20} if post_processing == "detector" else 20 < min(number) <= 200
    for key in ("detect_results", "retrieve_results"):
        for found in written[key].values():
            scores = [each["score"] for each in found]
            assert scores == sorted(scores, reverse=True)


def test_clips_without_answers_count_as_missed_and_are_named(annotations, tmp_path):
    rows = [{"label": CLASSES[0], "score": 0.5, "segment": [0, 1]}]
    content = {"detect_results": {"c1": rows}, "retrieve_results": {"c1": rows}}
    (tmp_path / "p.json").write_text(json.dumps(content))
    report = score(AnnotatedData(path=str(annotations)), tmp_path / "p.json", resamples=0)
    assert report.metrics()["recall@5x@0.30"] == 0
    assert any("3 clips" in note and "c0" in note for note in report.notes())


@pytest.mark.parametrize("missing", ["detect_results", "retrieve_results"])
def test_both_lists_must_be_there(annotations, tmp_path, missing):
    content = {"detect_results": {"c1": []}, "retrieve_results": {"c1": []}}
    del content[missing]
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=missing):
        score(AnnotatedData(path=str(annotations)), tmp_path / "p.json")


def test_what_finds_nothing_is_refused(annotations, tmp_path):
    videos = open_moments(AnnotatedData(path=str(annotations)))
    with pytest.raises(ConfigError, match="features"):
        evaluate(detector(), videos, loop=EvalLoop())
    classifier = iv.load("videomae-nano").loaded
    with pytest.raises(ConfigError, match="videomae-nano"):
        evaluate(classifier, videos, loop=EvalLoop(), features=[str(tmp_path / "features")])
