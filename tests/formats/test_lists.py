"""Lists whose lines are taken apart from their end: Kinetics, frame folders, parts, hybrid."""

from __future__ import annotations

import gzip
import json

import pytest

from internvideo.data.build import read_list
from internvideo.errors import DataError
from internvideo.formats.detect import detect_kind


def write(path, text, **encoding):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, **({"encoding": "utf-8"} | encoding))
    return path


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("my clips/a b.mp4 3\nc.mp4 0\n", "a space"),
        ("my clips/a b.mp4,3\nc.mp4, 0\n", "a comma"),
        ("my clips/a b.mp4\t3\r\n\r\nc.mp4\t0\r\n", "a tab"),
        ('\ufeff"my clips/a b.mp4",3\nc.mp4,0', "a comma"),
    ],
)
def test_kinetics_lines_are_split_at_the_last_delimiter(tmp_path, text, delimiter):
    clips = read_list("kinetics", write(tmp_path / "train.csv", text))
    assert [(clip.path, clip.label) for clip in clips] == [
        (str(tmp_path / "my clips/a b.mp4"), 3),
        (str(tmp_path / "c.mp4"), 0),
    ]
    assert clips.description == f"Kinetics list, separated by {delimiter}"


def test_paths_with_commas_and_numbers_stay_whole(tmp_path):
    clips = read_list("kinetics", write(tmp_path / "x.csv", "run, 5 km.mp4 7\nclip 12 8\n"))
    assert [clip.path for clip in clips] == [
        str(tmp_path / "run, 5 km.mp4"),
        str(tmp_path / "clip 12"),
    ]
    assert clips.labels.tolist() == [7, 8]


def test_roots_may_be_folders_and_addresses_and_paths_absolute(tmp_path):
    path = write(tmp_path / "x.csv", "a b.mp4 1\n/data/c.mp4 2\ns3://bucket/d.mp4 3\n")
    assert [c.path for c in read_list("kinetics", path, root="s3://videos/k400/")] == [
        "s3://videos/k400/a b.mp4",
        "/data/c.mp4",
        "s3://bucket/d.mp4",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.csv is empty: it lists no clips"),
        ("\n \n", "train.csv is empty"),
        ("a.mp4 3\nb.mp4,4\n", "train.csv:2: fields are separated by a comma, those of line 1 by"),
        ("a.mp4;3\n", r"train.csv:1: fields are separated by ';'; expected 'path label' separated"),
        ("a.mp4|3\n", r"train.csv:1: fields are separated by '\|'"),
        ("a.mp4 3\nb.mp4\n", "train.csv:2: expected 'path label', got 'b.mp4'"),
        ("path label\na.mp4 3\n", "train.csv:1: expected 'path label', got 'path label'"),
        ("a.mp4 1.5\n", "train.csv:1: the label is '1.5'; expected a whole number"),
    ],
)
def test_a_broken_kinetics_list_says_where_and_what_to_do(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_list("kinetics", write(tmp_path / "train.csv", text))


def test_other_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no annotation file"):
        read_list("kinetics", tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_list("kinetics", tmp_path)
    (tmp_path / "x.mp4").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a text file"):
        read_list("kinetics", tmp_path / "x.mp4")
    listed = write(tmp_path / "x.csv", "a.mp4 1")
    with pytest.raises(DataError, match="leave out split='train'"):
        read_list("kinetics", listed, split="train")
    with pytest.raises(ValueError, match=r"format 'kinetic'.* Did you mean 'kinetics'"):
        read_list("kinetic", tmp_path / "x.mp4")


OFFICIAL = """label,youtube_id,time_start,time_end,split
"shooting goal (soccer)",-0z3kYaXkQk,7,17,train
abseiling,_4YTwq0-73Y,12.0,22.0,train
"""


def test_the_official_kinetics_csv_names_files_by_id_and_times(tmp_path):
    path = write(tmp_path / "k400.csv", OFFICIAL)
    with pytest.raises(DataError, match=r"no labels.txt or classes.txt in .*--labels"):
        read_list("kinetics", path)
    write(tmp_path / "labels.txt", "abseiling\nshooting goal (soccer)\n")
    clips = read_list("kinetics", path, root=tmp_path / "videos")
    assert clips[0].path == str(tmp_path / "videos/-0z3kYaXkQk_000007_000017.mp4")
    assert clips[1].path == str(tmp_path / "videos/_4YTwq0-73Y_000012_000022.mp4")
    assert clips.labels.tolist() == [1, 0]
    assert clips[0].start is None  # the file is the cut clip already
    assert clips[1].line == 3
    (tmp_path / "videos/shooting goal (soccer)").mkdir(parents=True)
    clips = read_list("kinetics", path, root=tmp_path / "videos")
    assert clips[1].path == str(tmp_path / "videos/abseiling/_4YTwq0-73Y_000012_000022.mp4")


def test_official_kinetics_quirks(tmp_path):
    write(tmp_path / "labels.txt", "abseiling\n")
    unknown = write(tmp_path / "a.csv", OFFICIAL)
    with pytest.raises(DataError, match=r"a.csv:2: class 'shooting goal \(soccer\)' is not one"):
        read_list("kinetics", unknown)
    test = write(tmp_path / "t.csv", "youtube_id,time_start,time_end,split\n_x,5,15,test\n")
    clips = read_list("kinetics", test)  # the K600 test set comes without labels
    assert clips[0].label is None
    assert clips[0].path.endswith("_x_000005_000015.mp4")
    both = write(tmp_path / "b.csv", OFFICIAL.replace("22.0,train", "22.0,validate"))
    with pytest.raises(DataError, match="holds the splits train, validate; choose one"):
        read_list("kinetics", both)
    assert len(read_list("kinetics", both, split="val")) == 1
    with pytest.raises(DataError, match=r"no split 'test'; it holds train, validate"):
        read_list("kinetics", both, split="test")
    short = write(tmp_path / "s.csv", OFFICIAL + "abseiling,xyz\n")
    with pytest.raises(DataError, match=r"s.csv:4: 2 fields, but the header has 5"):
        read_list("kinetics", short)


@pytest.mark.parametrize("delimiter", [" ", ",", "\t"])
def test_parts_of_videos(tmp_path, delimiter):
    lines = ["v_a b.mp4", "120.5", "3", "18.25", "7"], ["v_c.mp4", "60", "0.0", "60", "199"]
    path = write(tmp_path / "x.csv", "".join(delimiter.join(line) + "\n" for line in lines))
    first, second = read_list("activitynet", path)
    assert first.path == str(tmp_path / "v_a b.mp4")
    assert (first.duration, first.start, first.end, first.label) == (120.5, 3, 18.25, 7)
    assert first.key == f"{tmp_path}/v_a b.mp4[3-18.25]"
    assert (second.start, second.label) == (0, 199)
    assert len(read_list("hacs", path)) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4 10 3 9", ":1: expected 'path total_seconds start end label'"),
        ("a.mp4 10 9 3 1", ":1: the part 9 to 3 s ends before it begins"),
        ("a.mp4 0 1 3 1", ":1: the video lasts 0 s"),
        ("a.mp4 10 1 3 1.5", ":1: the label is '1.5'"),
    ],
)
def test_broken_parts_say_where(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        read_list("activitynet", write(tmp_path / "x.csv", line))


def test_hybrid_lists_mix_videos_and_folders(tmp_path):
    text = (
        "k710/a b.mp4 0 -1\n/data/SomethingV2/frames/7 1 48\nAVA/x y/clip 901 300\n"
        "own/frames 0 100\n"
    )
    path = write(tmp_path / "train.csv", text)
    video, ssv2, ava, own = read_list("hybrid", path, root="/r")
    assert (video.path, video.num_frames, video.template) == ("/r/k710/a b.mp4", None, None)
    assert (ssv2.path, ssv2.num_frames) == ("/data/SomethingV2/frames/7", 48)
    assert ssv2.template.format(ssv2.first_frame) == "img_00001.jpg"
    assert ava.path == "/r/AVA/x y/clip"
    assert ava.template.format(ava.first_frame) == "image_000901.jpg"
    assert own.template.format(own.first_frame) == "img_00000.jpg"
    labelled = write(tmp_path / "l.csv", text.replace("\n", " 5\n"))
    assert [(c.path, c.label) for c in read_list("hybrid", labelled, root="/r")] == [
        (c.path, 5) for c in (video, ssv2, ava, own)
    ]
    with pytest.raises(DataError, match=":1: start 3 and total 0"):
        read_list("hybrid", write(tmp_path / "b.csv", "x 3 0"))
    with pytest.raises(DataError, match=":2: expected 'path start total"):
        read_list("hybrid", write(tmp_path / "b.csv", "x 3 9\ny 4"))


def test_labels_outside_the_class_count_are_named(tmp_path):
    clips = read_list("kinetics", write(tmp_path / "x.csv", "a.mp4 0\nb.mp4 9\nc.mp4 10\nd.mp4 -1"))
    with pytest.raises(
        DataError, match=r"x.csv:3: '.*c.mp4' has label 10, outside 0 to 9 \(2 clips are like that"
    ):
        clips.check_labels(10)
    good = read_list("kinetics", write(tmp_path / "y.csv", "a.mp4 0\nb.mp4 9\n"))
    good.check_labels(10)
    with pytest.raises(DataError, match="has label 9, outside 0 to 8;"):
        good.check_labels(9)
    unlabelled = read_list("hybrid", write(tmp_path / "z.csv", "a.mp4 0 -1\n"))
    with pytest.raises(DataError, match=r"z.csv:1: .* has no label"):
        unlabelled.check_labels(9)


# ---------------------------------------------------------------- as people's files are


def test_labels_of_tables_with_gaps_are_floats(tmp_path):
    clips = read_list("kinetics", write(tmp_path / "x.csv", "a.mp4 3.0\nb.mp4 0.\n"))
    assert clips.labels.tolist() == [3, 0]
    clips = read_list("activitynet", write(tmp_path / "y.csv", "a.mp4 9.5 1 2 7.0\n"))
    assert clips.labels.tolist() == [7]


def test_a_label_of_many_digits_is_told_with_its_line(tmp_path):
    path = write(tmp_path / "x.csv", "a.mp4 1\nb.mp4 99999999999\n")
    with pytest.raises(DataError, match=r"x.csv:2: the label is '99999999999'; .*nine digits"):
        read_list("kinetics", path)


def test_a_header_is_named_as_one(tmp_path):
    path = write(tmp_path / "x.csv", "video label\na.mp4 1\nb.mp4 2\n")
    assert detect_kind(path) == "kinetics"
    with pytest.raises(DataError, match=r"x.csv:1: .*; if it is a header, remove it"):
        read_list("kinetics", path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"a.mp4 1\n"), "x.csv is compressed .gzip.; unpack it first: gunzip"),
        ("a.mp4 1\n".encode("utf-16"), "x.csv is a text in UTF-16; save it as UTF-8"),
        (
            b"a.mp4 1\n" * 9999 + "é.mp4 1\n".encode("latin-1"),
            r"x.csv:10000: not a text in UTF-8 .byte 1 of 'é.mp4 1'.; save the file as UTF-8",
        ),
    ],
    ids=["gzip", "utf-16", "latin-1"],
)
def test_what_is_not_utf_8_says_what_it_is(tmp_path, data, message):
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_list("kinetics", tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("names", "template", "first"),
    [
        ("img_{:05d}.jpg", "img_{:05d}.jpg", 1),
        ("img_{:05d}.jpg", "img_{:05d}.jpg", 0),
        ("frame_{:010d}.jpg", "frame_{:010d}.jpg", 1),
        ("img_{:05d}.PNG", "img_{:05d}.PNG", 1),
        ("{}.jpg", "{:01d}.jpg", 1),
        ("{{x}}_{:02d}.jpeg", "{{x}}_{:02d}.jpeg", 1),
    ],
)
def test_a_folder_of_frames_shows_their_names(tmp_path, names, template, first):
    for number in range(first, 15):
        write(tmp_path / "v" / names.format(number), "")
    write(tmp_path / "v/thumb.jpg", "")
    write(tmp_path / "v/flow_x_00001.jpg", "")
    clips = read_list("something-something", write(tmp_path / "x.txt", "gone 9 1\nv 14 0\n"))
    assert [(c.template, c.first_frame) for c in clips] == [(template, first)] * 2
    assert template.format(12) == names.format(12)


def test_no_clip_has_no_frames(tmp_path):
    with pytest.raises(DataError, match=r"x.txt:2: 0 frames; expected at least 1"):
        read_list("something-something", write(tmp_path / "x.txt", "a 9 1\nb 0 1\n"))


def test_hybrid_lists_without_labels(tmp_path):
    clips = read_list("hybrid", write(tmp_path / "x.txt", "a 1 10 -1\nb.mp4 0 -1 -1\nc 1 9 3\n"))
    assert [clip.label for clip in clips] == [None, None, 3]
    assert detect_kind(write(tmp_path / "y.txt", "a 1 10\nb 0 20\n")) == "hybrid"
    assert detect_kind(write(tmp_path / "z.txt", "a 10 1\nb 20 0\n")) == "something-something"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("k.csv", '"label","youtube_id","time_start","time_end"\nx,y,1,2\n', "kinetics"),
        ("trainingSet.csv", "a/b.mp4,a,3,1\n", "moments"),
        ("wave_test_split2.txt", "a.avi 1\nb.avi 2\n", "hmdb51"),
        ("c.csv", "a.mp4,wave\nb.mp4,fly\n", "labelled"),
    ],
)
def test_formats_are_told_without_what_lies_beside(tmp_path, name, text, kind):
    assert detect_kind(write(tmp_path / name, text)) == kind


def test_a_table_with_semicolons_is_not_that_of_something_something(tmp_path):
    with pytest.raises(DataError, match=r"--format .line 1 is 'video;caption'"):
        detect_kind(write(tmp_path / "x.csv", "video;caption\na.mp4;a dog\n"))


@pytest.mark.parametrize("segment", [[1], None, [1, 2, 3], "1-2"])
def test_a_broken_segment_of_activitynet_is_a_bad_line(tmp_path, segment):
    good = {"subset": "training", "annotations": [{"label": "x", "segment": [0, 1]}]}
    bad = {"subset": "training", "annotations": [{"label": "x", "segment": segment}]}
    path = write(tmp_path / "a.json", json.dumps({"database": {"a": good, "b": bad}}))
    clips = read_list("activitynet", path, strict=False)
    assert len(clips) == 1
    assert "a.json: video 2 (b) has the segment" in clips.bad_lines[0].message
