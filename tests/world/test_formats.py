from __future__ import annotations

import csv
import json

import av
import numpy as np
import pytest

from internvideo.errors import ConfigError
from internvideo.world import (
    ACTIONS,
    Encoding,
    World,
    is_held_out,
    write_kinetics,
    write_mp4,
    write_msrvtt,
)


def decode(path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), float(container.streams.video[0].average_rate)


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((left.astype(float) - right) ** 2)))


def test_a_written_clip_is_the_painted_clip(tmp_path):
    for index in range(4):
        frames = World(seed=1)[index].frames
        write_mp4(tmp_path / "clip.mp4", frames, Encoding())
        decoded, fps = decode(tmp_path / "clip.mp4")
        assert decoded.shape == (16, 128, 128, 3)
        assert fps == 8
        shrunk = decoded.reshape(16, 64, 2, 64, 2, 3).mean(axis=(2, 4))
        assert psnr(shrunk, frames) > 36
        for time in range(16):
            assert psnr(shrunk[time], frames[time]) > 33
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_odd_size_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="21 x 21"):
        write_mp4(tmp_path / "clip.mp4", World(size=21)[0].frames, Encoding(scale=1))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="crf=60"):
        Encoding(crf=60)


def test_kinetics_files_parse_back(tmp_path):
    world, seen = World(seed=4, size=32), []
    written = write_kinetics(
        tmp_path / "k", 40, world=world, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (40, 40)
    labels = (tmp_path / "k" / "labels.txt").read_text().splitlines()
    assert tuple(labels) == ACTIONS
    rows = {}
    for split, count in (("train", 32), ("val", 4), ("test", 4)):
        lines = (tmp_path / "k" / f"{split}.csv").read_text().splitlines()
        assert len(lines) == count
        rows |= {path: int(label) for path, label in (line.split(" ") for line in lines)}
    truth = [json.loads(line) for line in written.truth.read_text().splitlines()]
    assert len(rows) == len(truth) == len(written.videos) == 40
    for index, line in enumerate(truth):
        assert labels[rows[line["video"]]] == line["action"] == world.scene(index).action
        assert written.videos[index] == tmp_path / "k" / line["video"]
        assert all(is_held_out(c) == (line["split"] == "test") for c in line["captions"])
        assert line["size"] == 64
    frames, _ = decode(written.videos[7])
    boxes, visible = world.scene(7).actors[0].boxes(64)
    assert frames.shape == (16, 64, 64, 3)
    for box, expected, seen_now in zip(truth[7]["actors"][0]["boxes"], boxes, visible, strict=True):
        assert (box is not None) == seen_now
        if box is not None:
            np.testing.assert_allclose(box, expected, atol=0.03)


def test_the_labels_of_a_subset_count_that_subset(tmp_path):
    world = World(size=32, num_frames=4, actions=("vanish", "bounce"), objects=("star",))
    write_kinetics(tmp_path, 6, world=world, splits=(1.0, 0.0, 0.0))
    assert (tmp_path / "labels.txt").read_text() == "vanish\nbounce\n"
    assert (tmp_path / "val.csv").read_text() == ""
    labels = [line.split()[1] for line in (tmp_path / "train.csv").read_text().splitlines()]
    assert labels == [str(world.actions.index(world.scene(i).action)) for i in range(6)]


def test_msrvtt_files_parse_back_and_do_not_depend_on_the_workers(tmp_path):
    world = World(seed=2, size=32, num_frames=8)
    for name, workers in (("one", 1), ("two", 2)):
        write_msrvtt(tmp_path / name, 40, world=world, captions=6, workers=workers)
    for name in (
        "MSRVTT_data.json",
        "MSRVTT_train.9k.csv",
        "MSRVTT_JSFUSION_test.csv",
        "truth.jsonl",
        "videos/video0.mp4",
        "videos/video39.mp4",
    ):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    data = json.loads((tmp_path / "one" / "MSRVTT_data.json").read_text())
    assert set(data) == {"info", "videos", "sentences"}
    assert [video["video_id"] for video in data["videos"]] == [f"video{i}" for i in range(40)]
    assert {video["end time"] for video in data["videos"]} == {1.0}
    splits = [video["split"] for video in data["videos"]]
    assert splits == ["train"] * 32 + ["validate"] * 4 + ["test"] * 4
    assert [s["sen_id"] for s in data["sentences"]] == list(range(240))
    by_video = {}
    for sentence in data["sentences"]:
        by_video.setdefault(sentence["video_id"], []).append(sentence["caption"])
    assert {len(captions) for captions in by_video.values()} == {6}
    for index, split in enumerate(splits):
        assert all(is_held_out(c) == (split == "test") for c in by_video[f"video{index}"])

    with (tmp_path / "one" / "MSRVTT_train.9k.csv").open(newline="") as file:
        assert [row["video_id"] for row in csv.DictReader(file)] == [f"video{i}" for i in range(36)]
    with (tmp_path / "one" / "MSRVTT_JSFUSION_test.csv").open(newline="") as file:
        test = list(csv.DictReader(file))
    assert [row["video_id"] for row in test] == [f"video{i}" for i in range(36, 40)]
    assert list(test[0]) == ["key", "vid_key", "video_id", "sentence"]
    assert all(row["sentence"] in by_video[row["video_id"]] for row in test)


def test_impossible_shares_and_counts_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="sum to 1"):
        write_kinetics(tmp_path, 4, splits=(0.5, 0.1, 0.1))
    with pytest.raises(ConfigError, match="num_clips"):
        write_msrvtt(tmp_path, 0)
    with pytest.raises(ConfigError, match="captions"):
        write_msrvtt(tmp_path, 3, captions=0)
