"""Formats that name classes in words: official files, hand-written with their quirks."""

from __future__ import annotations

import json

import pytest

from internvideo.data.build import read_list
from internvideo.errors import ConfigError, DataError
from internvideo.formats.class_names import ClassNames


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "push up\npull, down\n"),
        ("a.txt", "push up,0\npull, down,1\n"),
        ("a.txt", "1 push up\n2 pull, down\n"),
        ("a.csv", "id,name\n0,push up\n1,pull, down\n"),
        ("a.csv", "name;id\npull, down;2\npush up;1\n"),
        ("a.json", ["push up", "pull, down"]),
        ("a.json", {"pull, down": "1", "push up": "0"}),
    ],
)
def test_class_lists_in_all_shapes(tmp_path, name, content):
    assert ClassNames.read(write(tmp_path / name, content)).names == ("push up", "pull, down")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\na\n", "a.txt:3: class 'a' comes twice"),
        ("a,0\nb,2\n", "the numbers of its 2 classes must go from 0 or 1 on"),
        ("a,5\nb,6\n", "must go from 0 or 1 on"),
        ("a,0\nb,0\n", "gaps or repetitions"),
    ],
)
def test_broken_class_lists(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        ClassNames.read(write(tmp_path / "a.txt", content))


SSV2 = [
    {
        "id": "78687",
        "label": "holding potato next to vicks vaporub bottle",
        "template": "Holding [something] next to [something]",
        "placeholders": ["potato", "vicks vaporub bottle"],
    },
    {
        "id": "42326",
        "label": "spreading margarine onto bread",
        "template": "Spreading [something] onto [something]",
        "placeholders": ["margarine", "bread"],
    },
]
SSV2_LABELS = {
    "Holding something next to something": "0",
    "Spreading something onto something": "1",
}


def test_something_something_v2_json(tmp_path):
    path = write(tmp_path / "train.json", SSV2)
    with pytest.raises(DataError, match=r"no labels.json .*--labels"):
        read_list("something-something", path)
    write(tmp_path / "labels.json", SSV2_LABELS)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/42326.mp4").touch()
    clips = read_list("something-something", path, root=tmp_path / "videos")
    assert [(clip.path, clip.label) for clip in clips] == [
        (str(tmp_path / "videos/78687.webm"), 0),
        (str(tmp_path / "videos/42326.mp4"), 1),
    ]
    test = read_list("something-something", write(tmp_path / "test.json", [{"id": "1420"}]))
    assert test[0].label is None
    write(tmp_path / "labels.json", {"Holding something beside something": "0"})
    with pytest.raises(DataError, match=r"train.json:1: class 'Holding something next .* Did you"):
        read_list("something-something", path)
    with pytest.raises(DataError, match="expected a json list of objects"):
        read_list("something-something", write(tmp_path / "x.json", {"id": 1}))
    with pytest.raises(DataError, match=r"x.json:1: not json"):
        read_list("something-something", write(tmp_path / "x.json", "[1,"))


def test_something_something_v1_csv(tmp_path):
    write(tmp_path / "something-something-v1-labels.csv", "Holding something\nTurning, slowly\n")
    path = write(
        tmp_path / "something-something-v1-train.csv",
        "100218;Turning, slowly\n24413;Holding something\n",
    )
    clips = read_list("something-something", path)
    assert [(c.path, c.label, c.template) for c in clips] == [
        (str(tmp_path / "100218"), 1, "{:05d}.jpg"),
        (str(tmp_path / "24413"), 0, "{:05d}.jpg"),
    ]


def test_lists_of_frame_folders_follow_the_first_folder(tmp_path):
    path = write(tmp_path / "val.txt", "a folder/7 48 3\nb 30 173\n")
    clips = read_list("something-something", path)
    assert (clips[0].path, clips[0].num_frames, clips[0].label) == (
        str(tmp_path / "a folder/7"),
        48,
        3,
    )
    assert (clips[0].template, clips[0].first_frame) == ("img_{:05d}.jpg", 1)
    write(tmp_path / "a folder/7/00000.jpg", "")
    clips = read_list("something-something", path)
    assert (clips[1].template, clips[1].first_frame) == ("{:05d}.jpg", 0)
    assert "{:05d}.jpg, from 0 on" in clips.description
    with pytest.raises(DataError, match=":2: expected 'folder total_frames label'"):
        read_list("something-something", write(tmp_path / "x.txt", "a 4 5\nb 7"))
    videos = read_list("something-something", write(tmp_path / "v.txt", "a b.webm 5\n"))
    assert videos[0].label == 5


def test_ucf101_lists(tmp_path):
    write(tmp_path / "classInd.txt", "1 ApplyEyeMakeup\r\n2 YoYo\r\n")
    train = write(
        tmp_path / "trainlist01.txt",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nYoYo/v_YoYo_g25_c05.avi 2\r\n",
    )
    test = write(tmp_path / "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi\n")
    clips = read_list("ucf101", train, root="/ucf")
    assert [(c.path, c.label) for c in clips] == [
        ("/ucf/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", 0),
        ("/ucf/YoYo/v_YoYo_g25_c05.avi", 1),
    ]
    assert clips.class_names == ("ApplyEyeMakeup", "YoYo")
    assert read_list("ucf101", test)[0].label == 1
    with pytest.raises(DataError, match=r":1: class 'YoYo' has the number 2 in .*, but 1 here"):
        read_list("ucf101", write(tmp_path / "x.txt", "YoYo/v.avi 1\n"))
    with pytest.raises(DataError, match=r":1: expected 'Class/video.avi number'"):
        read_list("ucf101", write(tmp_path / "x.txt", "v.avi 1\n"))
    with pytest.raises(DataError, match=r":1: class 'Yoyo' is not one of the 2"):
        read_list("ucf101", write(tmp_path / "x.txt", "Yoyo/v.avi 1\n"))


def test_hmdb51_splits(tmp_path):
    for split, codes in ((1, "120"), (2, "211")):
        lines = "".join(
            f"#20_Rhythm_clap_u_nm_np1_fr_goo_{i}.avi {code} \n" for i, code in enumerate(codes)
        )
        write(tmp_path / f"clap_test_split{split}.txt", lines)
        write(tmp_path / f"brush_hair_test_split{split}.txt", "a;b!_brush_hair_1.avi 1 \n")
    clips = read_list("hmdb51", tmp_path, root="/h", split="train")
    assert [(c.path, c.label) for c in clips] == [
        ("/h/brush_hair/a;b!_brush_hair_1.avi", 0),
        ("/h/clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", 1),
    ]
    assert [c.path[-5] for c in read_list("hmdb51", tmp_path, split="test1")] == ["1"]
    assert [c.path[-5] for c in read_list("hmdb51", tmp_path, split="test2")] == ["0"]
    one = tmp_path / "clap_test_split2.txt"
    assert len(read_list("hmdb51", one, split="train")) == 3
    for split, message in ((None, "no split was chosen"), ("val", "there is no split 'val'")):
        with pytest.raises(DataError, match=message):
            read_list("hmdb51", tmp_path, split=split)
    with pytest.raises(DataError, match=r"no files <class>_test_split3.txt"):
        read_list("hmdb51", tmp_path, split="train3")
    write(tmp_path / "clap_test_split1.txt", "x.avi 1\ny.avi 4\n")
    with pytest.raises(DataError, match=r"clap_test_split1.txt:2: expected 'video.avi 0, 1 or 2'"):
        read_list("hmdb51", tmp_path, split="train")


def test_moments_in_time(tmp_path):
    write(tmp_path / "moments_categories.txt", "clapping,0\nadult+female+speaking,1\n")
    text = (
        "adult+female+speaking/getty-a b_7.mp4,adult+female+speaking,3,0\nclapping/x.mp4,clapping\n"
    )
    clips = read_list("moments", write(tmp_path / "trainingSet.csv", text), root="/m/training")
    assert [(c.path, c.label) for c in clips] == [
        ("/m/training/adult+female+speaking/getty-a b_7.mp4", 1),
        ("/m/training/clapping/x.mp4", 0),
    ]
    with pytest.raises(DataError, match=r"x.csv:1: expected 'path,label'"):
        read_list("moments", write(tmp_path / "x.csv", "clapping/x.mp4 clapping\n"))
    with pytest.raises(DataError, match=r"x.csv:1: class 'claping' is not one of the 2"):
        read_list("moments", write(tmp_path / "x.csv", "clapping/x.mp4,claping\n"))


ACTIVITYNET = {
    "version": "VERSION 1.3",
    "taxonomy": [
        {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None},
        {"nodeId": 1, "nodeName": "Sports", "parentId": 0, "parentName": "Root"},
        {"nodeId": 2, "nodeName": "Zumba", "parentId": 1, "parentName": "Sports"},
        {"nodeId": 3, "nodeName": "Archery", "parentId": 1, "parentName": "Sports"},
    ],
    "database": {
        "--0edUL8zmA": {
            "duration": 92.18,
            "subset": "training",
            "resolution": "1920x1080",
            "url": "",
            "annotations": [
                {"segment": [0.01, 23.76], "label": "Zumba"},
                {"segment": [50.0, 92.18], "label": "Archery"},
            ],
        },
        "xyz": {"duration": 10, "subset": "testing", "annotations": [], "url": ""},
        "abc": {
            "duration": 11.5,
            "subset": "validation",
            "annotations": [{"segment": [1, 2], "label": "Archery"}],
        },
    },
}


def test_activitynet_json(tmp_path):
    path = write(tmp_path / "activity_net.v1-3.min.json", ACTIVITYNET)
    (tmp_path / "videos/sub").mkdir(parents=True)
    (tmp_path / "videos/v_--0edUL8zmA.mkv").touch()
    (tmp_path / "videos/sub/abc.webm").touch()
    clips = read_list("activitynet", path, root=tmp_path / "videos", split="train")
    assert [(c.start, c.end, c.duration, c.label) for c in clips] == [
        (0.01, 23.76, 92.18, 1),
        (50.0, 92.18, 92.18, 0),
    ]
    assert {c.path for c in clips} == {str(tmp_path / "videos/v_--0edUL8zmA.mkv")}
    assert clips.class_names == ("Archery", "Zumba")
    (validation,) = read_list("activitynet", path, root=tmp_path / "videos", split="validation")
    assert validation.path == str(tmp_path / "videos/sub/abc.webm")
    assert read_list("activitynet", path, split="val")[0].path == str(tmp_path / "v_abc.mp4")
    with pytest.raises(DataError, match="holds the splits testing, training, validation"):
        read_list("activitynet", path)
    with pytest.raises(DataError, match="lists no clips"):
        read_list("activitynet", path, split="test")
    with pytest.raises(DataError, match="expected a json with 'database'"):
        read_list("activitynet", write(tmp_path / "x.json", [1]))
    broken = {"database": {"a": {"subset": "x", "annotations": [{"label": "b"}]}}}
    with pytest.raises(DataError, match=r"video 1 \(a\) has an annotation without"):
        read_list("activitynet", write(tmp_path / "x.json", broken))


def test_hacs_clips_csv(tmp_path):
    text = (
        "classname,youtube_id,subset,start,end,label\n"
        "Zumba,-WqmKE,training,31.2,33.2,1\nZumba,-WqmKE,training,64.2,66.2,-1\n"
        "Archery,0ab,training,0.0,2.0,1\nArchery,0cd,validation,5.0,7.0,1\n"
    )
    path = write(tmp_path / "HACS_clips_v1.1.1.csv", text)
    (tmp_path / "Zumba").mkdir()
    (tmp_path / "Zumba/v_-WqmKE.mp4").touch()
    clips = read_list("hacs", path, split="train")
    assert [(c.path, c.start, c.end, c.label, c.line) for c in clips] == [
        (str(tmp_path / "Zumba/v_-WqmKE.mp4"), 31.2, 33.2, 1, 2),
        (str(tmp_path / "v_0ab.mp4"), 0.0, 2.0, 0, 4),
    ]
    with pytest.raises(DataError, match="holds the splits training, validation"):
        read_list("hacs", path)
    segments = read_list("hacs", write(tmp_path / "HACS_segments.json", ACTIVITYNET), split="val")
    assert segments[0].duration == 11.5


def test_a_split_where_there_is_a_file_for_each_is_refused(tmp_path):
    write(tmp_path / "x.csv", "a.mp4 1 2 3 4\n")
    for kind in ("something-something", "ucf101", "moments", "hybrid"):
        with pytest.raises(ConfigError, match=f"{kind} takes no split"):
            read_list(kind, tmp_path / "x.csv", split="train")
    with pytest.raises(DataError, match="leave out split='train'"):
        read_list("activitynet", tmp_path / "x.csv", split="train")
