"""The world in the formats of captioned collections, read back through the readers of the data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.data.build import open_list, read_list
from internvideo.data.clip_sampling import ClipSampling
from internvideo.formats import activitynet_captions, didemo, videochat
from internvideo.formats.detect import detect_kind
from internvideo.video import Preprocessing, Video
from internvideo.world import World, is_held_out
from internvideo.world.actions import action_named
from internvideo.world.sprites import COLORS

SMALL = World(seed=5, size=16, num_frames=8, objects=("star", "circle"))
PROTOCOL = Preprocessing(num_frames=8, sampling="middle", resize_size=16, crop_size=16)


def truth_of(written) -> list[dict]:
    return [json.loads(line) for line in written.truth.read_text().splitlines()]


def assert_shows(sample, index: int) -> None:
    """Check that the frames of a sample are those of a clip of the world."""
    shrunk = sample.frames.reshape(8, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - SMALL[index].frames).mean() < 6


def test_webvid_is_read_back(tmp_path):
    written = write_world(tmp_path, 20, kind="webvid", world=SMALL)
    truth = truth_of(written)
    path = tmp_path / "results_world_train.csv"
    assert detect_kind(path) == "captions"
    source = open_list("captions", path, protocol=PROTOCOL, root=tmp_path / "videos")
    assert len(source) == 16
    for index in (0, 9, 15):
        sample = source.read(index, np.random.default_rng(0))
        assert sample.caption == truth[index]["captions"][0]
        assert source.clips[index].duration == 1.0
        assert_shows(sample, index)
    test = read_list("captions", tmp_path / "results_world_test.csv")
    assert all(is_held_out(caption) for clip in test for caption in clip.captions)


def test_internvid_clips_are_parts_of_long_videos(tmp_path):
    written = write_world(tmp_path, 30, kind="internvid", world=SMALL)
    truth = truth_of(written)
    path = tmp_path / "internvid_train.jsonl"
    assert detect_kind(path) == "captions"
    sampling = ClipSampling(rule="dense", clip_length=8, frame_stride=1)
    source = open_list(
        "captions", path, protocol=PROTOCOL, sampling=sampling, root=tmp_path / "videos"
    )
    assert len(source) == 24
    videos = {clip.path for clip in source.clips}
    assert len(videos) == 5
    with Video(source.clips[0].path) as video:
        assert (video.num_frames, video.fps, video.duration) == (40, 8, 5)
    for index in range(24):
        sample = source.read(index, np.random.default_rng(index))
        assert sample.caption == truth[index]["captions"][0]
        assert_shows(sample, index)
    names = {name.rpartition("/")[2] for name in videos}
    assert all(len(name) == 15 for name in names)
    again = write_world(tmp_path / "again", 30, kind="internvid", world=SMALL)
    assert again.annotations[0].read_bytes() == path.read_bytes()


def test_msvd_is_read_back_from_both_files(tmp_path):
    written = write_world(tmp_path, 10, kind="msvd", world=SMALL, captions=6)
    truth = truth_of(written)
    videos = tmp_path / "videos"
    text, pickled = (
        read_list("msvd", tmp_path / name, root=videos, split="train")
        for name in ("AllVideoDescriptions.txt", "raw-captions.pkl")
    )
    assert detect_kind(tmp_path / "AllVideoDescriptions.txt") == "msvd"
    assert [c.path for c in text] == [c.path for c in pickled] == list(map(str, written.videos[:8]))
    assert [c.captions for c in text] == [tuple(line["captions"]) for line in truth[:8]]
    assert [c.captions for c in pickled] == [c.captions for c in text]
    source = open_list("msvd", tmp_path / "raw-captions.pkl", protocol=PROTOCOL, root=videos)
    assert_shows(source.read(9, np.random.default_rng(0)), 9)


def test_instruction_data_are_true_and_read_back(tmp_path):
    written = write_world(tmp_path, 20, kind="videochat", world=SMALL)
    truth = truth_of(written)
    path = tmp_path / "videochat_train.json"
    assert detect_kind(path) == "videochat"
    talks = list(videochat.read(path, tmp_path).records)
    assert len(talks) == 16
    for line, talk in zip(truth, talks, strict=False):
        assert tmp_path / "videos" / talk.path == tmp_path / line["video"]
        if line["index"] % 2 == 0:
            assert len(talk.questions) == 1
            assert talk.questions[0].answer.lower().startswith(line["captions"][0])
        else:
            assert 2 <= len(talk.questions) <= 4
            answers = {q["question"]: q["answer"] for q in line["questions"]}
            for turn in talk.questions:
                question = turn.question[0].lower() + turn.question[1:-1]
                assert turn.answer.lower().removesuffix(".") == answers[question]
    source = open_list("videochat", path, protocol=PROTOCOL, root=tmp_path / "videos")
    assert_shows(source.read(3, np.random.default_rng(0)), 3)
    again = write_world(tmp_path / "again", 20, kind="videochat", world=SMALL)
    assert again.annotations[0].read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("fmt", "held"),
    [
        ("lsmdc", {"LSMDC16_annos_training.csv": 16, "LSMDC16_challenge_1000_publictect.csv": 2}),
        ("vatex", {"train_list.txt": 16, "vatex_validation_v1.0.json": 4, "test_list.txt": 4}),
        ("msrvtt", {"MSRVTT_train.9k.csv": 18, "MSRVTT_JSFUSION_test.csv": 2}),
        ("msvd", {"train_list.txt": 16, "test_list.txt": 2, "raw-captions.pkl": 20}),
        ("didemo", {"train_data.json": 16, "train_list.txt": 16, "val_data.json": 2}),
        ("activitynet-captions", {"train.json": 16, "val_ids.json": 4}),
    ],
)
def test_the_retrieval_sets_are_read_back_without_options(tmp_path, fmt, held):
    written = write_world(tmp_path, 20, kind=fmt, world=SMALL)
    truth = {line["video"].removeprefix("videos/"): line for line in truth_of(written)}
    for name, count in held.items():
        assert detect_kind(tmp_path / name) == fmt
        source = open_list(fmt, tmp_path / name, protocol=PROTOCOL, root=tmp_path / "videos")
        assert len(source) == count
        assert not source.clips.bad_lines
        for index, clip in enumerate(source.clips):
            line = truth[clip.path.removeprefix(f"{tmp_path}/videos/")]
            if len(line["events"]) > 1:
                assert clip.captions == (" ".join(line["captions"]),)
            elif fmt == "msrvtt" and "JSFUSION" in name:
                assert clip.captions == tuple(line["captions"][:1])
            else:
                assert clip.captions == tuple(line["captions"])
            if len(line["events"]) == 1 and index % 7 == 0:
                assert_shows(source.read(index, np.random.default_rng(0)), line["index"])


@pytest.mark.parametrize(
    ("reader", "name", "frames"),
    [(didemo, "train_list.txt", 10), (activitynet_captions, "train_ids.json", 8)],
)
def test_moments_are_events_in_sequence(tmp_path, reader, name, frames):
    """Each sentence stands where its event is; it names nothing that belongs to another one."""
    world = World(seed=5, size=16, num_frames=8, objects=("star", "circle"), digit_share=0)
    kind = reader.__name__.rpartition(".")[2].replace("_", "-")
    written = write_world(tmp_path, 10, kind=kind, world=world)
    truth = truth_of(written)
    videos = list(reader.read(tmp_path / name, tmp_path / "videos").records)
    assert len(videos) == 8
    for video, line in zip(videos, truth, strict=False):
        assert [(s.start, s.end) for s in video.segments] == [
            (event["start"] / line["fps"], event["end"] / line["fps"]) for event in line["events"]
        ]
        assert [event["end"] - event["start"] for event in line["events"]] == [frames, frames]
        for event, segment in zip(line["events"], video.segments, strict=True):
            (sentence,) = segment.captions
            verbs = action_named(event["action"]).phrases
            assert any(verb in sentence for verb in verbs)
            colors = {line["actors"][number]["color"] for number in event["actors"]}
            assert {word for word in sentence.split() if word in COLORS} == colors
        assert sum(len(event["actors"]) for event in line["events"]) == len(line["actors"])
    with Video(written.videos[0]) as opened:
        assert opened.num_frames == 2 * frames
        assert opened.duration == pytest.approx(truth[0]["events"][-1]["end"] / truth[0]["fps"])
    again = write_world(tmp_path / "again", 10, kind=kind, world=world, workers=1)
    assert again.annotations[0].read_bytes() == written.annotations[0].read_bytes()


@pytest.mark.parametrize(
    ("fmt", "name", "clips"),
    [
        ("webvid", "results_world_train.csv", "3 clips, no labels, 3 captions"),
        ("internvid", "internvid_train.jsonl", "3 clips, no labels, 3 captions"),
        ("msvd", "AllVideoDescriptions.txt", "4 clips, no labels, 160 captions"),
        ("videochat", "videochat_train.json", "3 clips, no labels, 2 captions"),
        ("lsmdc", "LSMDC16_annos_training.csv", "3 clips, no labels, 3 captions"),
        ("didemo", "train_data.json", "3 clips, no labels, 3 captions"),
        ("activitynet-captions", "train_ids.json", "3 clips, no labels, 3 captions"),
        ("vatex", "train_list.txt", "3 clips, no labels, 30 captions"),
    ],
)
def test_the_command_writes_what_the_check_finds_good(tmp_path, capsys, fmt, name, clips):
    pytest.importorskip("sklearn")
    size = ["-n", "4", "--size", "16", "--num-frames", "4", "--workers", "1"]
    assert run(["world", "--out", str(tmp_path), "--format", fmt, *size]) == 0
    capsys.readouterr()
    arguments = ["--root", str(tmp_path / "videos"), "--every", "1", "--workers", "1"]
    assert run(["data", "check", str(tmp_path / name), *arguments]) == 0
    printed = capsys.readouterr().out
    assert clips in printed
    assert "problems: none" in printed
