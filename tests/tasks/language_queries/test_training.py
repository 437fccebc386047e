"""A recipe for language queries from features to answers: trained, measured, handed in, asked."""

from __future__ import annotations

import json

import pytest
import torch

from internvideo.config import merged, validate
from internvideo.data.feature_videos import FeatureVideoSource, read_videos
from internvideo.data.features import FeatureFiles
from internvideo.evaluation.engine import EvalLoop
from internvideo.pipeline import load
from internvideo.recipe import Recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.language_queries.evaluate import measure
from internvideo.train.checkpoint import newest_readable
from tasks.language_queries import toy


def recipe(folder, **changes) -> Recipe:
    return validate(Recipe, merged(toy.recipe(folder), changes), source="toy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train for some seconds; return the folder."""
    folder = tmp_path_factory.mktemp("queries")
    toy.write(folder, num_clips=80, split="train", seed=1)
    toy.write(folder, num_clips=24, split="val", seed=2)
    run_recipe(recipe(folder), folder / "run")
    return folder


def evaluated(folder, *more):
    data = folder / "nlq_val.json"
    return ("evaluate", "language-queries", *more, "--data", data, "--json")


def test_what_is_learnt_finds_far_more_than_guessing(trained):
    report = json.loads((trained / "run" / "report.json").read_text())
    assert report["num_queries"] == report["num_answered"] == 48
    assert report["r1_iou0.5"] > 60
    assert report["r5_iou0.5"] > 90
    untrained = load(trained / "run" / "model").loaded
    torch.manual_seed(0)
    untrained.model.reset_parameters()
    files = FeatureFiles(folders=trained / "features")
    source = FeatureVideoSource(read_videos(trained / "nlq_val.json"), files.open())
    guessed = measure(untrained, source, loop=EvalLoop(), quick=True).metrics()
    assert guessed["r1_iou0.5"] < 30


def test_the_command_measures_hands_in_and_scores_the_same(trained, call, tmp_path):
    handed_in, out = tmp_path / "answers.json", tmp_path / "out"
    best = trained / "run" / "best"
    code, printed, _ = call(
        *evaluated(trained, best), "--features", trained / "features",
        "--submission", handed_in, "--out", out,
    )  # fmt: skip
    assert code == 0
    measured = json.loads(printed)
    report = json.loads((trained / "run" / "report.json").read_text())
    assert measured["r1_iou0.3"] == report["r1_iou0.3"]
    code, printed, _ = call(*evaluated(trained), "--predictions", handed_in)
    assert code == 0
    scored = json.loads(printed)
    names = [name for name in scored if name.startswith(("r1", "r5", "mean", "miou", "num"))]
    assert {name: scored[name] for name in names} == {name: measured[name] for name in names}
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 24
    code, printed, _ = call(
        *evaluated(trained, best), "--features", trained / "features", "--out", out
    )
    assert json.loads(printed)["miou"] == measured["miou"]  # read back, not found again


def test_queries_without_an_answer_are_counted_beside_the_official_numbers(trained, call, tmp_path):
    handed_in = tmp_path / "answers.json"
    results = []
    for number in range(6):
        times = json.loads((trained / "nlq_val.json").read_text())["videos"][0]["clips"][number]
        [query, _] = times["annotations"][0]["language_queries"]
        results.append(
            {
                "clip_uid": f"val-{number}",
                "annotation_uid": f"val-{number}-a",
                "query_idx": 0,
                "predicted_times": [[query["clip_start_sec"], query["clip_end_sec"]]],
            }
        )
    header = {"version": "1.0", "challenge": "ego4d_nlq_challenge"}
    handed_in.write_text(json.dumps({**header, "results": results}))
    code, printed, notes = call(*evaluated(trained), "--predictions", handed_in)
    assert code == 0
    scored = json.loads(printed)
    assert scored["r1_iou0.5"] == 100
    assert scored["of_all_queries"]["r1_iou0.5"] == pytest.approx(100 * 6 / 48)
    assert "42 of 48 queries are not answered" in notes
    code, printed, _ = call(*evaluated(trained)[:-1], "--predictions", handed_in)
    assert "100.00 %" in printed
    assert "12.50 %" in printed


def test_options_that_do_not_go_together_are_refused(trained, call, tmp_path):
    best = trained / "run" / "best"
    for arguments, named in (
        (evaluated(trained, best), "--features"),
        ((*evaluated(trained, best), "--predictions", tmp_path / "x.json"), "without a model"),
        (evaluated(trained), "which model"),
        (("evaluate", "language-queries", "--predictions", "x.json"), "--data"),
        ((*evaluated(trained, best), "--features", tmp_path / "none"), "no folder of features"),
        ((*evaluated(trained, "viclip-nano"), "--features", trained / "features"), "12 channels"),
    ):
        code, _, error = call(*arguments)
        assert code == 2
        assert named in error


def test_a_clip_without_features_is_listed_and_its_queries_are_not_answered(
    trained, call, tmp_path
):
    features = tmp_path / "features"
    features.mkdir()
    for path in (trained / "features").iterdir():
        if path.stem != "val-3":
            (features / path.name).symlink_to(path)
    best = trained / "run" / "best"
    code, printed, notes = call(*evaluated(trained, best), "--features", features)
    assert code == 0
    report = json.loads(printed)
    assert [each["video"] for each in report["failures"]] == ["val-3"]
    assert (report["num_answered"], report["num_queries"]) == (46, 48)
    assert "2 of 48 queries are not answered" in notes


def test_a_run_goes_on_to_a_longer_schedule(tmp_path):
    toy.write(tmp_path, num_clips=16, split="train", seed=1)
    short = recipe(tmp_path, schedule={"epochs": 1}).model_copy(update={"evaluation": None})
    run_recipe(short, tmp_path / "run")
    longer = short.model_copy(update={"schedule": short.schedule.model_copy(update={"epochs": 2})})
    run_recipe(longer, tmp_path / "run", extend=True)
    found = newest_readable(tmp_path / "run")
    assert found is not None
    assert found[1]["step"] == 8
