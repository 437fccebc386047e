"""Annotated untrimmed videos as features."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.annotations import BadLine, Segment, VideoAnnotation
from internvideo.config import validate
from internvideo.data.config import FeatureData
from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource, read_videos
from internvideo.data.features import FeatureFiles
from internvideo.data.identity import clip_identity, difference
from internvideo.errors import DataError, VideoError
from internvideo.video import Preprocessing

RNG = np.random.default_rng(0)


def _rows(path, count):
    np.save(path, np.arange(count, dtype=np.float16)[:, None])


def _source(folder, *videos, **named):
    annotated = AnnotatedVideos(file=folder / "a.json", videos=videos, **named)
    return FeatureVideoSource(annotated, FeatureFiles(folders=folder, fps=30.0, stride=15.0).open())


def test_an_item_is_a_video_with_what_is_known_of_it(tmp_path):
    _rows(tmp_path / "a.npy", 20)
    video = VideoAnnotation(path="a.mp4", id="a", duration=10.0)
    source = _source(tmp_path, video)
    sample = source.read(0, RNG)
    assert (sample.key, sample.annotation) == ("a", video)
    assert len(sample.features) == 20
    views = source.read_views(0, Preprocessing(num_frames=4)).views
    assert views.shape == (1, 20, 1)
    assert views.dtype.is_floating_point
    assert views.dtype.itemsize == 4


def test_a_clip_is_cut_out_of_the_rows_of_its_parent(tmp_path):
    _rows(tmp_path / "long.npy", 100)
    clip = VideoAnnotation(path="c.mp4", id="c", parent="long", offset=10.3, duration=5.0)
    source = _source(tmp_path, clip)
    part = source.features(0)
    assert part.features[:, 0].tolist() == list(range(20, 31))
    # Row 20 begins 0.3 s before the clip does; its centre is 0.25 s further on.
    assert part.seconds_at(np.array(0.0)) == pytest.approx(10.0 - 10.3 + 0.25)
    assert part.rows_at(part.seconds_at(np.array(3.5))) == pytest.approx(3.5)
    _rows(tmp_path / "c.npy", 10)
    assert source.features(0).features[:, 0].tolist() == list(range(10))


def test_a_video_without_features_does_not_end_a_run(tmp_path):
    _rows(tmp_path / "long.npy", 100)
    behind = VideoAnnotation(path="d.mp4", id="d", parent="long", offset=60.0, duration=5.0)
    short = VideoAnnotation(path="long.mp4", id="long", duration=500.0)
    source = _source(tmp_path, VideoAnnotation(path="b.mp4", id="b"), behind, short)
    for index, named in enumerate(("features of b", r"50\.0 s.*60\.0 s", "100 rows")):
        with pytest.raises(VideoError, match=named):
            source.read(index, RNG)


def test_labels_of_segments_are_checked(tmp_path):
    segments = tuple(Segment(start=float(label), end=5.0, label=label) for label in range(3))
    source = _source(tmp_path, VideoAnnotation(path="a.mp4", id="a", segments=segments))
    source.check_labels(3)
    with pytest.raises(DataError, match="at 2 s with the label 2"):
        source.check_labels(2)


def test_clips_that_were_moved_are_the_same(tmp_path):
    one = _source(tmp_path, VideoAnnotation(path="x/a.mp4", id="a", line=3))
    moved = _source(tmp_path, VideoAnnotation(path="y/a.mp4", id="a", line=4))
    other = _source(tmp_path, VideoAnnotation(path="y/a.mp4", id="a", duration=4.0))
    assert difference(clip_identity(one), clip_identity(moved)) is None
    assert difference(clip_identity(one), clip_identity(other)) is not None


def test_what_cannot_be_used_is_refused_unless_it_is_left_out(tmp_path):
    annotated = AnnotatedVideos(
        file=tmp_path, videos=(), bad_lines=(BadLine(1, "one"), BadLine(2, "two"))
    )
    with pytest.raises(DataError, match=r"one \(1 more"):
        annotated.refuse_bad_lines()


def test_a_recipe_names_annotations_and_features(tmp_path):
    _rows(tmp_path / "a.npy", 20)
    path = tmp_path / "a.json"
    database = '{"a": {"subset": "val", "duration": 10, "annotations": [%s]}}'
    path.write_text('{"database": %s}' % (database % '{"segment": [1, 2], "label": "dig"}'))
    data = validate(
        FeatureData,
        {
            "kind": "features",
            "annotations": str(path),
            "features": {"folders": str(tmp_path), "fps": 30, "stride": 15},
        },
        source="data",
    )
    source = data.open(Preprocessing(num_frames=4), None)
    assert source.class_names == ("dig",)
    assert len(source.read(0, RNG).features) == 20
    assert read_videos(path).videos[0].segments == (Segment(start=1.0, end=2.0, label=0),)
