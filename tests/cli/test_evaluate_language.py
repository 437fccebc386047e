"""`internvideo evaluate zero-shot`, `multiple-choice` and `retrieval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from captioned import write_list, write_videos
from internvideo.data import write_world
from internvideo.world import World


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_viclip(root / "viclip")
    tiny.save_internvideo_mm(root / "mm")
    tiny.save_classifier(root / "classifier")
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A world as a list, as folders of classes, and as questions; some videos are bad."""
    root = tmp_path_factory.mktemp("world")
    small = World(seed=3, size=32, num_frames=8)
    write_world(root, 6, world=small, splits=(0.0, 0.0, 1.0))
    lines = (root / "test.csv").read_text().splitlines()
    (root / "broken.mp4").write_text("no video")
    (root / "bad.csv").write_text(f"{lines[0]}\nbroken.mp4 4\ngone.mp4 5\n")
    (root / "gone.csv").write_text("gone.mp4 5\ngone2.mp4 5\n")
    (root / "outside.csv").write_text(f"{lines[0]}\nvideos/x.mp4 28\n")
    for number, line in enumerate(lines):
        video = root / line.split(" ")[0]
        target = root / "folders" / ("grow", "跳跃")[number % 2] / video.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(video.read_bytes())
    write_world(root / "choices", 6, kind="multiple-choice", world=small)
    questions = (root / "choices/multiple_choice.jsonl").read_text().splitlines()
    gone = json.dumps({**json.loads(questions[0]), "video": "gone.mp4"})
    (root / "choices/bad.jsonl").write_text(f"{questions[1]}\n{gone}\n")
    return root


@pytest.mark.parametrize("name", ["viclip", "mm"])
def test_the_procedural_world(call, models, name):
    code, out, err = call(
        "evaluate", "zero-shot", models / name, "--data", "world", "-n", 5, "--json"
    )
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["num_videos"], len(report["classes"])) == (5, 28)
    assert report["chance"] == pytest.approx(100 / 28)
    assert report["ensemble"] == ("cosine" if name == "viclip" else "probability")


def test_a_list_with_its_results_in_a_folder(call, models, world, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "results"
    line = (
        "evaluate", "zero-shot", models / "viclip", "-d", world / "test.csv", "-l",
        world / "labels.txt", "-t", "something that does {}", "--out", out,
    )  # fmt: skip
    code, printed, _ = call(*line, "--plot", out / "plot.png")
    assert code == 0
    for told in ("top-1", "chance", "after dual softmax", "percent", "95 % interval"):
        assert told in printed
    report = json.loads((out / "report.json").read_text())
    assert len(report["sentences"]) == 1
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 7
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(call(*line, "--json")[1]) == report
    code, _, err = call(*line[:-3], "none", "--out", out)
    assert code == 2
    assert "classes" in err


def test_folders_with_labels_and_templates_in_chinese(call, models, world, tmp_path):
    (tmp_path / "zh.json").write_text('{"跳跃": "跳跃", "grow": "变大 grow"}', encoding="utf-8")
    (tmp_path / "zh.txt").write_text("一段{}的视频\n", encoding="utf-8")
    code, out, _ = call(
        "evaluate", "zero-shot", models / "viclip", "-d", world / "folders", "-l",
        tmp_path / "zh.json", "-t", tmp_path / "zh.txt", "--json",
    )  # fmt: skip
    report = json.loads(out)
    assert code == 0
    assert report["sentences"] == ["一段跳跃的视频"]
    assert [(row["label"], row["total"]) for row in report["classes"]] == [("跳跃", 3), ("grow", 3)]


def test_missing_videos_are_counted_listed_and_fail_when_strict(call, models, world):
    line = ("evaluate", "zero-shot", models / "viclip", "-l", world / "labels.txt", "-d")
    code, out, err = call(*line, world / "bad.csv", "--json")
    report = json.loads(out)
    assert (code, report["num_videos"], report["num_failed"]) == (0, 1, 2)
    assert "2 of 3 videos could not be used" in err
    assert "gone.mp4" in err
    assert call(*line, world / "bad.csv", "--strict")[0] == 1
    code, _, err = call(*line, world / "gone.csv")
    assert code == 2
    assert "no video of" in err.splitlines()[-1]


def test_multiple_choice(call, models, world, tmp_path):
    out = tmp_path / "results"
    line = ("evaluate", "multiple-choice", models / "mm", "-d")
    path = world / "choices/multiple_choice.jsonl"
    code, printed, err = call(*line, path, "--json", "--out", out)
    report = json.loads(printed)
    assert (code, err) == (0, "")
    assert (report["num_questions"], report["chance"]) == (6, 20.0)
    assert set(report["kinds"]) == {"action", "color", "object"}
    assert json.loads((out / "report.json").read_text()) == report
    code, printed, err = call(*line, world / "choices/bad.jsonl")
    assert code == 0
    assert "their questions as misses" in printed
    assert "gone.mp4" in err
    assert call(*line, world / "choices/bad.jsonl", "--strict")[0] == 1


def test_rows_that_are_left_out_are_told(call, models, world, tmp_path):
    videos = sorted((world / "videos").iterdir())
    (tmp_path / "a_1.0.mp4").write_bytes(videos[0].read_bytes())
    five = "\t".join(["one", "two", "three", "four", "five"])
    rows = [f"a_1.0\ta\tb\tc\td\t{five}\t2", f"a_2.0\ta\tb\t\td\t{five}\t2"]
    (tmp_path / "mc.csv").write_text("\n".join(rows) + "\n")
    code, out, err = call(
        "evaluate", "multiple-choice", models / "viclip", "-d", tmp_path / "mc.csv", "--json"
    )
    assert code == 0
    assert json.loads(out)["num_questions"] == 1
    assert "note: 1 rows are left out, such as" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zero-shot", "{viclip}"], "--data"),
        (["zero-shot", "{classifier}", "-d", "world"], "has no text tower"),
        (["zero-shot", "{viclip}", "-d", "{world}/test.csv"], "has numbers for classes"),
        (["zero-shot", "{viclip}", "-d", "world", "-l", "x.txt"], "--labels belongs to a list"),
        (["zero-shot", "{viclip}", "-d", "world", "-t", "action61"], "Did you mean 'action16'"),
        (["zero-shot", "{viclip}", "-d", "world", "-t", "{world}/t.txt"], "no templates file"),
        (["zero-shot", "{viclip}", "-d", "{world}/folders", "-n", "5"], "--num-clips belongs to"),
        (["zero-shot", "{viclip}", "-d", "{world}/none"], "no annotation file"),
        (
            ["zero-shot", "{viclip}", "-d", "{world}/outside.csv", "-l", "{world}/labels.txt"],
            "outside.csv:2",
        ),
        (
            ["zero-shot", "{viclip}", "-d", "world", "--protocol", "viclip-evl"],
            "Did you mean 'viclip-eval'",
        ),
        (["zero-shots", "{viclip}", "-d", "world"], "zero-shot"),
        (
            ["multiple-choice", "{classifier}", "-d", "{world}/choices/multiple_choice.jsonl"],
            "has no text tower",
        ),
        (["multiple-choice", "{viclip}", "-d", "{world}/q.jsonl"], "no annotation file"),
        (["{viclip}", "-d", "{world}/test.csv"], "internvideo evaluate zero-shot"),
    ],
)
def test_bad_lines_are_one_error_and_code_2(call, models, world, arguments, message):
    places = {"viclip": models / "viclip", "classifier": models / "classifier", "world": world}
    code, out, err = call("evaluate", *(each.format(**places) for each in arguments))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("verb", [(), ("classifier",), ("zero-shot",), ("multiple-choice",)])
def test_every_measure_shows_an_example(call, verb):
    code, out, _ = call("evaluate", *verb, "--help")
    assert code == 0
    assert f"  internvideo {' '.join(('evaluate', *verb[:1]))}".removesuffix(" classifier") in out
    assert "Example" in out


def test_retrieval_of_the_world_has_both_ways_side_by_side(call, models):
    code, out, err = call(
        "evaluate", "retrieval", models / "mm", "--data", "world", "-n", 5, "--side", "both",
        "--frames", 2, "--temperature", "0.1", "--caption-subset", "all", "--num-events", 2,
        "--json",
    )  # fmt: skip
    report = json.loads(out)
    assert code == 0, err
    assert (report["frames"], report["temperature"]) == (2, 0.1)
    assert report["captions"] == "one caption of each of 5 videos"
    assert report["data"] == "5 clips of the world, seed 7000001, 2 events each"
    for direction in ("text_to_video", "video_to_text"):
        assert report[direction].keys() == {"plain", "dual_softmax"}
        assert report[direction]["plain"]["num_queries"] == 5


def test_retrieval_counts_lists_and_with_strict_fails_for_a_missing_video(call, models, tmp_path):
    pytest.importorskip("matplotlib")
    path = write_list(write_videos(tmp_path), "captions.jsonl")
    line = ("evaluate", "retrieval", models / "viclip", "-d", path)
    code, out, err = call(*line, "--plot", tmp_path / "recall.png", "--details")
    assert code == 0
    for said in ("text to video", "video to text", "dual softmax", "chance", "temperature",
                 "of all 9", "whose video is not the first"):  # fmt: skip
        assert said in out, said
    assert "v5.mp4" in err
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert call(*line, "--strict")[0] == 1
    code, _, err = call(*line, "--rerank", 3)
    assert code == 2
    assert "no matching head" in err
