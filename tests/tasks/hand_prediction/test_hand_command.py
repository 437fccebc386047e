"""`evaluate hand-prediction`, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from internvideo.cli.application import run

LINE = ("evaluate", "hand-prediction")


@pytest.fixture
def files(tmp_path):
    entries = [{"pre_45": {"frame": n, "boxes": [{"left_hand": [30, 40]}]}} for n in (1, 8, 15)]
    true, found = tmp_path / "fho_hands_val.json", tmp_path / "answers.json"
    clips = [{"clip_id": 4, "frames": entries[:2]}, {"clip_id": 5, "frames": entries[2:]}]
    true.write_text(json.dumps({"clips": clips}))
    found.write_text(json.dumps({"4_0": [0.0] * 20, "5_14": [30, 20] + [0] * 18, "9_9": [1] * 20}))
    return ["--predictions", str(found), "-d", str(true)]


def test_a_submission_is_scored_and_silent_entries_are_listed(files, capsys):
    assert run([*LINE, *files, "--json"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert report["left_mean"] == 35  # 50 and 20 pixels
    assert report["left_mean_interval"] == [20, 50]
    assert "right_mean" not in report
    assert (report["num_entries"], report["num_hands"]) == (2, 2)
    assert [each["video"] for each in report["failures"]] == ["4_7"]
    assert "1 answers are to no entry, such as 9_9" in output.err
    assert run([*LINE, *files, "--strict"]) == 1
    assert "left hand, mean of key frames" in capsys.readouterr().out


def test_what_cannot_be_asked_is_refused_in_a_line(files, capsys):
    assert run([*LINE, "viclip-nano", *files[2:]]) == 2
    assert "does not predict hands" in capsys.readouterr().err
    assert run([*LINE, *files, "--root", "here"]) == 2
    assert "--root does not matter" in capsys.readouterr().err
    Path(files[1]).write_text(json.dumps({"9_9": [1] * 20}))
    assert run([*LINE, *files]) == 2
    assert "answers none of the 3 entries" in capsys.readouterr().err
