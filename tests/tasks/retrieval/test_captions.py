from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from internvideo.annotations import BadLine, Segment, VideoAnnotation
from internvideo.data.build import open_list
from internvideo.data.clip_list import ClipList
from internvideo.data.clips import VideoListSource
from internvideo.data.world import WorldSource
from internvideo.errors import DataError
from internvideo.tasks.retrieval.captions import captioned_videos
from internvideo.world import World, plain_caption
from noise import NoiseSource


def opened(*records: VideoAnnotation | BadLine) -> VideoListSource:
    return VideoListSource(ClipList(records, file="captions.csv"), tiny.PROTOCOL)


def test_a_video_is_there_once_with_all_its_captions(source):
    found = captioned_videos(source)
    assert [Path(found.source.key(n)).name for n in range(6)] == [f"v{n}.mp4" for n in range(6)]
    assert found.captions[0] == ("a red star moves left", "A RED STAR, moves left!", "a star")
    assert found.captions[3] == ("一个红色的圆圈在移动",)
    assert found.describe() == "all 9 captions of 6 videos"
    first = captioned_videos(source, "first")
    assert first.captions[0] == ("a red star moves left",)
    assert first.describe() == "the first caption of each of 6 videos"
    assert captioned_videos(source, "paragraph").captions[2] == (
        "this one is broken nobody sees it",
    )


def test_parts_of_a_video_are_videos_of_their_own_or_a_paragraph():
    parts = (
        Segment(start=0, end=2, captions=("first",)),
        Segment(start=2, end=5, captions=("then", "again")),
    )
    source = opened(
        VideoAnnotation(path="a.mp4", segments=parts),
        VideoAnnotation(path="b.mp4", segments=(Segment(start=0, end=31, captions=("whole",)),)),
    )
    each = captioned_videos(source)
    assert [each.source.key(n) for n in range(3)] == ["a.mp4[0-2]", "a.mp4[2-5]", "b.mp4[0-31]"]
    assert each.captions == (("first",), ("then", "again"), ("whole",))
    whole = captioned_videos(source, "paragraph")
    assert [whole.source.key(n) for n in range(2)] == ["a.mp4", "b.mp4"]
    assert whole.captions == (("first then again",), ("whole",))
    assert whole.source.source.whole_videos
    assert not source.whole_videos
    one = captioned_videos(opened(VideoAnnotation(path="b.mp4", segments=parts[:1])), "paragraph")
    assert not one.source.source.whole_videos  # DiDeMo: the first 31 seconds alone


def test_captions_without_words_are_listed_with_their_line():
    found = captioned_videos(
        opened(
            VideoAnnotation(path="a.mp4", captions=("…", "a dog"), line=3),
            VideoAnnotation(path="b.mp4", line=4),
            VideoAnnotation(path="c.mp4", captions=("?!",), line=5),
            BadLine(6, "captions.csv:6: no video"),
        )
    )
    assert found.captions == (("a dog",),)
    assert found.left_out == (
        "captions.csv:6: no video",
        "captions.csv:3: a.mp4: the caption '…' has no words",
        "captions.csv:4: b.mp4 has no caption",
        "captions.csv:5: c.mp4: the caption '?!' has no words",
    )
    with pytest.raises(DataError, match=r"captions.csv has no captions .*captions.csv:4: b.mp4"):
        captioned_videos(opened(VideoAnnotation(path="b.mp4", line=4)))
    with pytest.raises(DataError, match="NoiseSource tells no captions"):
        captioned_videos(NoiseSource())


def test_the_world_has_its_plain_captions():
    world = World(seed=3)
    found = captioned_videos(WorldSource(world, num_clips=3, start=5))
    assert found.captions == tuple((plain_caption(world.scene(5 + n)),) for n in range(3))
    assert found.describe() == "one caption of each of 3 videos"


def test_what_a_format_joins_is_called_a_paragraph(tmp_path):
    rows = [
        {"video": "a.mov", "description": text, "times": [[0, 0]]}
        for text in ("a star moves", "a circle grows")
    ]
    path = tmp_path / "test_data.json"
    path.write_text(json.dumps([*rows, {**rows[0], "video": "b.avi"}]))
    found = captioned_videos(open_list("didemo", path, protocol=tiny.PROTOCOL))
    assert found.captions == (("a star moves a circle grows",), ("a star moves",))
    assert found.describe() == "the captions of each of 2 videos as one paragraph"
