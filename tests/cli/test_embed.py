"""Vectors of windows, in each format; a stop loses none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import tiny
from internvideo.evaluation import embedding_file
from internvideo.evaluation.embedding_file import EmbeddingFile
from internvideo.pipeline import load
from internvideo.video import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, count in enumerate((40, 24, 32)):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 255, (count, 32, 48, 3), dtype=np.uint8)
        write_video(folder / f"v_{number}.mp4", frames, fps=8)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.save_viclip(tmp_path_factory.mktemp("model")))


def test_windows_have_a_vector_each_in_every_format(videos, model, tmp_path, call):
    line = ("embed", videos, "-m", model, "--window", 2, "--stride", 1, "-t", "a star", "-o")
    for ending in ("npz", "npy", "safetensors", "jsonl", "parquet"):
        code, told, _ = call(*line, tmp_path / f"out.{ending}")
        assert code == 0
        assert "3 videos (9 windows) and 1 text, 16 numbers each" in told
    with np.load(tmp_path / "out.npz") as data:
        rows, names, spans = (data[name] for name in ("video_embeddings", "videos", "spans"))
        text_rows = data["text_embeddings"]
    assert [Path(name).name for name in names] == ["v_0.mp4"] * 4 + ["v_1.mp4"] * 2 + [
        "v_2.mp4"
    ] * 3
    assert spans[:4].tolist() == [[0, 2], [1, 3], [2, 4], [3, 5]]
    both = np.concatenate([rows, text_rows])
    assert np.array_equal(np.load(tmp_path / "out.npy"), both)
    about = (tmp_path / "out.rows.jsonl").read_text("utf-8").splitlines()
    assert json.loads(about[2]) == {"video": str(names[1]), "start": 1.0, "end": 3.0}
    with safe_open(tmp_path / "out.safetensors", framework="np") as data:
        assert np.array_equal(data.get_tensor("video_embeddings"), rows)
        assert np.array_equal(data.get_tensor("spans"), spans)
    lines = [json.loads(each) for each in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert np.array_equal(np.array([each["embedding"] for each in lines[1:]], np.float32), both)
    assert lines[-1]["text"] == "a star"
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert np.array_equal(np.array([each["embedding"] for each in table], np.float32), both)
    assert (table[4]["start"], table[4]["video"]) == (0.0, str(names[4]))
    assert not list(tmp_path.glob("*.part*"))


def test_a_window_is_the_clip_that_it_covers(videos, model, tmp_path, call):
    code, _, _ = call("embed", videos / "v_0.mp4", "-m", model, "--every", 5, "-o",
                      tmp_path / "out.npz")  # fmt: skip
    assert code == 0
    loaded = load(model)
    looked = loaded.preprocessing
    with np.load(tmp_path / "out.npz") as data:
        [row] = data["video_embeddings"]
    if looked.num_clips == 1 and looked.num_crops == 1 and looked.sampling == "sparse":
        assert row @ loaded.embed_video(videos / "v_0.mp4")[0].numpy() == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_the_same_command_goes_on_after_a_stop(videos, model, tmp_path, call, monkeypatch):
    line = ("embed", videos, "-m", model, "--every", 2, "--workers", 0, "-o")
    assert call(*line, tmp_path / "whole.npz")[0] == 0
    add = EmbeddingFile.add
    added = []

    def stop(self, found):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(found.video)
        add(self, found)

    monkeypatch.setattr(EmbeddingFile, "add", stop)
    assert call(*line, tmp_path / "out.npz")[0] == 130
    part = tmp_path / "out.npz.part"
    part.write_bytes(part.read_bytes() + b'{"video": "v_2.m')  # cut off within a line
    asked = []
    monkeypatch.setattr(EmbeddingFile, "add", lambda self, found: (asked.append(found.video),
                                                                   add(self, found)))  # fmt: skip
    code, told, err = call(*line, tmp_path / "out.npz")
    assert (code, len(asked)) == (0, 1)
    assert "3 videos" in told
    assert "goes on with 2 videos there already" in err
    with np.load(tmp_path / "out.npz") as one, np.load(tmp_path / "whole.npz") as other:
        assert np.array_equal(one["videos"], other["videos"])
        assert np.allclose(one["video_embeddings"], other["video_embeddings"], atol=1e-6)
    assert not part.exists()


def test_other_windows_are_not_mixed_in(videos, model, tmp_path, call, monkeypatch):
    monkeypatch.setattr(EmbeddingFile, "complete", lambda *_: (_ for _ in ()).throw(
        KeyboardInterrupt))  # fmt: skip
    line = ("embed", videos, "-m", model, "-o", tmp_path / "out.npy")
    assert call(*line, "--every", 2)[0] == 130
    code, _, err = call(*line, "--every", 4)
    assert code == 2
    assert "different window" in err


def test_a_format_that_needs_a_package_is_told_before_the_work(monkeypatch, tmp_path, call):
    def missing(module: str, *, extra: str):
        raise embedding_file.ConfigError(f"needs internvideo[{extra}]")

    monkeypatch.setattr(embedding_file, "require", missing)
    code, _, err = call("embed", "x.mp4", "-o", tmp_path / "out.parquet")
    assert code == 2
    assert "internvideo[parquet]" in err


@pytest.mark.slow
def test_two_processes_write_one_file(videos, model, tmp_path, call):
    rest = ["embed", videos, "-m", model, "--every", "2", "--device", "cpu", "-o"]
    assert call(*rest, tmp_path / "one.npz")[0] == 0
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend",
        "c10d", "--rdzv-endpoint", "localhost:0", "-m", "internvideo", *rest, tmp_path / "two.npz",
    ]  # fmt: skip
    done = subprocess.run(
        [str(each) for each in line], check=False, capture_output=True, text=True, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 videos") == 1
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert np.array_equal(one["videos"], two["videos"])
        assert np.allclose(one["video_embeddings"], two["video_embeddings"], atol=1e-6)
    assert not list(tmp_path.glob("*.part*"))
