"""Ego4D's language queries: read, detected, written and read back."""

from __future__ import annotations

import json

import pytest

from internvideo.annotations import BadLine, Segment, VideoAnnotation
from internvideo.errors import DataError
from internvideo.formats import Layout, ego4d_nlq
from internvideo.formats.detect import detect_kind
from internvideo.formats.files import Collection


def _query(text, start=None, end=None):
    times = {} if end is None else {"clip_start_sec": start, "clip_end_sec": end}
    return {"query": text, "template": "x", **times}


def _write(path, *annotations, **clip):
    clip = {"clip_uid": "c", "video_start_sec": 30.0, "video_end_sec": 510.0, **clip}
    clip["annotations"] = [
        {"annotation_uid": f"a{place}", "language_queries": queries}
        for place, queries in enumerate(annotations)
    ]
    path.write_text(json.dumps({"version": "1", "videos": [{"video_uid": "v", "clips": [clip]}]}))
    return path


def test_a_record_is_a_clip_and_a_segment_a_query(tmp_path):
    path = _write(
        tmp_path / "nlq_val.json",
        [_query("Where was the cup?", 1.0, 2.5), _query("What did I cut?", 3, 3)],
        [_query("How many?", 470.0, 480.0)],
    )
    assert detect_kind(path) == "ego4d-nlq"
    [clip] = ego4d_nlq.read(path, tmp_path).records
    assert (clip.id, clip.parent, clip.offset, clip.duration) == ("c", "v", 30.0, 480.0)
    assert clip.path == "c.mp4"
    assert clip.segments == (
        Segment(start=1.0, end=2.5, captions=("Where was the cup?",), id="a0/0"),
        Segment(start=3.0, end=3.0, captions=("What did I cut?",), id="a0/1"),
        Segment(start=470.0, end=480.0, captions=("How many?",), id="a1/0"),
    )


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (_query("  ", 1, 2), "no words"),
        (_query("?", 1, 2), "no words"),
        (_query(None, 1, 2), "no words"),
        (_query("Where?", 3, 2), "from 3.0 to 2.0 s"),
        (_query("Where?", "3", 4), "clip_start_sec is '3'"),
    ],
)
def test_an_unusable_query_is_named_and_keeps_its_number(tmp_path, query, named):
    path = _write(tmp_path / "a.json", [query, _query("Where?", 1, 2)])
    bad, clip = ego4d_nlq.read(path, tmp_path).records
    assert isinstance(bad, BadLine)
    assert named in bad.message
    assert "a0/0" in bad.message
    assert [each.id for each in clip.segments] == ["a0/1"]


def test_a_clip_without_a_place_in_its_video_is_named(tmp_path):
    path = _write(tmp_path / "a.json", [_query("Where?", 1, 2)], video_end_sec=30.0)
    [bad] = ego4d_nlq.read(path, tmp_path).records
    assert "(c) is from 30.0 to 30.0 s" in bad.message


def test_queries_of_the_test_split_have_no_end(tmp_path):
    path = _write(tmp_path / "nlq_test_unannotated.json", [_query("Where?")])
    [clip] = ego4d_nlq.read(path, tmp_path).records
    assert clip.segments[0].end is None


def test_another_json_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"database": {}}')
    with pytest.raises(DataError, match="expected a json with 'videos'"):
        ego4d_nlq.read(path, tmp_path)


def test_what_is_written_is_read_back(tmp_path):
    video = VideoAnnotation(
        path="c.mp4",
        id="c",
        parent="v",
        offset=7.0,
        split="val",
        duration=60.0,
        segments=(
            Segment(start=1.0, end=2.0, captions=("when does it vanish?",), id="a/0"),
            Segment(start=5.0, end=9.0, captions=("when does it turn?",), id="a/2"),
            Segment(start=0.0, captions=("when does it stop?",), id="b/0"),
        ),
    )
    layout = Layout(splits=("val",), shares=(1.0,))
    data = Collection(directory=tmp_path, videos=[video], classes=(), layout=layout)
    [path] = ego4d_nlq.write(data)
    unusable, read = ego4d_nlq.read(path, tmp_path).records
    assert "a/1 has no words" in unusable.message
    assert read.segments == video.segments
    assert (read.parent, read.offset, read.duration, read.split) == ("v", 7.0, 60.0, "val")


def test_only_names_of_ego4d_are_taken_apart():
    assert ego4d_nlq.split_query_id(ego4d_nlq.query_id("a/b", 3)) == ("a/b", 3)
    with pytest.raises(DataError, match="'17'"):
        ego4d_nlq.split_query_id("17")
