"""Lists of the hands after clips, and answers to them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.annotations import BadLine, HandPoint, VideoAnnotation
from internvideo.data import write_world
from internvideo.errors import DataError
from internvideo.formats import ego4d_fhp
from internvideo.formats.detect import detect_kind
from internvideo.video import Video

GOOD = {
    "pre_45": {"frame": 7, "path": "x", "boxes": [{"left_hand": [1, 2, 9]}]},
    "contact_frame": {"frame": 52, "path": "y", "boxes": [{"right_hand": [3, 4]}]},
}


def read(path, content):
    path.write_text(json.dumps(content))
    records = list(ego4d_fhp.read(path, path.parent).records)
    return (
        [each for each in records if isinstance(each, VideoAnnotation)],
        [each.message for each in records if isinstance(each, BadLine)],
    )


def test_malformed_entries_are_named_and_the_others_are_read(tmp_path):
    bad = {"pre_45": {"frame": 9, "path": "x", "boxes": [{"left_hand": ["a", 2]}]}}
    path = tmp_path / "hands.json"
    clips, faults = read(path, {"clips": [{"clip_id": 4, "frames": [GOOD, bad, {}]}, {}]})
    assert detect_kind(path) == "ego4d-fhp"
    assert [(clip.id, clip.path) for clip in clips] == [("4_6", "cropped_clips/4_6.mp4")]
    assert clips[0].hands == (
        HandPoint(key_frame=0, hand=0, point=(1, 2)),
        HandPoint(key_frame=4, hand=1, point=(3, 4)),
    )
    assert len(faults) == 3
    assert "clip 1 (4), entry 2: pre_45: left_hand is ['a', 2]" in faults[0]
    with pytest.raises(DataError, match="list 'clips'"):
        read(path, {})


def test_a_submission_comes_back(tmp_path):
    path = tmp_path / "answers.json"
    ego4d_fhp.write_answers(path, {"4_6": np.arange(20.0)})
    assert ego4d_fhp.read_answers(path)["4_6"].tolist() == list(range(20))
    path.write_text('{"4_6": [1, 2]}')
    with pytest.raises(DataError, match="4_6 does not have 20"):
        ego4d_fhp.read_answers(path)


def test_the_world_hides_what_is_to_be_foreseen(tmp_path):
    written = write_world(tmp_path, 6, kind="ego4d-fhp")
    train, _ = written.annotations
    assert detect_kind(train) == "ego4d-fhp"
    clips = [each for each in ego4d_fhp.read(train, tmp_path).records]
    truth = [json.loads(line) for line in written.truth.read_text().splitlines()]
    assert len(clips) >= 4
    for clip, scene in zip(clips, truth, strict=False):
        with Video(tmp_path / clip.path) as video:
            assert video.num_frames == scene["num_frames"] // 2
        last = [actor["boxes"][-1] for actor in scene["actors"] if actor["boxes"][-1]]
        centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in last]
        for hand in clip.hands:
            if hand.key_frame == 4:
                assert min(np.hypot(*np.subtract(hand.point, each)) for each in centres) < 0.02
    first = {hand.hand: hand.point[0] for hand in clips[0].hands if hand.key_frame == 0}
    assert len(first) < 2 or first[0] <= first[1]
