"""Clips of annotated videos: what is decoded, and what is said of it."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.noisy_videos import record
from internvideo.annotations import VideoAnnotation
from internvideo.data import write_world
from internvideo.data.build import open_list, read_list
from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.clip_sampling import ClipSampling, Part, part_frames
from internvideo.data.clips import open_entry
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.video import Preprocessing, Video, write_video
from internvideo.video import sampling as rules
from internvideo.world import (
    World,
)

PROTOCOL = Preprocessing(
    num_frames=4,
    sampling="dense",
    frame_stride=2,
    num_clips=2,
    num_crops=3,
    resize_size=16,
    crop_size=16,
)


def numbered(count: int, size: int = 32) -> np.ndarray:
    """Frames whose brightness tells their number."""
    frames = np.empty((count, size, size + 8, 3), np.uint8)
    frames[:] = (4 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    return frames


def numbers(frames) -> list[int]:
    return np.rint(np.asarray(frames, np.float64).mean(axis=(1, 2, 3)) / 4).astype(int).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a clip.mp4", numbered(60), fps=10, quality=5)
    for number, picture in enumerate(numbered(50), start=1):
        path = root / "SomethingV2 frames" / f"img_{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path, quality=95)
    return root


def source(folder, tmp_path, line, kind="kinetics", **options):
    path = tmp_path / "list.csv"
    path.write_text(f"{line}\n")
    return open_list(kind, path, root=folder, protocol=PROTOCOL, **options)


def test_a_clip_has_the_frames_that_the_rule_draws(folder, tmp_path):
    sampling = ClipSampling(rule="dense", clip_length=4, frame_stride=3)
    clips = source(folder, tmp_path, "a clip.mp4 7", sampling=sampling)
    for seed in range(4):
        sample = clips.read(0, np.random.default_rng(seed))
        expected = rules.dense_indices(
            60, clip_length=4, frame_stride=3, rng=np.random.default_rng(seed)
        )
        assert numbers(sample.frames) == expected.tolist()
    assert (sample.label, sample.key) == (7, str(folder / "a clip.mp4"))
    assert sample.frames.dtype == np.uint8
    assert clips.key(0) == sample.key
    assert clips.label(0) == 7


def test_without_a_rule_it_is_the_middle_clip_of_the_protocol(folder, tmp_path):
    sample = source(folder, tmp_path, "a clip.mp4 7").read(0, np.random.default_rng(0))
    assert numbers(sample.frames) == PROTOCOL.sample(60)[1].tolist()


def test_views_are_those_of_the_protocol_in_one_decode(folder, tmp_path, monkeypatch):
    clips = source(folder, tmp_path, "a clip.mp4 7")
    calls = []
    frames = Video.frames
    monkeypatch.setattr(Video, "frames", lambda self, i: calls.append(i) or frames(self, i))
    views, label, key = clips.read_views(0, PROTOCOL)
    assert len(calls) == 1
    assert (label, key) == (7, str(folder / "a clip.mp4"))
    assert views.shape == (6, 3, 4, 16, 16)
    with Video(folder / "a clip.mp4") as video:
        torch.testing.assert_close(views, PROTOCOL.load(video), rtol=0, atol=0)


def test_a_part_is_sampled_inside_and_evaluated_as_is_the_custom(folder, tmp_path):
    line = "a clip.mp4 6.0 2.0 4.0 3"  # frames 20 to 39 of 60
    for rule in ("dense", "pretrain", "segment", "uniform", "kinetics-sparse", "middle"):
        sampling = ClipSampling(rule=rule, clip_length=4, frame_stride=2)
        clips = source(folder, tmp_path, line, "activitynet", sampling=sampling)
        drawn = [clips.read(0, np.random.default_rng(seed)) for seed in range(10)]
        seen = {n for sample in drawn for n in numbers(sample.frames)}
        assert min(seen) >= 20, rule
        assert max(seen) <= 40, rule  # "uniform" may take the border, as the official code does
        assert max(seen) - min(seen) > 7, rule
    assert drawn[0].key.endswith("a clip.mp4[2-4]")
    whole = clips.read_views(0, PROTOCOL).views
    part = source(folder, tmp_path, line, "hacs").read_views(0, PROTOCOL).views
    with Video(folder / "a clip.mp4") as video:
        torch.testing.assert_close(whole, PROTOCOL.load(video), rtol=0, atol=0)
    first = (part[0] * PROTOCOL.std[0] + PROTOCOL.mean[0])[0, :, 8, 8] * 255 / 4
    assert first.round().int().tolist() == [20, 22, 24, 26]


def test_a_part_behind_the_end_is_an_error_of_the_video(folder, tmp_path):
    clips = source(folder, tmp_path, "a clip.mp4 6.0 9.0 12.0 3", "activitynet")
    with pytest.raises(VideoError, match="begins at 9 s, but the video is over after 6 s"):
        clips.read(0, np.random.default_rng(0))


def test_frames_of_a_folder_are_opened_by_their_names(folder, tmp_path):
    sampling = ClipSampling(rule="segment", clip_length=5)
    line = "SomethingV2 frames 50 3"
    clips = source(folder, tmp_path, line, "something-something", sampling=sampling)
    sample = clips.read(0, np.random.default_rng(1))
    expected = rules.segment_indices(50, clip_length=5, rng=np.random.default_rng(1))
    assert numbers(sample.frames) == expected.tolist()
    part = ClipEntry(
        path=str(folder / "SomethingV2 frames"),
        template="img_{:05d}.jpg",
        first_frame=11,
        num_frames=20,
    )
    assert numbers(open_entry(part).frames([0, 19, 19])) == [10, 29, 29]
    with pytest.raises(VideoError, match=r"img_00051.jpg: no such frame; the annotation counts 60"):
        source(folder, tmp_path, "SomethingV2 frames 60 3", "something-something").read_views(
            0, PROTOCOL
        )
    with pytest.raises(VideoError, match="gone: no such file or folder"):
        source(folder, tmp_path, "gone 60 3", "something-something").read_views(0, PROTOCOL)


def test_hybrid_lists_halve_the_stride_of_something_something(folder, tmp_path):
    line = "SomethingV2 frames 1 50\na clip.mp4 0 -1"
    pretrain = ClipSampling(rule="pretrain", clip_length=4, frame_stride=4)
    clips = source(folder, tmp_path, line, "hybrid", sampling=pretrain)
    steps = [np.diff(numbers(clips.read(i, np.random.default_rng(0)).frames)) for i in (0, 1)]
    assert [step.tolist() for step in steps] == [[2, 2, 2], [4, 4, 4]]
    own = ClipSampling(rule="pretrain", clip_length=4, strides={"frames": 3})
    clips = source(folder, tmp_path, line, "hybrid", sampling=own)
    assert np.diff(numbers(clips.read(0, np.random.default_rng(0)).frames)).tolist() == [3, 3, 3]


@pytest.mark.parametrize("rng", [True, False])
def test_rules_are_the_functions_of_the_video_room(rng):
    def make():
        return np.random.default_rng(3) if rng else None

    expected = {
        "pretrain": rules.pretrain_indices(90, clip_length=8, frame_stride=3, rng=make()),
        "dense": rules.dense_indices(90, clip_length=8, frame_stride=3, rng=make()),
        "segment": rules.segment_indices(90, clip_length=8, rng=make()),
        "umt": rules.umt_indices(90, clip_length=8, rng=make()),
        "kinetics-sparse": rules.kinetics_sparse_indices(90, clip_length=8, rng=make()),
        "uniform": rules.uniform_indices(90, clip_length=8, rng=make())
        if rng
        else rules.uniform_test_indices(90, clip_length=8)[0],
        "middle": rules.viclip_indices(90, clip_length=8),
    }
    for rule, indices in expected.items():
        sampling = ClipSampling(rule=rule, clip_length=8, frame_stride=3)
        np.testing.assert_array_equal(sampling.indices(90, 25.0, make()), indices)


def test_impossible_sampling_is_refused():
    with pytest.raises(ConfigError, match=r"rule.*'dence'.*'dense'"):
        ClipSampling(rule="dence")
    with pytest.raises(ConfigError, match="strides need one of: pretrain, dense"):
        ClipSampling(rule="segment", strides={"a": 2})
    with pytest.raises(ConfigError, match="clip_length"):
        ClipSampling(clip_length=0)


def test_parts_have_at_least_one_frame_inside_the_video():
    assert part_frames(100, Part(start=2, end=4, duration=10)) == (20, 20)
    assert part_frames(100, Part(start=9.99, end=10, duration=10)) == (99, 1)
    assert part_frames(100, Part(start=9, end=30, duration=10)) == (90, 10)
    assert part_frames(100, Part(start=50, end=60, duration=10)) == (99, 1)


def test_captions_are_drawn_from_all(tmp_path, folder):
    entries = [VideoAnnotation(path="a clip.mp4", captions=("one", "zwei", "drei ä"), line=1)]
    from internvideo.data.clips import VideoListSource

    clips = VideoListSource(ClipList(entries, file="x", root=folder), PROTOCOL)
    drawn = {clips.read(0, np.random.default_rng(seed)).caption for seed in range(20)}
    assert drawn == {"one", "zwei", "drei ä"}


def test_a_missing_video_is_named_when_it_is_read(tmp_path, folder):
    clips = source(folder, tmp_path, "a clop.mp4 7")
    with pytest.raises(VideoError, match=r"a clop.mp4: no such file.*Did you mean 'a clip.mp4'"):
        clips.read(0, np.random.default_rng(0))


# ---------------------------------------------------------------- what the world writes


WORLD = World(seed=3, size=16, num_frames=6, objects=("star", "circle"))


@pytest.mark.parametrize("kind", ["kinetics", "something-something", "rawframes", "ucf101"])
def test_what_the_world_writes_is_read_back(tmp_path, kind):
    written_kind, lists, root = {
        "kinetics": ("kinetics", ("train.csv", "val.csv"), "."),
        "something-something": (
            "ssv2",
            ("train.json", "validation.json"),
            "videos",
        ),
        "rawframes": (
            "ssv2-rawframes",
            ("train_rawframes.txt", "validation_rawframes.txt"),
            "rawframes",
        ),
        "ucf101": ("ucf101", ("trainlist01.txt", "testlist01.txt"), "videos"),
    }[kind]
    written = write_world(tmp_path, 10, kind=written_kind, world=WORLD)
    kind = "something-something" if kind == "rawframes" else kind
    seen = []
    for name in lists:
        clips = open_list(kind, tmp_path / name, root=tmp_path / root, protocol=PROTOCOL)
        for index in range(len(clips)):
            assert clips.label(index) == WORLD.style.actions.index(WORLD.scene(len(seen)).action)
            seen.append(clips.read(index, np.random.default_rng(0)).frames)
    assert len(seen) == (10 if kind == "ucf101" else 9)
    for index in (0, len(seen) - 1):
        painted = WORLD[index].frames.repeat(2, axis=1).repeat(2, axis=2)
        wanted = painted[PROTOCOL.sample(6)[1]]
        assert np.abs(seen[index].astype(int) - wanted).mean() < 3
    assert all(path.is_file() for path in (*written.annotations, written.truth, *written.videos))


def test_hmdb51_of_the_world_is_read_back(tmp_path):
    write_world(tmp_path, 10, kind="hmdb51", world=WORLD)
    train = read_list("hmdb51", tmp_path / "splits", root=tmp_path / "videos", split="train")
    test = read_list("hmdb51", tmp_path / "splits", root=tmp_path / "videos", split="test1")
    assert (len(train), len(test)) == (7, 3)
    for clip in (*train, *test):
        index = int(clip.path.rpartition("_")[2].partition(".")[0])
        assert train.class_names[clip.label] == WORLD.scene(index).action.replace(" ", "_")
        assert (clip in list(train)) == (index < 7)
        with open_entry(clip) as video:
            assert len(video.frames([0, 5])) == 2


# ---------------------------------------------------------------- memory


def test_a_million_clips_fit_into_memory():
    def entries(count):
        for i in range(count):
            yield VideoAnnotation(
                path=f"train/class_{i % 400:03d}/{i:011d}_000010.mp4", label=i % 400
            )

    clips = ClipList(entries(100_000), file="x", root="/data/kinetics")
    assert clips.nbytes / len(clips) < 60
    assert len(pickle.dumps(clips)) < 100 * len(clips)
    copy = pickle.loads(pickle.dumps(clips))
    assert copy[99_999] == clips[-1]
    assert clips[-1].path == "/data/kinetics/train/class_399/00000099999_000010.mp4"
    assert clips[2:4] == [clips[2], clips[3]]
    with pytest.raises(IndexError):
        clips[100_000]


def private_megabytes() -> float:
    """Memory that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def read_all(clips, answers) -> None:
    # A collection writes to the header of every object, and so copies pages that no clip is on.
    gc.disable()
    before = private_megabytes()
    for index in range(len(clips)):
        assert clips[index].path
    answers.put(private_megabytes() - before)


def growth_of_a_forked_reader(clips) -> float:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    worker = context.Process(target=read_all, args=(clips, answers))
    worker.start()
    growth = answers.get()
    worker.join()
    return growth


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells the memory")
def test_forked_workers_share_the_list():
    count = 60_000
    entries = [
        VideoAnnotation(path=f"train/{i:011d}_000010.mp4", label=i % 400) for i in range(count)
    ]
    clips = ClipList(entries, file="x", root="/data/kinetics")
    # Counting references to the objects of a list copies the pages that they are on.
    assert growth_of_a_forked_reader(entries) > 6
    assert growth_of_a_forked_reader(clips) < 2


def test_every_field_survives():
    entries = [
        ClipEntry(
            path="a ä\udcff.mp4",
            label=2**31 - 1,
            start=1.23456789,
            end=7000.5,
            duration=8000.25,
            captions=("x", "", "ü"),
            num_frames=7,
            first_frame=0,
            template="{:05d}.jpg",
            line=9,
        ),
        ClipEntry(path="b", line=10),
    ]
    assert list(ClipList(map(record, entries), file="x")) == entries
    assert list(ClipList(map(record, reversed(entries)), file="x")) == entries[::-1]
    with pytest.raises(DataError, match="lists no clips"):
        ClipList([], file="x")
