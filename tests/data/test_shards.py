"""Tar shards: written, read at any place, and read by webdataset."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from data.noisy_videos import COUNT, MAX, PROTOCOL, record, same_clips
from internvideo.data import shard_writing
from internvideo.data.build import read_list
from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.data.shard_writing import write_shards
from internvideo.data.shards import expand_braces, open_shards
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.files import sha256_of
from internvideo.video import Video, write_video
from internvideo.video.transforms import resize


def test_shards_give_the_clips_of_the_list(annotated, shards):
    source = open_shards(shards, protocol=PROTOCOL)
    same_clips(source, annotated)
    assert len(source.names) >= 4
    assert all((shards / name).stat().st_size <= MAX for name in source.names)
    assert source.key(0) == "00000000/class v0.0/clip 0_x.mp4"
    source.check_labels(3)
    with pytest.raises(DataError, match="has label 2, outside 0 to 1"):
        source.check_labels(2)


def test_what_cannot_be_read_is_listed(annotated, tmp_path):
    written = write_shards(annotated, tmp_path, max_bytes=MAX)
    assert [item.line for item in written.left_out] == [6, 7]
    assert "gone.mp4: no such file" in written.left_out[0].reason
    assert "broken.mp4" in written.left_out[1].reason
    assert written.num_clips == COUNT
    index = json.loads(written.index.read_text())
    assert [item["line"] for item in index["left_out"]] == [6, 7]
    assert index["annotations"] == "train.csv"
    for shard in index["shards"]:
        path = tmp_path / shard["name"]
        assert shard["sha256"] == sha256_of(path)
        assert shard["bytes"] == path.stat().st_size
    bad = ClipList([record(annotated[5])], file="bad.csv")
    with pytest.raises(DataError, match=r"none of its 1 videos can be read; the first: .*gone.mp4"):
        write_shards(bad, tmp_path / "bad")


def test_a_stopped_writer_goes_on_and_gives_the_same_bytes(annotated, shards, tmp_path):
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == COUNT + 2
        if done == 9:
            raise StopError

    with pytest.raises(StopError):
        write_shards(annotated, tmp_path, max_bytes=MAX, progress=stop)
    assert not (tmp_path / "index.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    assert before
    done = []
    written = write_shards(
        annotated, tmp_path, max_bytes=MAX, workers=2, progress=lambda n, _: done.append(n)
    )
    assert written.kept == len(before)
    assert min(done) > 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for path in (*shards.glob("*.tar"), shards / "index.json"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob("*.part"))
    assert write_shards(annotated, tmp_path, max_bytes=MAX).kept == len(written.shards)
    with pytest.raises(ConfigError, match="holds shards of other annotations or settings"):
        write_shards(annotated, tmp_path, max_bytes=2 * MAX)


def test_webdataset_reads_the_shards(annotated, shards):
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(map(str, shards.glob("*.tar")))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert len(samples) == COUNT
    good = [entry for entry in annotated if entry.line not in (6, 7)]
    for sample, entry in zip(samples, good, strict=True):
        facts = json.loads(sample["json"])
        path = entry.path.removeprefix(f"{annotated.root}/")
        assert facts == {"label": entry.label, "line": entry.line, "path": path}
        assert int(sample["cls"]) == entry.label
        with open(entry.path, "rb") as file:  # noqa: PTH123
            assert sample["mp4"] == file.read()


def test_shards_that_webdataset_wrote_are_scanned(annotated, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "x-%06d.tar"), maxcount=5, verbose=0) as sink:
        for entry in annotated:
            if entry.line in (6, 7):
                continue
            with open(entry.path, "rb") as file:  # noqa: PTH123
                sink.write({"__key__": f"k{entry.line}", "mp4": file.read(), "cls": entry.label})
    same_clips(open_shards(tmp_path, protocol=PROTOCOL), annotated)
    pattern = tmp_path / "x-{000001..000002}.tar"
    assert len(open_shards(pattern, protocol=PROTOCOL)) == 7


def tar_of(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def test_captions_and_labels_beside_foreign_videos(annotated, tmp_path):
    with open(annotated[0].path, "rb") as file:  # noqa: PTH123
        video = file.read()
    members = {
        "d.x/a.video.mp4": video,
        "d.x/a.txt": b"something moves\n",
        "b.MP4": video,
        "b.json": b'{"label": 4, "captions": ["one", "two"], "start": 0.2, "end": 0.6, "x": 1}',
        "d.x/a.png": b"a picture beside a video",
        "c.png": png(32, 48),
        "c.txt": "一只猫".encode(),
        "e.webm": b"",
    }
    source = open_shards(tar_of(tmp_path / "a.tar", members), protocol=PROTOCOL)
    first, second, image, third = source.clips
    assert (image.path, image.captions) == ("c.png", ("一只猫",))
    assert source.still.tolist() == [False, False, True, False]
    assert source.read(2, np.random.default_rng(0)).frames.shape == (1, 32, 48, 3)
    assert (first.captions, first.label) == (("something moves",), None)
    assert (second.captions, second.label) == (("one", "two"), 4)
    assert (second.start, second.end) == (0.2, 0.6)
    assert third.path == "e.webm"
    assert source.read(0, np.random.default_rng(0)).caption == "something moves"
    with pytest.raises(VideoError, match=r"member 'e.webm' is empty"):
        source.read(3, np.random.default_rng(0))
    for name, content, message in (
        ("a.cls", b"dog", "member 'a.cls' cannot be used: the class is 'dog'; expected its number"),
        ("a.json", b"{", "member 'a.json' cannot be used"),
        ("a.html", b"x", "x.tar holds no videos or images"),
    ):
        path = tar_of(tmp_path / "x.tar", {name: content})
        with pytest.raises(DataError, match=message):
            open_shards(path, protocol=PROTOCOL)
    path.write_bytes(b"no tar" * 1000)
    with pytest.raises(DataError, match=r"x.tar cannot be read as a tar"):
        open_shards(path, protocol=PROTOCOL)


@pytest.mark.parametrize(
    ("names", "content", "expected"),
    [
        (("a.mp4", "a.CLS"), "\ufeff3.0", {"label": 3}),
        (("a.video.mp4", "a.label.cls"), "3\n", {"label": 3}),
        (("a.mp4", "a.json"), '\ufeff{"label": "7", "caption": ["x", "y"]}', {"label": 7}),
        (("a.mp4", "a.json"), '{"label": true, "captions": "x", "line": "y"}', {"label": None}),
        (("a.mp4", "a.json"), '{"start": "00:00:01.500", "end": "2"}', {"start": 1.5, "end": 2.0}),
        (("a.mp4", "a.json"), '{"duration": [3], "captions": [3]}', {"duration": None}),
    ],
)
def test_makers_write_what_they_know_in_their_own_way(tmp_path, names, content, expected):
    members = {names[0]: b"video", names[1]: content.encode()}
    (clip,) = open_shards(tar_of(tmp_path / "a.tar", members), protocol=PROTOCOL).clips
    assert {name: getattr(clip, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"a.b.mp4": b"x", "a.c.mp4": b"x"},
            "'a.b.mp4' and 'a.c.mp4' are two videos of one sample",
        ),
        (
            {"a.mp4": b"x", "a.cls": b"99999999999"},
            "the class is '99999999999'; expected its number",
        ),
        (
            {"a.mp4": b"x", "a.json": b'{"end": Infinity}'},
            "'a.json' cannot be used: inf is no time",
        ),
    ],
)
def test_what_would_be_lost_or_break_later_is_told(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        open_shards(tar_of(tmp_path / "a.tar", members), protocol=PROTOCOL)


def test_what_is_no_shard_is_told(tmp_path):
    with pytest.raises(DataError, match="no folder of shards"):
        open_shards(tmp_path / "gone", protocol=PROTOCOL)
    with pytest.raises(DataError, match=r"no shards \(\*.tar\) in this folder"):
        open_shards(tmp_path, protocol=PROTOCOL)
    with pytest.raises(DataError, match=r"gone.tar: not found"):
        open_shards(tmp_path / "gone.tar", protocol=PROTOCOL)
    for content, message in (
        ("{", "is not an index of shards"),
        ('{"format": "other"}', "has the format 'other'"),
        ('{"format": "internvideo-shards", "version": 9}', "has version 9"),
    ):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(DataError, match=message):
            open_shards(tmp_path, protocol=PROTOCOL)


def test_a_shortened_shard_is_an_error_of_the_video(shards, tmp_path):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = tmp_path / "clips-000000.tar"
    first.write_bytes(first.read_bytes()[:5_000])
    with pytest.raises(VideoError, match="the shard is shorter than its index says"):
        open_shards(tmp_path, protocol=PROTOCOL).read(0, np.random.default_rng(0))


def test_patterns():
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{0..1}/x{1..2}") == ["0/x1", "0/x2", "1/x1", "1/x2"]
    with pytest.raises(DataError, match="must go upwards"):
        expand_braces("a-{3..1}.tar")
    with pytest.raises(DataError, match="expected a range"):
        expand_braces("a-{x,y}.tar")


def test_the_order_keeps_to_a_window_of_shards(shards):
    source = open_shards(shards, protocol=PROTOCOL, window=2)
    order = source.order(np.random.default_rng(7))
    assert sorted(order) == list(range(COUNT))
    np.testing.assert_array_equal(order, source.order(np.random.default_rng(7)))
    assert order.tolist() != source.order(np.random.default_rng(8)).tolist()
    seen = [int(source.shard_of[index]) for index in order]
    changes = sorted({(seen.index(shard), len(seen) - seen[::-1].index(shard)) for shard in seen})
    alive = [sum(start <= place < end for start, end in changes) for place in range(COUNT)]
    assert max(alive) <= 2


# ---------------------------------------------------------------- encoding


def test_large_videos_are_made_smaller_and_small_ones_are_copied(annotated, tmp_path):
    pictures = torch.arange(8 * 6 * 8 * 3).reshape(8, 6, 8, 3).mul(37).remainder(256).byte()
    smooth = resize(pictures, (96, 128), interpolation="bilinear", antialias=False, rounded=True)
    write_video(tmp_path / "large.mp4", smooth, quality=5)
    (tmp_path / "list.csv").write_text(f"large.mp4 0\n{annotated[0].path} 1\n")
    clips = read_list("kinetics", tmp_path / "list.csv")
    written = write_shards(clips, tmp_path / "out", short_side=48)
    source = open_shards(written.shards[0], protocol=PROTOCOL)
    small = source.read(0, np.random.default_rng(0)).frames
    assert small.shape[1:3] == (48, 64)
    listed = VideoListSource(clips, PROTOCOL)
    wanted = torch.from_numpy(listed.read(0, np.random.default_rng(0)).frames)
    wanted = resize(wanted, (48, 64), interpolation="bilinear", antialias=True, rounded=True)
    assert np.abs(small.astype(int) - wanted.numpy()).mean() < 8  # another frame: 50
    copied = source.read(1, np.random.default_rng(0)).frames
    np.testing.assert_array_equal(copied, listed.read(1, np.random.default_rng(0)).frames)


def test_folders_of_frames_become_videos_and_parts_stay_known(tmp_path, monkeypatch):
    for number in range(1, 21):
        picture = np.full((32, 32, 3), 10 * number, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"img_{number:05d}.jpg")
    entries = [
        ClipEntry(
            path=str(tmp_path),
            label=1,
            template="img_{:05d}.jpg",
            first_frame=5,
            num_frames=10,
            start=0.1,
            end=0.3,
            line=1,
        )
    ]
    monkeypatch.setattr(shard_writing, "_DECODE_BLOCK", 4)
    written = write_shards(ClipList(map(record, entries), file="list"), tmp_path / "out")
    sampling = ClipSampling(rule="segment", clip_length=5)
    source = open_shards(written.shards[0], protocol=PROTOCOL, sampling=sampling)
    assert source.clips[0].start == 0.1
    data = source.storage.read(source.names[0], int(source.offsets[0]), int(source.sizes[0]))
    with Video(data) as video:
        means = video.frames(range(10)).float().mean((1, 2, 3))
    assert (means / 10).round().int().tolist() == list(range(5, 15))


def die(entry, *, short_side, cut):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_told(annotated, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writing, "_packed", die)
    with pytest.raises(DataError, match=r"a process died, perhaps over .*clip 0.x.mp4 or one of"):
        write_shards(annotated, tmp_path, workers=2)


def test_what_a_crash_of_the_machine_cut_off_is_written_again(annotated, shards, tmp_path):
    write_shards(annotated, tmp_path, max_bytes=MAX)
    for text in ("", "{", "{}", "[]"):
        (tmp_path / "clips-000002.json").write_text(text)
        assert write_shards(annotated, tmp_path, max_bytes=MAX).kept == 2
        for path in (*shards.glob("*.tar"), shards / "index.json"):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


WRITER = """
import os, sys, time
from pathlib import Path
from internvideo.data import shard_writing
from internvideo.data.build import read_list

def slow(entry, *, short_side, cut):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(0.2)
    return packed(entry, short_side=short_side, cut=cut)

packed = shard_writing._packed
shard_writing._packed = slow
shard_writing.write_shards(read_list("kinetics", sys.argv[1]), Path(sys.argv[2]), workers=2)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_processes_of_a_writer_end_with_it(annotated, tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, annotated.file, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        workers = {writer.stdout.readline() for _ in range(3)}
        try:
            if number == signal.SIGINT:
                os.killpg(writer.pid, number)  # as a terminal does
            else:
                writer.kill()
            _, errors = writer.communicate(timeout=30)  # returns when all processes have ended
        finally:
            with suppress(ProcessLookupError):
                os.killpg(writer.pid, signal.SIGKILL)
    assert len(workers) == 2
    assert errors.count("Traceback") == (number == signal.SIGINT)


def test_impossible_sizes_are_refused(annotated, tmp_path):
    with pytest.raises(ConfigError, match="max_bytes must be at least"):
        write_shards(annotated, tmp_path, max_bytes=100)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> ClipList:
    """Two parts of one long video, a whole video and an image, all with Chinese names."""
    root = tmp_path_factory.mktemp("字幕")
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (40, 32, 48, 3), generator=generator, dtype=torch.uint8)
    write_video(root / "长 片.mp4", frames, fps=8)
    write_video(root / "短.mp4", frames[:8], fps=8)
    (root / "图.png").write_bytes(png(64, 80))
    (root / "x.jsonl").write_text(
        "".join(
            json.dumps(row, ensure_ascii=False) + "\n"
            for row in (
                {"video": "长 片.mp4", "caption": "开头", "start": 0.5, "end": 1.5},
                {"video": "长 片.mp4", "caption": "结尾", "start": "0:03.0", "end": "0:05.0"},
                {"video": "短.mp4", "caption": ["一", "二"]},
                {"image": "图.png", "caption": "红色"},
            )
        ),
        encoding="utf-8",
    )
    return read_list("captions", root / "x.jsonl")


def test_parts_captions_and_images_go_through_shards(captioned, tmp_path):
    write_shards(captioned, tmp_path / "whole")
    write_shards(captioned, tmp_path / "cut", cut=True)
    listed = VideoListSource(captioned, PROTOCOL)
    whole = open_shards(tmp_path / "whole", protocol=PROTOCOL)
    cut = open_shards(tmp_path / "cut", protocol=PROTOCOL)
    for index in range(4):
        expected = listed.read(index, np.random.default_rng(1))
        for source, tolerance in ((whole, 0), (cut, 80)):
            sample = source.read(index, np.random.default_rng(1))
            assert sample.caption == expected.caption
            apart = np.abs(sample.frames.astype(int) - expected.frames.astype(int))
            assert sample.frames.shape == expected.frames.shape
            assert np.median(apart) <= tolerance / 10
    assert [entry.start for entry in whole.clips] == [0.5, 3.0, None, None]
    assert [entry.start for entry in cut.clips] == [None] * 4
    with cut.open(1) as video:
        assert video.num_frames == 16
    sizes = [shard.stat().st_size for shard in (tmp_path / "whole").glob("*.tar")]
    assert sum(sizes) > sum(shard.stat().st_size for shard in (tmp_path / "cut").glob("*.tar"))
    with tarfile.open(tmp_path / "cut/clips-000000.tar") as tar:
        names = tar.getnames()
        assert "00000003/图.png" in names
        text = tar.extractfile("00000003/图.txt")
        assert text.read().decode() == "红色"
    assert "00000002/短.txt" not in names  # two captions: they are in the json
    with pytest.raises(ConfigError, match="other annotations or settings"):
        write_shards(captioned, tmp_path / "cut")


def test_larger_images_are_made_smaller(captioned, tmp_path):
    write_shards(captioned, tmp_path, short_side=16)
    source = open_shards(tmp_path, protocol=PROTOCOL)
    frames = source.read(3, np.random.default_rng(0)).frames
    assert frames.shape == (1, 16, 20, 3)
    assert np.abs(frames.astype(int) - (200, 30, 30)).max() < 8
    assert source.key(3) == "00000003/图.jpg"


def test_names_of_files_that_are_no_utf_8(annotated, tmp_path):
    root = tmp_path / "videos"
    (root / "walk").mkdir(parents=True)
    name = os.fsdecode(b"caf\xe9.mp4")
    try:
        shutil.copy(annotated[0].path, root / "walk" / name)
        (root / "walk" / f"no {name}").touch()
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    for _ in range(2):
        written = write_shards(read_list("class-folders", root), tmp_path / "s")
        assert (written.num_clips, len(written.left_out)) == (1, 1)
    source = open_shards(tmp_path / "s", protocol=PROTOCOL)
    assert source.key(0) == f"00000000/walk/{name}"
    source.read(0, np.random.default_rng(0))
    (tmp_path / "s/index.json").unlink()
    source = open_shards(tmp_path / "s", protocol=PROTOCOL)
    assert source.key(0) == f"00000000/walk/{name}"
