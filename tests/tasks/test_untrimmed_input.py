"""Bad annotations and features of untrimmed videos, in all tasks that read them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import internvideo as iv
from internvideo.cli.application import run
from internvideo.data.feature_videos import FeatureVideoSource, read_videos
from internvideo.data.features import FeatureFiles
from internvideo.errors import DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.actionformer import ActionFormer
from internvideo.models.actionformer_config import Selection
from internvideo.tasks.registry import find_task
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.actionformer import ACTIONFORMER

TASKS = ("temporal-localization", "moment-queries", "language-queries")
DETECTIONS = TASKS[:2]
SECONDS, CHANNELS = 40.0, 128


def write(folder: Path, task: str, **moments: list[tuple[str, float, float]]) -> Path:
    """Write the annotations of videos of 40 s and their features, a row a second."""
    (folder / "features").mkdir(exist_ok=True)
    (folder / "features" / "manifest.json").write_text('{"fps": 8, "stride": 8, "window": 8}')
    for name in moments:
        rows = np.random.default_rng(0).normal(size=(int(SECONDS), CHANNELS))
        np.save(folder / "features" / f"{name}.npy", rows.astype(np.float32))
    if task == "temporal-localization":
        database = {
            name: {
                "subset": "val",
                "duration": SECONDS,
                "annotations": [{"label": label, "segment": [a, b]} for label, a, b in found],
            }
            for name, found in moments.items()
        }
        content = {"database": database}
    elif task == "moment-queries":
        content = _clips(
            moments,
            lambda label, a, b: {"label": label, "primary": True, "start_time": a, "end_time": b},
            "labels",
        )
    else:
        content = _clips(
            moments,
            lambda text, a, b: {"query": text, "clip_start_sec": a, "clip_end_sec": b},
            "language_queries",
        )
    path = folder / f"{task}.json"
    path.write_text(json.dumps(content))
    return path


def _clips(moments, entry, key):
    clips = [
        {
            "clip_uid": name,
            "video_start_sec": 0.0,
            "video_end_sec": SECONDS,
            "annotations": [{"annotation_uid": name, key: [entry(*each) for each in found]}],
        }
        for name, found in moments.items()
    ]
    return {"videos": [{"video_uid": "v", "split": "val", "clips": clips}]}


@pytest.fixture(scope="module")
def models():
    config = replace(
        ACTIONFORMER.tiny["window"], input_dims=(CHANNELS,), num_classes=2,
        selection=Selection(max_moments=5),
    )  # fmt: skip
    record = Record(labels=("grow", "vanish"), preprocessing=PRESETS["tal-features"])
    detector = LoadedModel(ActionFormer(config).eval(), record)
    towers = iv.load("viclip-nano").loaded
    return {**dict.fromkeys(DETECTIONS, detector), "language-queries": towers}


def measured(task: str, path: Path, models, **options):
    room = find_task(task)
    videos = room.open(AnnotatedData(path=str(path), **options))
    store = FeatureFiles(folders=path.parent / "features").open()
    assert room.evaluate is not None
    return room.evaluate(models[task], FeatureVideoSource(videos, store), loop=EvalLoop())


GOOD = ("grow", 2.0, 9.0)


@pytest.mark.parametrize("task", TASKS)
def test_moments_outside_their_video_are_told_and_the_evaluation_goes_on(
    task, tmp_path, models, caplog
):
    path = write(tmp_path, task, a=[GOOD, ("vanish", 30, 55.5)], b=[GOOD])
    report = measured(task, path, models)
    said = " ".join((*report.notes(), *caplog.messages))
    assert "end" in said
    assert "55.5" in said
    assert report.num_answered == 2


@pytest.mark.parametrize("task", TASKS)
def test_moments_of_no_length_are_told_and_count(task, tmp_path, models):
    path = write(tmp_path, task, a=[GOOD, ("vanish", 12, 12)], b=[GOOD])
    report = measured(task, path, models)
    assert any("no length" in note for note in report.notes())
    assert report.metrics()


@pytest.mark.parametrize("task", DETECTIONS)
def test_a_class_that_the_list_does_not_have_is_named(task, tmp_path, models):
    path = write(tmp_path, task, a=[GOOD, ("dance", 12, 15)], b=[GOOD])
    (tmp_path / "classes.txt").write_text("grow\nvanish\n")
    report = measured(task, path, models, labels=str(tmp_path / "classes.txt"))
    assert any("dance" in note for note in report.notes())


@pytest.mark.parametrize("task", DETECTIONS)
def test_a_prediction_of_an_unknown_class_is_refused_by_name(task, tmp_path):
    path = write(tmp_path, task, a=[GOOD])
    rows = {"a": [{"label": "groww", "score": 0.5, "segment": [0, 1]}]}
    keys = ("results", "detect_results", "retrieve_results")
    (tmp_path / "p.json").write_text(json.dumps(dict.fromkeys(keys, rows)))
    room = find_task(task)
    assert room.score is not None
    with pytest.raises(DataError, match=r"'groww'.*grow"):
        room.score(AnnotatedData(path=str(path)), tmp_path / "p.json")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("told", [{"fps": 8, "stride": 2}, {"fps": 30, "stride": 8}])
def test_features_of_another_rate_are_listed_with_both_lengths(task, told, tmp_path, models):
    path = write(tmp_path, task, a=[GOOD], b=[GOOD])
    table = tmp_path / "features" / "videos.jsonl"
    table.write_text(json.dumps({"video": "b", "window": told["stride"], **told}) + "\n")
    report = measured(task, path, models)
    [(video, reason)] = report.failures
    seconds = 40 * told["stride"] / told["fps"]
    assert video == "b"
    assert "b.npy has 40 rows" in reason
    assert f"{seconds:.1f} s" in reason
    assert "40.0 s" in reason


@pytest.mark.parametrize("task", TASKS)
def test_features_of_another_length_are_listed_with_both_lengths(task, tmp_path, models):
    path = write(tmp_path, task, a=[GOOD], b=[GOOD])
    np.save(tmp_path / "features" / "b.npy", np.zeros((9, CHANNELS), np.float32))
    [(video, reason)] = measured(task, path, models).failures
    assert video == "b"
    assert "9 rows" in reason
    assert "40.0 s" in reason


def test_a_query_without_words_is_left_out_by_name_and_refused_in_training(
    tmp_path, models, caplog
):
    path = write(tmp_path, "language-queries", a=[GOOD, (" ?", 12, 15)], b=[GOOD])
    report = measured("language-queries", path, models)
    assert report.numbers()["num_queries"] == 2
    assert "query a/1 has no words" in " ".join(caplog.messages)
    with pytest.raises(DataError, match="a/1"):
        read_videos(path).refuse_bad_lines()


@pytest.mark.parametrize("query", ["", "  ", "?!"])
def test_a_user_who_asks_nothing_is_told_so(query, tmp_path, capsys):
    assert run(["predict", "query", str(tmp_path / "film.mp4"), query]) != 0
    lines = capsys.readouterr().err.splitlines()
    assert ["query" in line for line in lines if line.startswith("error:")] == [True]
