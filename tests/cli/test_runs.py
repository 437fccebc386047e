from __future__ import annotations

import json

import pytest
from PIL import Image

RECORDS = {
    "a": [
        {"step": 1, "loss": 2.0, "lr": 1e-3},
        {"step": 1, "val_top1": 40.0, "val_loss": 1.5},
        {"step": 2, "loss": 1.0, "lr": 1e-4},
        {"step": 2, "val_top1": 30.0, "val_loss": 1.7},
    ],
    "b": [{"step": 3, "loss": 1.5, "lr": 1e-2}, {"step": 3, "val_top1": 60.0, "val_loss": 0.9}],
    "deep/c": [{"step": 5, "loss": 0.7, "lr": 1e-2}],
}


@pytest.fixture
def runs(tmp_path):
    for name, records in RECORDS.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    (tmp_path / "b" / "model").mkdir()
    return tmp_path


def test_the_best_run_comes_first(call, runs):
    code, out, err = call("runs", runs)
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()[1:]]
    assert [row[0] for row in rows] == [str(runs / name) for name in ("b", "a", "deep/c")]
    assert rows[0][1:5] == ["top1 60.00", "3 of 3", "1.5", "0.9"]
    assert rows[1][1:3] == ["top1 40.00", "1 of 2, not finished"]
    found = json.loads(call("runs", runs, "--json")[1])
    assert [run["val_loss"] for run in found] == [0.9, 1.5, None]
    assert found[1]["lr"] == 1e-3


def test_their_curves_are_in_one_picture(call, runs, tmp_path):
    code, _, err = call("runs", runs, "--plot", tmp_path / "runs.png")
    assert code == 0
    assert "runs.png" in err
    assert Image.open(tmp_path / "runs.png").size[0] > 1000


def test_a_folder_without_runs_is_an_error(call, tmp_path):
    code, _, err = call("runs", tmp_path)
    assert code == 2
    assert "log.jsonl" in err
