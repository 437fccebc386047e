"""Lists of the next contacts, boxes of a detector, and answers."""

from __future__ import annotations

import json

import pytest

from internvideo.annotations import BadLine, NextContact, VideoAnnotation
from internvideo.data import write_world
from internvideo.errors import DataError
from internvideo.formats import ego4d_sta
from internvideo.formats.detect import detect_kind
from internvideo.world import ACTIONS

GOOD = {
    "box": [1, 2, 30, 40], "noun_category_id": 3, "verb_category_id": 1, "time_to_contact": 0.7,
}  # fmt: skip
CONTENT = {
    "info": {"video_metadata": {"v": {"frame_width": 64, "frame_height": 48, "fps": 30.0}}},
    "verb_categories": [{"id": 0, "name": "take"}, {"id": 1, "name": "cut"}],
    "annotations": [{"uid": "a", "video_id": "v", "frame": 45, "objects": [GOOD]}],
}


def read(path, content):
    path.write_text(json.dumps(content))
    found = ego4d_sta.read(path, path.parent)
    records = list(found.records)
    videos = [each for each in records if isinstance(each, VideoAnnotation)]
    return found, videos, [each.message for each in records if isinstance(each, BadLine)]


def test_annotated_frames_are_read(tmp_path):
    path = tmp_path / "fho_sta_val.json"
    found, (video,), faults = read(path, CONTENT)
    assert detect_kind(path) == "ego4d-sta"
    assert (found.class_names, faults) == (("take", "cut"), [])
    assert (video.path, video.id, video.size, video.fps) == ("v.mp4", "a", (64, 48), 30)
    assert video.segments[0].start == 1.5
    contact = NextContact(box=(1, 2, 30, 40), noun=3, verb=1, seconds=0.7, time=1.5)
    assert video.contacts == (contact,)


def test_what_cannot_be_used_is_named(tmp_path):
    flat = {**GOOD, "box": [5, 5, 5, 9]}
    entries = [
        {"uid": "a", "video_id": "v", "frame": 1, "objects": [GOOD, flat, {"box": 7}]},
        {"uid": "b", "video_id": "v", "frame": 2},
        {"uid": "c", "video_id": "other", "frame": 2},
        {},
    ]
    path = tmp_path / "true.json"
    _, videos, faults = read(path, {**CONTENT, "annotations": entries})
    assert [(each.id, len(each.contacts)) for each in videos] == [("a", 1), ("b", 0)]
    expected = ("no area", "object 3", "no fps of other", "annotation 4 has no uid")
    assert len(faults) == len(expected)
    for words in expected:
        assert any(words in fault for fault in faults), words
    with pytest.raises(DataError, match="list 'annotations'"):
        read(path, {})


def test_answers_and_boxes_are_read(tmp_path):
    path = tmp_path / "found.json"
    found = NextContact(box=(1, 2, 30, 40), noun=3, verb=5, seconds=0.7, score=0.5)
    ego4d_sta.write_results(path, {"a": [found]})
    assert ego4d_sta.read_results(path) == ({"a": (found,)}, [])
    path.write_text("[]")
    with pytest.raises(DataError, match="'results'"):
        ego4d_sta.read_results(path)
    box = {"box": [1, 2, 3, 4], "score": 0.5, "noun_category_id": 3}
    path.write_text(json.dumps({"a": [box, {"box": [1, 2, 3, 4], "score": 0.5}]}))
    boxes, (fault,) = ego4d_sta.read_boxes(path)
    assert boxes == {"a": (NextContact(box=(1, 2, 3, 4), noun=3, score=0.5),)}
    assert "expected box, noun_category_id, score" in fault


def test_the_world_is_written_and_read(tmp_path):
    written = write_world(tmp_path, 3, kind="ego4d-sta")
    train, _ = written.annotations
    assert detect_kind(train) == "ego4d-sta"
    found = ego4d_sta.read(train, tmp_path)
    assert found.class_names == ACTIONS
    truth = {}
    for line in map(json.loads, written.truth.read_text().splitlines()):
        truth[line["video"]] = line
    videos = list(found.records)
    assert videos
    for video in videos:
        scene = truth[video.path]
        frame = round(video.segments[0].start * scene["fps"])
        for contact in video.contacts:
            ends = {(e["action"], (e["end"] - frame) / scene["fps"]) for e in scene["events"]}
            assert (ACTIONS[contact.verb], contact.seconds) in ends
            assert any(
                actor["boxes"][frame] == pytest.approx(contact.box, abs=0.02)
                for actor in scene["actors"]
                if actor["boxes"][frame]
            )
