"""AVA and AVA-Kinetics: read, detected, written and read back; lines that cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from internvideo.annotations import ActorBox, BadLine, VideoAnnotation
from internvideo.data.writing import write_world
from internvideo.errors import DataError
from internvideo.formats import ava, ava_kinetics, box_rows
from internvideo.formats.detect import detect_kind
from internvideo.world import ACTIONS, Encoding, World

REAL = Path(__file__).parents[3] / "shared" / "real"
CSV = """\
abcDEF12345,0902,0.077,0.151,0.283,0.811,80,1
abcDEF12345,0902,0.077,0.151,0.283,0.811,12,1
abcDEF12345,0902,0.5,0.1,1.02,0.9,11,2
abcDEF12345,903,0.077,0.151,0.283,0.811,80,1
other,1000.0,0.1,0.1,0.2,0.2,1,0
"""
IMAGE = {"id": "m_0902", "movie": "m", "timestamp": 902, "width": 200, "height": 100}


def _boxes(annotations):
    return [each for each in annotations.records if isinstance(each, VideoAnnotation)]


def _file(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_rows_of_a_box_are_one_box_with_all_its_actions(tmp_path):
    path = _file(tmp_path, "ava_val.csv", CSV)
    assert detect_kind(path) == "ava"
    (tmp_path / "other").mkdir()  # of files of one second
    first, other = _boxes(ava.read(path, tmp_path))
    assert (first.id, first.path, other.path) == ("abcDEF12345", "abcDEF12345.mp4", "other")
    assert first.boxes == (
        ActorBox(time=902.0, box=(0.077, 0.151, 0.283, 0.811), labels=(11, 79), actor=1),
        ActorBox(time=902.0, box=(0.5, 0.1, 1.02, 0.9), labels=(10,), actor=2),
        ActorBox(time=903.0, box=(0.077, 0.151, 0.283, 0.811), labels=(79,), actor=1),
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("m,0902,0.1,0.1,0.2,80,1", "7 fields, expected 8"),
        ("m,0902,0.1,0.1,0.2,0.3", "[69] fields, expected 8"),
        ("m,0902,0.1,0.1,0.2,0.3,1,2,3", "[69] fields, expected 8"),
        ("m,0902,0.1,,0.2,0.3,1,2", "y1 is missing"),
        ("m,0902,0.1,nan,0.2,0.3,1,2", "y1 is 'nan'"),
        ("m,,0.1,0.1,0.2,0.3,1,2", "timestamp is missing"),
        (",0902,0.1,0.1,0.2,0.3,1,2", "the movie has no name"),
        ("m,0902,0.1,0.1,0.2,0.3,1.5,2", "action is '1.5'"),
    ],
)
def test_a_line_with_a_missing_field_is_named(tmp_path, line, named):
    text = CSV + line + "\n" + CSV
    path = _file(tmp_path, "ava_val.csv", text)
    with pytest.raises(DataError, match=rf"ava_val\.csv:6: ({named})"):
        box_rows.read_rows(path)
    bad: list[BadLine] = []
    assert len(box_rows.read_rows(path, bad=bad)) == 10
    assert [each.line for each in bad] == [6]


@pytest.mark.parametrize(
    ("first", "named"),
    [("video,time,x1,y1,x2,y2,action,person", "timestamp is 'time'"),
     ("other,1001,1.2,0.1,1.6,0.2,1,0", "outside the picture")],
    ids=["header", "outside"],
)  # fmt: skip
def test_a_first_line_that_cannot_be_used_does_not_hide_the_format(tmp_path, first, named):
    path = _file(tmp_path, "ava_val.csv", f"{first}\n{CSV}")
    assert detect_kind(path) == "ava"
    records = list(ava.read(path, tmp_path).records)
    (bad,) = [each for each in records if isinstance(each, BadLine)]
    assert named in bad.message
    assert [each.id for each in records if isinstance(each, VideoAnnotation)] == [
        "abcDEF12345", "other"
    ]  # fmt: skip


def test_scores_are_required_where_they_count(tmp_path):
    path = _file(tmp_path, "result.csv", "m,0902,0.1,0.1,0.2,0.3,1\n")
    assert math.isnan(box_rows.read_rows(path).values[0])
    with pytest.raises(DataError, match=r"result\.csv:1: 7 fields, expected 8"):
        box_rows.read_rows(path, scored=True)


def test_boxes_outside_the_picture_are_left_out_and_listed(tmp_path):
    text = "m,0902,1.1,0.1,1.2,0.3,1,0\nm,0902,0.3,0.1,0.2,0.3,1,0\nm,0902,0.9,0.1,1.2,0.3,1,0\n"
    records = list(ava.read(_file(tmp_path, "a.csv", text), tmp_path).records)
    outside, empty, kept = records
    assert isinstance(outside, BadLine)
    assert (outside.line, outside.tolerated) == (1, True)
    assert "outside the picture" in outside.message
    assert isinstance(empty, BadLine)
    assert "no area" in empty.message
    assert isinstance(kept, VideoAnnotation)
    assert [each.box for each in kept.boxes] == [(0.9, 0.1, 1.2, 0.3)]


def test_json_has_pixels_in_ava_and_fractions_in_kinetics(tmp_path):
    def annotation(*bbox, actions=(12, 80), image="m_0902"):
        return {"image_id": image, "bbox": list(bbox), "action_ids": list(actions)}

    pixels = _file(
        tmp_path,
        "ava.json",
        {
            "images": [IMAGE],
            "annotations": [
                annotation(20, 10, 100, 50),
                annotation(1, 1, 5, 5, image="n_1"),
                annotation(1, 1, 5, 5, actions=["walk"]),
            ],
        },
    )
    assert detect_kind(pixels) == "ava"
    *bad, movie = ava.read(pixels, tmp_path).records
    assert movie.size == (200, 100)
    assert movie.boxes == (ActorBox(time=902.0, box=(0.1, 0.1, 0.6, 0.6), labels=(11, 79)),)
    assert ["'n_1'" in bad[0].message, "'walk'" in bad[1].message] == [True, True]

    (tmp_path / "m_000900_000910.mp4").touch()
    content = {"images": [IMAGE], "annotations": [annotation(0.1, 0.1, 0.5, 0.5)]}
    fractions = _file(tmp_path, "kinetics.json", content)
    assert detect_kind(fractions) == "ava-kinetics"
    [clip] = ava_kinetics.read(fractions, tmp_path).records
    assert (clip.path, clip.offset, clip.duration) == ("m_000900_000910.mp4", 900.0, 10.0)
    assert clip.boxes == (ActorBox(time=2.0, box=(0.1, 0.1, 0.6, 0.6), labels=(11, 79)),)


def test_persons_in_pixels_fractions_and_rows(tmp_path):
    pixels = [{"image_id": "m_0902", "bbox": [20, 10, 100, 50], "score": 0.9}]
    fractions = [{"image_id": "m_902", "bbox": [0.1, 0.1, 0.6, 0.6], "score": 0.9}]
    expected = {"m,0902": [((0.1, 0.1, 0.6, 0.6), 0.9)]}
    assert ava.read_persons(_file(tmp_path, "p.json", pixels), {"m": (200, 100)}) == expected
    assert ava.read_persons(_file(tmp_path, "f.json", fractions), {}) == expected
    rows = "m,0902,0.1,0.1,0.6,0.6,,0.9\n"
    assert ava.read_persons(_file(tmp_path, "p.csv", rows), {}) == expected
    with pytest.raises(DataError, match="no width and height"):
        ava.read_persons(tmp_path / "p.json", {})


def test_label_maps_and_excluded_pictures(tmp_path):
    text = 'item {\n  name: "walk"\n  id: 14\n}\nitem {\n  name: "run"\n  label_id: 10\n}\n'
    assert box_rows.read_label_map(_file(tmp_path, "a.pbtxt", text)) == {14: "walk", 10: "run"}
    assert box_rows.read_label_map(_file(tmp_path, "a.txt", "walk\nrun\n")) == {1: "walk", 2: "run"}
    assert box_rows.read_excluded(_file(tmp_path, "e.csv", "m,902\nm,1025.0\n")) == {
        "m,0902",
        "m,1025",
    }
    assert box_rows.read_excluded(_file(tmp_path, "none.csv", "")) == frozenset()
    with pytest.raises(DataError, match=r"e\.csv:1: expected movie,timestamp"):
        box_rows.read_excluded(_file(tmp_path, "e.csv", "m\n"))


@pytest.mark.parametrize("kind", ["ava", "ava-kinetics"])
def test_the_world_comes_back(tmp_path, kind):
    world = World(seed=3, size=16, objects=("star", "heart"))
    written = write_world(
        tmp_path, 2, kind=kind, world=world, splits=(0.5, 0.5), encoding=Encoding(fps=4)
    )
    files = {path.name: path for path in written.annotations}
    name = {"ava": "ava_val", "ava-kinetics": "ava_kinetics_val"}[kind]
    module = {"ava": ava, "ava-kinetics": ava_kinetics}[kind]
    truth = json.loads(written.truth.read_text().splitlines()[1])
    names = [f"{name}.json"] + (["ava_val.csv"] if kind == "ava" else [])
    for each in names:
        found = module.read(files[each], tmp_path)
        [video] = found.records
        assert (tmp_path / video.path).is_file()
        assert found.class_names == ACTIONS
        assert video.boxes
        for box in video.boxes:
            frame = round(4 * box.time)
            held = [actor["boxes"][frame] for actor in truth["actors"]]
            close = [
                number
                for number, sides in enumerate(held)
                if sides and [side * 32 for side in box.box] == pytest.approx(sides, abs=0.03)
            ]
            assert close
            doing = {
                event["action"]
                for event in truth["events"]
                if event["start"] <= frame < event["end"] and close[0] in event["actors"]
            }
            assert {ACTIONS[label] for label in box.labels} == (doing or {"still"})
    persons = ava.read_persons(files[f"{name}_persons.json"], {video.id: (32, 32)})
    assert sum(map(len, persons.values())) == len(video.boxes)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_real_files():
    rows = box_rows.read_rows(REAL / "detection" / "ava_sample.csv")
    assert (len(rows), rows.images[0]) == (8, "0f39OWEqJ24,0902")
    assert box_rows.read_excluded(REAL / "detection" / "ava_excluded_timestamps_sample.csv") == {
        "0f39OWEqJ24,0903",
        "_-Z6wFjXtGQ,0902",
    }
    assert (
        tuple(box_rows.read_label_map(REAL / "labels" / "ava-v2.1-60.pbtxt")) == box_rows.EVALUATED
    )
