from __future__ import annotations

import json
from typing import Any

import pytest

from internvideo.errors import ConfigError
from internvideo.evaluation.predictions import (
    Answered,
    PredictionFile,
    read_header,
    read_predictions,
)

EVALUATION = {"protocol": {"num_frames": 4}, "weights": "abc"}


class Codec:
    """Keeps the best class in memory, and all scores on disk."""

    def to_json(self, answer: int) -> dict[str, Any]:
        return {"best": answer, "scores": [0.5, 0.5]}

    def from_json(self, line: dict[str, Any]) -> int:
        return line["best"]


def opened(path, **options) -> PredictionFile[int]:
    return PredictionFile(path, EVALUATION, Codec(), **options)


def answer(index: int) -> Answered[int]:
    return Answered(index, f"{index}.mp4", 10 * index)


def failure(index: int) -> Answered[int]:
    return Answered(index, f"{index}.mp4", error="broken")


def line(index: int) -> dict[str, Any]:
    return {"index": index, "video": f"{index}.mp4", "best": 10 * index, "scores": [0.5, 0.5]}


def test_lines_are_on_disk_at_once_and_read_back(tmp_path):
    path = tmp_path / "out" / "predictions.jsonl"
    file = opened(path)
    file.add(answer(3))
    assert read_predictions(path) == [line(3)]
    assert read_header(path) == EVALUATION
    file.add(failure(1))
    file.add(answer(2))
    file.add(failure(2))  # an answer stays
    again = opened(path)
    assert again.finished == {2, 3}
    assert again.kept == file.kept == {3: answer(3), 1: failure(1), 2: answer(2)}


def test_a_line_that_was_cut_off_is_left_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "predictions.jsonl"
    file = opened(path)
    file.add(answer(0))
    file.add(answer(1))
    file.close()
    path.write_bytes(path.read_bytes()[:-9])
    again = opened(path)
    assert again.finished == {0}
    again.add(answer(2))
    again.close()
    assert opened(path).finished == {0, 2}


def test_the_files_of_all_processes_become_one_in_order(tmp_path):
    path = tmp_path / "predictions.jsonl"
    first, second = (opened(path, rank=rank) for rank in (0, 1))
    first.add(failure(2))
    second.add(answer(1))
    second.add(answer(0))
    second.close()
    third = opened(path)  # the failed one worked the second time
    third.add(answer(2))
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "predictions.jsonl",
        "predictions.jsonl.1",
    ]
    elsewhere = answer(7)  # its file is on another machine
    third.complete([*(third.kept[index] for index in (0, 1, 2)), elsewhere])
    assert [each.name for each in tmp_path.iterdir()] == ["predictions.jsonl"]
    assert read_predictions(path) == [line(0), line(1), line(2), line(7)]
    assert json.loads(path.read_text().splitlines()[0]) == {"evaluation": EVALUATION}


def test_a_file_of_another_evaluation_is_refused(tmp_path):
    path = tmp_path / "predictions.jsonl"
    opened(path).add(answer(0))
    with pytest.raises(ConfigError, match=r"predictions\.jsonl.*weights"):
        PredictionFile(path, {**EVALUATION, "weights": "xyz"}, Codec())


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = opened(None)
    file.add(answer(0))
    file.complete([answer(0)])
    assert file.finished == {0}
    assert list(tmp_path.iterdir()) == []
