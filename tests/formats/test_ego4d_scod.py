"""Lists of COCO with the objects of state changes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from internvideo.annotations import ActorBox, BadLine, VideoAnnotation
from internvideo.data import write_world
from internvideo.errors import DataError
from internvideo.formats import Layout, ego4d_scod
from internvideo.formats.detect import detect_kind
from internvideo.formats.files import Collection

CONTENT = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 9, "file_name": "b.mp4", "width": 200, "height": 100, "time": 1.5},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 50, 40]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [10, 20, 0, 40]},
    ],
    "categories": [{"id": 3, "name": "object_of_change"}],
}


def read(tmp_path, content):
    path = tmp_path / "val.json"
    path.write_text(json.dumps(content))
    found = ego4d_scod.read(path, tmp_path / "frames")
    records = list(found.records)
    videos = [each for each in records if isinstance(each, VideoAnnotation)]
    return path, found, videos, [each for each in records if isinstance(each, BadLine)]


def test_pictures_with_and_without_boxes_are_read(tmp_path):
    path, found, videos, bad = read(tmp_path, CONTENT)
    assert detect_kind(path) == "ego4d-scod"
    assert found.class_names == ("object_of_change",)
    first, second = videos
    assert (first.id, first.path, first.size) == ("7", "a.jpg", (200, 100))
    assert first.boxes == (ActorBox(time=0.0, box=(0.05, 0.2, 0.3, 0.6), labels=(0,)),)
    assert ego4d_scod.pixel_box(first.boxes[0], first.size) == pytest.approx((10, 20, 50, 40))
    assert (second.boxes, ego4d_scod.key_time(second)) == ((), 1.5)
    assert [line.tolerated for line in bad] == [True]
    assert "no area" in bad[0].message


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 1: bbox is \[1, 2, 3\]"),
        ("annotations", {"category_id": 4}, "category_id 4 is none"),
        ("annotations", {"bbox": [250, 0, 5, 5]}, "outside of the picture"),
        ("annotations", {"image_id": 8}, "the image 8, which is not there"),
        ("images", {"width": 0}, "image 1: its size is 0 x 100"),
        ("images", {"file_name": ""}, "no file_name"),
        ("images", {"time": "x"}, "expected seconds"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, where, change, message):
    first, *rest = CONTENT[where]
    _, _, _, bad = read(tmp_path, {**CONTENT, where: [{**first, **change}, *rest]})
    refused = [line for line in bad if not line.tolerated]
    assert len(refused) >= 1
    assert re.search(message, refused[0].message)


def test_another_json_is_refused(tmp_path):
    with pytest.raises(DataError, match="images, annotations, categories"):
        read(tmp_path, {"images": []})


def test_what_is_written_is_read_again(tmp_path):
    _, found, videos, _ = read(tmp_path, CONTENT)
    here = tmp_path / "written"
    here.mkdir()
    data = Collection(
        directory=here,
        videos=[VideoAnnotation(**{**_fields(each), "split": "val"}) for each in videos],
        classes=found.class_names,
        layout=Layout(splits=("val",), shares=(1.0,)),
    )
    (path,) = ego4d_scod.write(data)
    again = list(ego4d_scod.read(path, here).records)
    assert [_close(each) for each in again] == [_close(each) for each in videos]


def _fields(video):
    return {name: getattr(video, name) for name in video.__dataclass_fields__}


def _close(video):
    boxes = [tuple(round(side, 6) for side in each.box) for each in video.boxes]
    return (video.id, Path(video.path), video.size, video.segments, boxes)


def test_the_world_is_written_and_read(tmp_path):
    written = write_world(tmp_path, 5, kind="ego4d-scod")
    train, val = written.annotations
    assert detect_kind(train) == "ego4d-scod"
    videos = list(ego4d_scod.read(train, tmp_path).records)
    assert len(videos) >= 3
    assert all(ego4d_scod.key_time(video) >= 1.0 for video in videos)
    assert all((tmp_path / video.path).exists() for video in videos)
    boxes = [box for video in videos for box in video.boxes]
    assert boxes
    assert all(0 <= side <= 1 for box in boxes for side in box.box)
    assert val.exists()
