"""Untrimmed videos and their segments: THUMOS14, ActivityNet, Ego4D moments, sentence data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from internvideo.annotations import Segment, VideoAnnotation
from internvideo.data.build import read_list
from internvideo.data.check import check_list
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.errors import DataError
from internvideo.formats import Layout, activitynet, ego4d_mq, thumos14
from internvideo.formats.detect import detect_kind
from internvideo.formats.files import Collection

REAL = Path(__file__).parents[3] / "shared" / "real" / "tal"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real annotations in {REAL}")


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def spans(video: VideoAnnotation) -> list[tuple]:
    return [(each.start, each.end, each.label) for each in video.segments]


# ---------------------------------------------------------------- THUMOS14


THUMOS = {
    "video_test_0000004": [("CricketBowling", "0.2", "1.1"), ("Ambiguous", "3.0", "4.0")],
    "video_test_0000011": [("Diving", "5.5", "9.0"), ("CliffDiving", "5.5", "9.0")],
}


def thumos_csv(path: Path) -> Path:
    rows = [
        f"{video},{name},0,{start},{end},6,33"
        for video, held in THUMOS.items()
        for name, start, end in held
    ]
    return write(path, "video,type,type_idx,start,end,startFrame,endFrame\n" + "\n".join(rows))


def thumos_numbered(path: Path) -> Path:
    header = (
        "video-name,t-init,t-end,f-init,f-end,video-duration,frame-rate,video-frames,label-idx\n"
    )
    rows = [
        f"{video},{start},{end},0,1,30.5,25.0,762,"
        f"{-1 if name == 'Ambiguous' else thumos14.CLASSES.index(name)}"
        for video, held in THUMOS.items()
        for name, start, end in held
    ]
    return write(path, header + "\n".join(rows))


def thumos_lists(folder: Path) -> Path:
    lists: dict[str, str] = {}
    for video, held in THUMOS.items():
        for name, start, end in held:
            lists[name] = lists.get(name, "") + f"{video}  {start} {end}\n"
    for name, text in lists.items():
        write(folder / f"{name}_test.txt", text)
    write(folder / "Diving_val.txt", "video_validation_0000051  1.0 2.0\n")
    return folder


@pytest.mark.parametrize("made", [thumos_csv, thumos_numbered, thumos_lists])
def test_thumos14_in_all_its_forms(tmp_path, made):
    path = made(tmp_path / "annotation.csv")
    assert detect_kind(path) == "thumos14"
    split = "test" if path.is_dir() else None
    found = read_videos(path, split=split)
    videos = {video.id: video for video in found.videos}
    assert sorted(videos) == sorted(THUMOS)
    assert found.class_names == thumos14.CLASSES
    assert spans(videos["video_test_0000004"]) == [(0.2, 1.1, 5)]
    assert sorted(spans(videos["video_test_0000011"])) == [(5.5, 9.0, 4), (5.5, 9.0, 7)]
    assert {video.split for video in found.videos} == {"test"}
    if made is thumos_numbered:
        assert (videos["video_test_0000004"].duration, videos["video_test_0000004"].fps) == (
            30.5, 25.0,
        )  # fmt: skip
    if path.is_dir():
        with pytest.raises(DataError, match="choose one"):
            read_videos(path)
        assert detect_kind(path / "Diving_val.txt") == "thumos14"


def test_thumos14_as_json_has_times_as_text(tmp_path):
    database = {
        "video_test_0000896": {
            "subset": "test",
            "annotations": [{"segment": ["18.6", "24.8"], "label": "HighJump"}],
        }
    }
    path = write(tmp_path / "thumos_gt.json", {"database": database})
    assert detect_kind(path) == "thumos14"
    (video,) = read_videos(path).videos
    assert spans(video) == [(18.6, 24.8, 0)]


def test_what_cannot_be_used_in_thumos14_is_named(tmp_path):
    text = "video,type,type_idx,start,end\nvideo_test_1,Diving,7,9,5\nvideo_test_1,Diving,7,1,5\n"
    path = write(tmp_path / "x.csv", text)
    found = read_videos(path, kind="thumos14")
    assert [bad.line for bad in found.bad_lines] == [2]
    labels = write(tmp_path / "labels.txt", "Divin\nJumping\n")
    with pytest.raises(DataError, match=r"x.csv:2: .*"):
        read_list("thumos14", path, labels=labels)
    unknown = read_videos(write(tmp_path / "y.csv", text.replace(",9,", ",2,")), labels=labels)
    assert "Did you mean 'Divin'" in unknown.bad_lines[0].message
    with pytest.raises(DataError, match="no files <class>_test"):
        read_videos(write(tmp_path / "z" / "a.txt", "x").parent, kind="thumos14")
    odd = "video-name,t-init,t-end,label-idx\nvideo_test_1,1,2,20\n"
    with pytest.raises(DataError, match="class 20"):
        read_videos(write(tmp_path / "odd.csv", odd), kind="thumos14")


# ---------------------------------------------------------------- ActivityNet


def activitynet_json(path: Path, annotations, **more) -> Path:
    video = {"subset": "validation", "duration": 20.0, "annotations": annotations}
    return write(path, {"database": {"a": video, **more}})


def test_activitynet_classes_are_in_the_order_of_their_numbers(tmp_path):
    moments = [
        {"label": "zip", "label_id": 0, "segment": [1, 2]},
        {"label": "arc", "label_id": 1, "segment": [3, 4]},
    ]
    found = read_videos(activitynet_json(tmp_path / "x.json", moments))
    assert found.class_names == ("zip", "arc")
    moments[1]["label_id"] = 7  # not all are numbered
    found = read_videos(activitynet_json(tmp_path / "x.json", moments))
    assert found.class_names == ("arc", "zip")
    moments[1]["label_id"] = 0  # one number for two classes, as for class-agnostic training
    assert read_videos(activitynet_json(tmp_path / "x.json", moments)).class_names == ("arc", "zip")


def test_fineaction_has_the_prefix_of_its_files_in_its_names(tmp_path):
    more = {
        name: {"subset": "validation", "annotations": []} for name in ("v_00000012", "v_1-aB_2-xy_")
    }
    found = read_videos(
        activitynet_json(tmp_path / "x.json", [{"label": "b", "segment": [1, 2]}], **more)
    )
    assert [v.path for v in found.videos] == ["v_a.mp4", "v_00000012.mp4", "v_v_1-aB_2-xy_.mp4"]


def test_a_taxonomy_without_numbers(tmp_path):
    path = activitynet_json(tmp_path / "x.json", [{"label": "b", "segment": [1, 2]}])
    content = json.loads(path.read_text())
    content["taxonomy"] = [{"nodeName": n, "parentName": "Root"} for n in ("b", "a", "Root")]
    found = read_videos(write(path, content))
    assert found.class_names == ("a", "b")


def test_videos_without_annotation_are_videos_but_no_clips(tmp_path):
    more = {"b": {"subset": "validation", "duration": 3, "fps": 25, "annotations": []}}
    path = activitynet_json(tmp_path / "x.json", [{"label": "b", "segment": [1, 2]}], **more)
    found = read_videos(path)
    assert [(video.id, len(video.segments), video.fps) for video in found.videos] == [
        ("a", 1, None), ("b", 0, 25.0),
    ]  # fmt: skip
    assert len(read_list("activitynet", path)) == 1


def test_segments_without_length_and_outside_are_kept_and_listed(tmp_path):
    times = [(1, 2), (5, 5), (15, 20.005), (15, 21), (30, 40)]
    moments = [{"label": "b", "segment": list(each)} for each in times]
    path = activitynet_json(tmp_path / "x.json", moments)
    assert [each[:2] for each in spans(read_videos(path).videos[0])] == times
    report = check_list(read_list("activitynet", path), every=0)
    messages = [each.message for each in report.problems if each.kind == "part"]
    assert messages == [
        "the part at 5 s has no length",
        "the part ends at 21 s, the video after 20 s",
        "the part begins at 30 s, the video is over after 20 s",
    ]


# ---------------------------------------------------------------- Ego4D moments


def moments_json(path: Path) -> Path:
    labels = [
        {"label": "wash", "primary": True, "start_time": 2.0, "end_time": 5.5},
        {"label": "rinse", "primary": False, "start_time": 2.0, "end_time": 5.0},
        {"label": "cut", "primary": True, "start_time": 7.0, "end_time": 6.0},
    ]
    clip = {
        "clip_uid": "c1", "video_start_sec": 100.0, "video_end_sec": 580.0,
        "annotations": [{"labels": labels}, {"labels": labels[:1]}],
    }  # fmt: skip
    return write(path, {"videos": [{"video_uid": "v1", "split": "val", "clips": [clip]}]})


def test_ego4d_moments(tmp_path):
    path = moments_json(tmp_path / "moments_val.json")
    assert detect_kind(path) == "ego4d-mq"
    found = read_videos(path)
    (clip,) = found.videos
    assert (clip.id, clip.parent, clip.offset, clip.duration) == ("c1", "v1", 100.0, 480.0)
    assert found.class_names == ("cut", "wash")
    assert spans(clip) == [(2.0, 5.5, 1), (2.0, 5.5, 1)]  # of two annotators
    assert "ends before it begins (clip c1)" in found.bad_lines[0].message


def test_moments_of_the_training_file_beside_are_classes_too(tmp_path):
    path = moments_json(tmp_path / "moments_val.json")
    training = moments_json(tmp_path / "moments_train.json")
    training.write_text(training.read_text().replace('"cut"', '"saw"'))
    found = read_videos(path)
    assert found.class_names == ("cut", "saw", "wash")
    assert spans(found.videos[0])[0] == (2.0, 5.5, 2)


def test_the_moments_of_the_official_baseline(tmp_path):
    clip = {
        "video_id": "v1", "clip_id": "c1", "parent_start_sec": 1.5, "parent_end_sec": 481.5,
        "v_duration": 480.0, "fps": 1.875, "subset": "train",
        "annotations": [{"label": "wash", "start_time": 1, "end_time": 2, "primary": True}],
    }  # fmt: skip
    path = write(tmp_path / "clip_annotations.json", {"c1": clip})
    assert detect_kind(path) == "ego4d-mq"
    (video,) = read_videos(path).videos
    assert (video.offset, video.split, spans(video)) == (1.5, "train", [(1, 2, 0)])


# ---------------------------------------------------------------- sentences


def test_charades_sta_with_the_lengths_beside_it(tmp_path):
    write(tmp_path / "Charades_v1_test.csv", "id,subject,length\n3MSZA,X,30.96\n")
    lines = "3MSZA 24.3 30.4##person turn a light on.\nAMT7R 3.0 5.0##a## person\n3MSZA 1 2##\n"
    path = write(tmp_path / "charades_sta_test.txt", lines)
    assert detect_kind(path) == "charades-sta"
    found = read_videos(path)
    first, second = found.videos
    assert (first.id, first.duration, second.duration) == ("3MSZA", 30.96, None)
    assert first.segments == (
        Segment(start=24.3, end=30.4, captions=("person turn a light on.",), id="1"),
    )
    assert second.segments[0].captions == ("a## person",)
    assert [bad.line for bad in found.bad_lines] == [3]
    clips = read_list("charades-sta", path, strict=False)
    assert [clip.captions for clip in clips] == [("person turn a light on.",), ("a## person",)]


def test_tacos_counts_in_frames(tmp_path):
    video = {
        "timestamps": [[50, 100], [30, 20]], "sentences": ["He cuts.", "He sits."],
        "fps": 25.0, "num_frames": 1000,
    }  # fmt: skip
    path = write(tmp_path / "val.json", {"s1-d2.avi": video, "s2-d2.avi": {**video, "fps": 0}})
    assert detect_kind(path) == "tacos"
    found = read_videos(path)
    (one,) = found.videos
    assert (one.path, one.id, one.duration) == ("s1-d2.avi", "s1-d2", 40.0)
    assert one.segments == (Segment(start=2.0, end=4.0, captions=("He cuts.",), id="1/0"),)
    assert len(found.bad_lines) == 2


# ---------------------------------------------------------------- written


def collection(directory: Path, splits: tuple[str, ...], prefix: str) -> Collection:
    videos = [
        VideoAnnotation(
            path=f"videos/{prefix.format(split)}{number:07d}.mp4",
            id=f"{prefix.format(split)}{number:07d}",
            parent="whole",
            offset=10.0 * number,
            split=split,
            duration=60.0,
            fps=12.5,
            segments=(
                Segment(start=1.5, end=4.0, label=1),
                Segment(start=3.25, end=9.5, label=0),
            ),
        )
        for number, split in enumerate(splits)
    ]
    return Collection(
        directory=directory, videos=videos, classes=("move left", "grow"),
        layout=Layout(splits=splits, shares=(0.5, 0.5)),
    )  # fmt: skip


def same(found: AnnotatedVideos, data: Collection, split: str) -> None:
    (read,), (written,) = found.videos, data.of(split)
    order = sorted(spans(read))
    names = [sorted(found.class_names or ())[label] for _, _, label in order]
    assert [each[:2] for each in order] == [(1.5, 4.0), (3.25, 9.5)]
    assert [name.lower() for name in names] == ["grow", "moveleft"] or names == [
        "grow", "move left",
    ]  # fmt: skip
    assert (read.id, read.split) == (written.id, written.split)


def test_what_is_written_is_read_back(tmp_path):
    data = collection(tmp_path / "thumos", ("validation", "test"), "video_{}_")
    files = thumos14.write(data)
    assert len(files) == 5
    for split in ("validation", "test"):
        same(read_videos(tmp_path / "thumos/annotation", split=split), data, split)
        found = read_videos(tmp_path / "thumos/thumos14.json", split=split)
        assert found.class_names == data.classes
        assert found.videos[0].segments == data.of(split)[0].segments
        assert found.videos[0].duration == 60
    data = collection(tmp_path / "anet", ("training", "validation"), "")
    (file,) = activitynet.write(data)
    assert read_videos(file, split="training").videos[0].segments == data.videos[0].segments
    data = collection(tmp_path / "mq", ("train", "val"), "clip-")
    for file, split in zip(ego4d_mq.write(data), ("train", "val"), strict=True):
        found = read_videos(file)
        same(found, data, split)
        assert (found.videos[0].parent, found.videos[0].offset) == (
            "whole", data.of(split)[0].offset,
        )  # fmt: skip


# ---------------------------------------------------------------- real files


@real
@pytest.mark.parametrize(
    ("file", "split", "kind", "num_videos", "num_segments"),
    [
        ("activitynet/anet_v1-3_trainval_rebuilt.json", "val", "activitynet", 4728, 7293),
        ("thumos14/test_Annotation.csv", None, "thumos14", 213, 3358),
        ("thumos14/thumos14_test_groundtruth.csv", None, "thumos14", 213, 3358),
        ("thumos14/thumos_gt.json", "test", "thumos14", 210, 3311),
        ("queries/charades_sta_test.txt", None, "charades-sta", 1334, 3720),
        ("queries/tacos_val.json", None, "tacos", 27, 4436),
    ],
)
def test_real_files(file, split, kind, num_videos, num_segments):
    assert detect_kind(REAL / file) == kind
    found = read_videos(REAL / file, split=split)
    assert not found.bad_lines
    assert len(found.videos) == num_videos
    assert sum(len(video.segments) for video in found.videos) == num_segments


@real
def test_the_two_tables_of_thumos14_agree():
    one, two = (
        read_videos(REAL / "thumos14" / name)
        for name in ("test_Annotation.csv", "thumos14_test_groundtruth.csv")
    )
    assert {v.id: sorted(spans(v)) for v in one.videos} == {
        v.id: sorted(spans(v)) for v in two.videos
    }


@real
def test_moments_that_end_after_their_video_are_counted():
    clips = read_list("charades-sta", REAL / "queries/charades_sta_test.txt")
    report = check_list(clips, every=0)
    assert report.counts()["part"] == 561  # and one by less than 0.01 s
