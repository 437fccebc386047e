"""`evaluate anticipation`, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from internvideo.cli.application import run

LINE = ("evaluate", "anticipation")
GOOD = {
    "box": [1, 2, 30, 40], "noun_category_id": 3, "verb_category_id": 5, "time_to_contact": 0.7,
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    true, found = tmp_path / "fho_sta_val.json", tmp_path / "answers.json"
    entries = [{"uid": u, "video_id": "v", "frame": 3, "objects": [GOOD]} for u in "ab"]
    info = {"video_metadata": {"v": {"frame_width": 64, "frame_height": 64, "fps": 8.0}}}
    true.write_text(json.dumps({"info": info, "annotations": entries}))
    answer = {**GOOD, "time_to_contact": 2.0, "score": 0.5}
    found.write_text(json.dumps({"results": {"a": [answer]}}))
    return ["--predictions", str(found), "-d", str(true)]


def test_a_submission_is_scored_and_silent_pictures_are_listed(files, capsys):
    assert run([*LINE, *files, "--json"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out)
    found = [report[name] for name in ("noun", "noun+verb", "noun+ttc", "all")]
    assert found == [100, 100, 0, 0]
    assert (report["num_pictures"], report["num_pictures_found"]) == (2, 1)
    assert "b has no answer" in report["failures"][0]["reason"]
    assert "--every-box counts them" in output.err
    assert run([*LINE, *files, "--every-box", "--strict"]) == 1
    assert "50.00 %" in capsys.readouterr().out


def test_what_cannot_be_asked_is_refused_in_a_line(files, capsys):
    assert run([*LINE, "viclip-nano", *files[2:]]) == 2
    assert "does not anticipate contacts" in capsys.readouterr().err
    Path(files[1]).write_text(json.dumps({"results": {}}))
    assert run([*LINE, *files]) == 2
    assert "no usable detections" in capsys.readouterr().err
