from __future__ import annotations

import csv
import json

import av
import numpy as np
import pytest
from PIL import Image

from internvideo.annotations import VideoAnnotation
from internvideo.data import write_world
from internvideo.errors import ConfigError
from internvideo.formats import READABLE
from internvideo.world import (
    ACTIONS,
    Encoding,
    World,
    is_held_out,
    write_mp4,
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
    written = write_world(
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
    write_world(tmp_path, 6, world=world, splits=(1.0, 0.0, 0.0))
    assert (tmp_path / "labels.txt").read_text() == "vanish\nbounce\n"
    assert (tmp_path / "val.csv").read_text() == ""
    labels = [line.split()[1] for line in (tmp_path / "train.csv").read_text().splitlines()]
    assert labels == [str(world.actions.index(world.scene(i).action)) for i in range(6)]


def test_msrvtt_files_parse_back_and_do_not_depend_on_the_workers(tmp_path):
    world = World(seed=2, size=32, num_frames=8)
    for name, workers in (("one", 1), ("two", 2)):
        write_world(tmp_path / name, 40, kind="msrvtt", world=world, captions=6, workers=workers)
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


SMALL = World(seed=5, size=16, num_frames=5, objects=("star", "circle"))


def truth_of(written) -> list[dict]:
    return [json.loads(line) for line in written.truth.read_text().splitlines()]


def test_something_something_has_templates_and_frames(tmp_path):
    written = write_world(tmp_path, 20, kind="ssv2-rawframes", world=SMALL)
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert list(labels.values()) == [str(number) for number in range(len(ACTIONS))]
    assert labels["Something moves to the left"] == str(ACTIONS.index("move left"))
    assert labels["Something and something separate"] == str(ACTIONS.index("separate"))
    train = json.loads((tmp_path / "train.json").read_text())
    validation = json.loads((tmp_path / "validation.json").read_text())
    assert [item["id"] for item in train + validation] == [str(i) for i in range(18)]
    for item, truth in zip(train + validation, truth_of(written), strict=False):
        assert set(item) == {"id", "label", "template", "placeholders"}
        bare = item["template"].replace("[", "").replace("]", "")
        assert int(labels[bare]) == ACTIONS.index(truth["action"])
        assert (
            item["placeholders"][0] == f"{truth['actors'][0]['color']} {truth['actors'][0]['name']}"
        )
        assert item["label"].startswith(item["placeholders"][0])
        assert "[" not in item["label"]
    assert json.loads((tmp_path / "test.json").read_text()) == [{"id": "18"}, {"id": "19"}]
    answers = (tmp_path / "test-answers.csv").read_text().splitlines()
    assert [labels[answer.partition(";")[2]] for answer in answers] == [
        str(ACTIONS.index(line["action"])) for line in truth_of(written)[18:]
    ]
    rows = (tmp_path / "validation_rawframes.txt").read_text().splitlines()
    assert rows == [f"{i} 5 {ACTIONS.index(SMALL.scene(i).action)}" for i in (16, 17)]
    frames = sorted((tmp_path / "rawframes/17").iterdir())
    assert [path.name for path in frames] == [f"img_{n:05d}.jpg" for n in range(1, 6)]
    decoded, _ = decode(tmp_path / "videos/17.mp4")
    with Image.open(frames[4]) as picture:
        assert psnr(np.asarray(picture), decoded[4]) > 30


def test_something_something_may_go_without_frames(tmp_path):
    written = write_world(tmp_path, 3, kind="ssv2", world=SMALL)
    assert not (tmp_path / "rawframes").exists()
    assert not list(tmp_path.glob("*rawframes.txt"))
    assert len(written.annotations) == 5


def test_ucf101_counts_classes_from_one(tmp_path):
    written = write_world(tmp_path, 20, kind="ucf101", world=SMALL)
    classes = dict(
        line.split()[::-1] for line in (tmp_path / "classInd.txt").read_text().splitlines()
    )
    assert classes["MoveLeft"] == str(ACTIONS.index("move left") + 1)
    train = (tmp_path / "trainlist01.txt").read_text().splitlines()
    test = (tmp_path / "testlist01.txt").read_text().splitlines()
    assert (len(train), len(test)) == (14, 6)
    truth = truth_of(written)
    for line, row in zip(truth, train, strict=False):
        path, number = row.split()
        assert int(number) == ACTIONS.index(line["action"]) + 1
        assert classes[path.split("/")[0]] == number
        assert tmp_path / "videos" / path == written.videos[line["index"]]
    assert test == [line["video"].removeprefix("videos/") for line in truth[14:]]
    frames, fps = decode(written.videos[19])
    assert (frames.shape, fps) == ((5, 32, 32, 3), 8)
    shrunk = frames.reshape(5, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert psnr(shrunk, SMALL[19].frames) > 30
    with av.open(str(written.videos[19])) as container:
        assert container.format.name == "avi"


def test_hmdb51_has_a_file_for_each_class(tmp_path):
    written = write_world(tmp_path, 20, kind="hmdb51", world=SMALL, splits=(0.5, 0.5))
    files = sorted((tmp_path / "splits").iterdir())
    assert len(files) == len(ACTIONS)
    codes = {}
    for file in files:
        action = file.name.removesuffix("_test_split1.txt")
        for line in file.read_text().splitlines():
            name, code = line.split()
            codes[tmp_path / "videos" / action / name] = code
    assert codes == {path: "1" if i < 10 else "2" for i, path in enumerate(written.videos)}
    assert all(path.is_file() for path in codes)
    for path, line in zip(written.videos, truth_of(written), strict=True):
        assert path.parent.name == line["action"].replace(" ", "_")


def test_impossible_shares_and_counts_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"2 shares \(train, test\) that sum to 1"):
        write_world(tmp_path, 4, kind="ucf101", splits=(0.5, 0.1))
    with pytest.raises(ConfigError, match="sum to 1"):
        write_world(tmp_path, 4, splits=(0.5, 0.1, 0.1))
    with pytest.raises(ConfigError, match="num_clips"):
        write_world(tmp_path, 0, kind="msrvtt")
    with pytest.raises(ConfigError, match="captions"):
        write_world(tmp_path, 3, kind="msrvtt", captions=0)


@pytest.mark.parametrize(
    ("kind", "file", "split"),
    [
        ("thumos14", "annotation", "validation"),
        ("thumos14", "thumos14.json", "validation"),
        ("activitynet", "activity_net.v1-3.json", "training"),
        ("ego4d-mq", "moments_train.json", "train"),
        ("ego4d-nlq", "nlq_train.json", "train"),
    ],
)
def test_untrimmed_videos_come_back_with_their_moments(tmp_path, kind, file, split):
    world = World(seed=2, size=16, objects=("star", "heart"))
    written = write_world(
        tmp_path, 3, kind=kind, world=world, splits=(2 / 3, 1 / 3), encoding=Encoding(fps=1)
    )
    folder = written.videos[0].parent
    options = {"split": split} if "split" in (READABLE[kind].options or ()) else {}
    found = READABLE[kind].load().read(tmp_path / file, folder, **options)
    videos = [each for each in found.records if isinstance(each, VideoAnnotation)]
    truth = [json.loads(line) for line in written.truth.read_text().splitlines()]
    assert len(videos) == 2
    for video, line in zip(videos, truth, strict=False):
        assert (folder / video.path).is_file()
        if file != "annotation":  # the lists of THUMOS14 say nothing of lengths
            assert video.duration == pytest.approx(line["num_frames"])
        told = sorted((s.start, s.end) for s in video.segments)
        wanted = sorted(
            (float(e["start"]), float(e["end"]))
            for e, sentence in zip(line["events"], line["captions"], strict=True)
            if kind != "ego4d-nlq" or sentence
        )
        assert told == wanted
        if kind == "ego4d-nlq":
            assert {s.captions[0] for s in video.segments} == set(line["captions"]) - {""}
        else:
            names = found.class_names or world.style.actions
            assert {names[s.label] for s in video.segments} <= {*ACTIONS, *map(_camel, ACTIONS)}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split())
