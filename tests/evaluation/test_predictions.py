from __future__ import annotations

import json

import pytest

from internvideo.errors import ConfigError
from internvideo.evaluation.predictions import (
    PredictionFile,
    read_header,
    read_predictions,
)

EVALUATION = {"protocol": {"num_frames": 4}, "weights": "abc"}


def line(index: int, **more) -> dict:
    return {"index": index, "video": f"{index}.mp4", "scores": [0.5, 0.5], **more}


def test_lines_are_on_disk_at_once_and_read_back(tmp_path):
    path = tmp_path / "out" / "predictions.jsonl"
    file = PredictionFile(path, EVALUATION)
    file.add(line(3))
    assert read_predictions(path) == [line(3)]
    assert read_header(path) == EVALUATION
    file.add(line(1, error="broken"))
    again = PredictionFile(path, EVALUATION)
    assert again.finished == {3}
    assert again.lines == {
        3: {"index": 3, "video": "3.mp4"},
        1: {"index": 1, "video": "1.mp4", "error": "broken"},
    }


def test_a_line_that_was_cut_off_is_left_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "predictions.jsonl"
    file = PredictionFile(path, EVALUATION)
    file.add(line(0))
    file.add(line(1))
    file.close()
    path.write_bytes(path.read_bytes()[:-9])
    again = PredictionFile(path, EVALUATION)
    assert again.finished == {0}
    again.add(line(2))
    again.close()
    assert PredictionFile(path, EVALUATION).finished == {0, 2}


def test_the_files_of_all_processes_become_one_in_order(tmp_path):
    path = tmp_path / "predictions.jsonl"
    first, second = (PredictionFile(path, EVALUATION, rank=rank) for rank in (0, 1))
    first.add(line(2, error="broken"))
    second.add(line(1))
    second.add(line(0))
    second.close()
    third = PredictionFile(path, EVALUATION, rank=0)  # the failed one worked the second time
    third.add(line(2))
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "predictions.jsonl",
        "predictions.jsonl.1",
    ]
    elsewhere = {"index": 7, "video": "7.mp4"}  # its file is on another machine
    third.complete([*(third.lines[index] for index in (0, 1, 2)), elsewhere])
    assert [each.name for each in tmp_path.iterdir()] == ["predictions.jsonl"]
    assert read_predictions(path) == [line(0), line(1), line(2), elsewhere]
    assert json.loads(path.read_text().splitlines()[0]) == {"evaluation": EVALUATION}


def test_a_file_of_another_evaluation_is_refused(tmp_path):
    path = tmp_path / "predictions.jsonl"
    PredictionFile(path, EVALUATION).add(line(0))
    with pytest.raises(ConfigError, match=r"is of another evaluation \(other weights\)"):
        PredictionFile(path, {**EVALUATION, "weights": "xyz"})


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = PredictionFile(None, {})
    file.add(line(0))
    file.complete([line(0)])
    assert file.finished == {0}
    assert list(tmp_path.iterdir()) == []
