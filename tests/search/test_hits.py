from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from internvideo.search.hits import Hit, clock, folded
from internvideo.search.records import Cut, Manifest, Part, VideoFile, part_id
from internvideo.search.store import Found
from internvideo.video.preprocessing import PRESETS


def jpeg(seed: int, quality: int = 80) -> bytes:
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 72))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def part(path: str, number: int, vector, thumbnail: bytes, overlap: int = 0) -> Part:
    vector = np.asarray(vector, np.float32)
    return Part(
        file=VideoFile(path=path, size=9, modified=0.0, digest="d"),
        number=number,
        num_parts=5,
        start=4.0 * number,
        end=4.0 * (number + 1),
        first_frame=(100 - overlap) * number,
        num_frames=100,
        fps=25.0,
        duration=20.0,
        height=72,
        width=96,
        thumbnail=thumbnail,
        vector=vector / np.linalg.norm(vector),
    )


def found(*parts: Part) -> list[Found]:
    return [Found(each, 1.0 - 0.01 * rank) for rank, each in enumerate(parts)]


def test_copies_are_one_hit_with_their_number():
    original = part("/a.mp4", 0, [1, 0, 0], jpeg(1))
    copy = part("/copy.mp4", 0, [1, 0.1, 0], jpeg(1, quality=30))
    other = part("/b.mp4", 0, [0, 1, 0], jpeg(2))
    hits = folded(found(original, other, copy), 10)
    assert [(hit.path, hit.num_similar) for hit in hits] == [("/a.mp4", 1), ("/b.mp4", 0)]
    assert [hit.score for hit in hits] == [1.0, 0.99]


def test_alike_in_one_way_only_is_not_the_same():
    first = part("/a.mp4", 0, [1, 0, 0], jpeg(1))
    same_vector = part("/b.mp4", 0, [1, 0, 0], jpeg(2))
    same_picture = part("/c.mp4", 0, [0, 1, 0], jpeg(1))
    assert len(folded(found(first, same_vector, same_picture), 10)) == 3


def test_parts_of_a_video_that_overlap_are_one_hit():
    parts = [part("/a.mp4", number, np.eye(5)[number], jpeg(number), 50) for number in (2, 1, 4)]
    hits = folded(found(*parts), 10)
    assert [(hit.part.number, hit.num_similar) for hit in hits] == [(2, 1), (4, 0)]
    apart = [part("/a.mp4", number, np.eye(5)[number], jpeg(number)) for number in (2, 1, 4)]
    assert len(folded(found(*apart), 10)) == 3


@given(
    pictures=st.lists(st.integers(0, 3), max_size=20),
    limit=st.integers(1, 8),
)
def test_every_part_is_a_hit_or_counted_in_one(pictures, limit):
    parts = [
        part(f"/{place}.mp4", 0, np.eye(4)[picture], jpeg(picture))
        for place, picture in enumerate(pictures)
    ]
    hits = folded(found(*parts), limit)
    kinds = list(dict.fromkeys(pictures))[:limit]
    assert [hit.part.vector.argmax() for hit in hits] == kinds
    counted = sum(1 + hit.num_similar for hit in hits)
    assert counted == sum(picture in kinds for picture in pictures)


def test_a_hit_as_plain_data():
    hit = Hit(part=part("/a.mp4", 1, [1, 0], jpeg(1)), score=0.5)
    data = json.loads(json.dumps(hit.to_dict()))
    assert (data["video"], data["start"], data["end"], data["score"]) == ("/a.mp4", 4.0, 8.0, 0.5)
    assert data["date"] == "1970-01-01T00:00:00+00:00"
    assert data["thumbnail"].startswith("data:image/jpeg;base64,/9j/")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (59.96, "0:59.9"), (60, "1:00.0"), (3661.5, "1:01:01.5"), (0.3, "0:00.3")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_rows_and_manifests_survive_the_way_there_and_back():
    one = part("/a.mp4", 3, [1, 2], jpeg(1))
    row = one.to_row()
    assert row["id"] == part_id("/a.mp4", 3) == one.id
    assert row["length"] == 4.0
    back = Part.from_row(row)
    assert back.to_row() | {"vector": 0} == row | {"vector": 0}
    assert part_id("/a.mp4", 4) != one.id != part_id("/b.mp4", 3)
    manifest = Manifest(
        model="m",
        weights="w",
        preprocessing=PRESETS["viclip-eval"],
        dimension=4,
        cut=Cut(kind="shots", window=2.5),
    )
    assert Manifest.from_json(manifest.to_json(), source="x") == manifest
