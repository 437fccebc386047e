from __future__ import annotations

import json

import pytest

from internvideo.data.build import read_list
from internvideo.errors import DataError
from internvideo.formats.detect import detect_kind


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def pairs(clips):
    return [(clip.path, clip.label) for clip in clips]


@pytest.fixture
def folder(tmp_path):
    for name in ("打篮球/b.mp4", "打篮球/deep/a.webm", "swim/c.avi", ".hidden/d.mp4"):
        write(tmp_path / "videos" / name, "")
    (tmp_path / "videos/empty").mkdir()
    write(tmp_path / "videos/notes.txt", "no video")
    return tmp_path / "videos"


def test_a_folder_for_each_class(folder):
    assert detect_kind(folder) == "class-folders"
    clips = read_list("class-folders", folder)
    assert clips.class_names == ("empty", "swim", "打篮球")
    assert pairs(clips) == [
        (f"{folder}/swim/c.avi", 1),
        (f"{folder}/打篮球/b.mp4", 2),
        (f"{folder}/打篮球/deep/a.webm", 2),
    ]


def test_a_class_list_says_the_order_of_the_folders(folder, tmp_path):
    labels = write(tmp_path / "labels.txt", "打篮球\nswim\nempty\nfly\n")
    clips = read_list("class-folders", folder, labels=labels)
    assert clips.class_names == ("打篮球", "swim", "empty", "fly")
    assert [clip.label for clip in clips] == [1, 0, 0]
    write(labels, "打篮球\nswimm\nempty\n")
    with pytest.raises(DataError, match=r"'swim' is not one of the 3 classes .*mean 'swimm'"):
        read_list("class-folders", folder, labels=labels)


def test_a_split_is_a_folder_of_folders(folder):
    clips = read_list("class-folders", folder.parent, split="videos")
    assert len(clips) == 3
    with pytest.raises(DataError, match=r"no folder .*/test; expected one folder for each class"):
        read_list("class-folders", folder, split="test")


def test_folders_without_videos(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected .*/CLASS/VIDEO"):
        read_list("class-folders", tmp_path)
    with pytest.raises(DataError, match="holds the videos; leave out the root elsewhere"):
        read_list("class-folders", tmp_path, root="elsewhere")


def test_the_folder_of_a_data_set_is_no_folder_of_classes(tmp_path):
    write(tmp_path / "msvd/videos/a.avi", "")
    assert detect_kind(tmp_path / "msvd") == "class-folders"
    write(tmp_path / "msvd/train_list.txt", "a\n")
    with pytest.raises(DataError, match=r"name one of them: train_list\.txt"):
        detect_kind(tmp_path / "msvd")


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.mp4,swim\nb, c.mp4,打篮球\n".replace("b, c", '"b, c').replace(
            "c.mp4,", 'c.mp4",'
        ),
        'a.mp4,swim\n"b, c.mp4",打篮球\n',
        "video\tlabel\na.mp4\tswim\nb, c.mp4\t打篮球\n",
        'n,class,Path\n1,swim,a.mp4\n\n2,打篮球,"b, c.mp4"\n',
        '\ufeffpath,label\r\na.mp4,swim\r\n"b, c.mp4",打篮球\r\n',
    ],
)
def test_a_csv_with_classes_in_words(tmp_path, text):
    path = write(tmp_path / "list.csv", text)
    assert detect_kind(path) == "labelled"
    clips = read_list("labelled", path)
    assert clips.class_names == ("swim", "打篮球")
    assert pairs(clips) == [(f"{tmp_path}/a.mp4", 0), (f"{tmp_path}/b, c.mp4", 1)]


@pytest.mark.parametrize("key", ["label", "caption"])
def test_a_json_list_of_videos_and_classes(tmp_path, key):
    content = [{"video": "a.mp4", key: "swim"}, {"video": "b.mp4", key: "fly"}]
    path = write(tmp_path / "k400_act_val.json", json.dumps(content))
    clips = read_list("labelled", path, root="videos")
    assert pairs(clips) == [("videos/a.mp4", 1), ("videos/b.mp4", 0)]


def test_numbers_stand_for_the_classes_of_a_list(tmp_path):
    path = write(tmp_path / "list.csv", "file,label\na.mp4,1\nb.mp4,0\n")
    labels = write(tmp_path / "labels.txt", "swim\nfly\n")
    assert [clip.label for clip in read_list("labelled", path, labels=labels)] == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,label\na.mp4,swim\nb.mp4,\n", "a.csv:3: expected 'file,label'"),
        ("a.csv", "file,label\na.mp4\n", "a.csv:2: expected 'file,label'"),
        ("a.csv", "file,label\n", "lists no clips"),
        ("a.json", '[{"video": "a.mp4"}]', "a.json:1: expected an object with 'video'"),
        (
            "a.json",
            '[{"video": ["x.jpg"], "caption": "x"}]',
            "a.json:1: .*x.jpg. on, which has no number",
        ),
        ("a.json", '{"video": "a.mp4"}', "a.json:1: expected an object with 'video'"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_list("labelled", write(tmp_path / name, text))


def test_a_label_outside_the_class_list(tmp_path):
    path = write(tmp_path / "list.csv", "a.mp4,swim\nb.mp4,fly\n")
    labels = write(tmp_path / "labels.txt", "swim\nflying\n")
    with pytest.raises(DataError, match=r"list.csv:2: class 'fly' is not one of the 2"):
        read_list("labelled", path, labels=labels)


@pytest.mark.parametrize("header", ["path,label", "filename,class_id", ",video_path,label"])
def test_labels_that_are_numbers_are_not_put_in_alphabetical_order(tmp_path, header):
    place = "7," if header.startswith(",") else ""
    text = "".join(f"{place}{n}.mp4,{label}\n" for n, label in enumerate((10, 2, "1.0", 9)))
    path = write(tmp_path / "list.csv", f"{header}\n{text}")
    assert detect_kind(path) == "labelled"
    clips = read_list("labelled", path)
    assert [clip.label for clip in clips] == [10, 2, 1, 9]
    assert clips.class_names is None
    write(path, f"{header}\n{text}{place}x.mp4,nan\n")
    with pytest.raises(DataError, match=r"list.csv:6: the label is 'nan'; expected a whole number"):
        read_list("labelled", path)


def test_a_json_may_have_numbers_and_frame_files(tmp_path):
    frames = [f"v/1/img_{number:05d}.jpg" for number in range(3, 8)]
    content = [{"video": frames, "label": 4}, {"video": "a.mp4", "label": 11}]
    clips = read_list("labelled", write(tmp_path / "act_val.json", json.dumps(content)))
    assert pairs(clips) == [(f"{tmp_path}/v/1", 4), (f"{tmp_path}/a.mp4", 11)]
    assert (clips[0].template, clips[0].first_frame) == ("img_{:05d}.jpg", 3)
    assert (clips[0].num_frames, clips[1].num_frames) == (5, None)
    content[0]["video"] = frames[::2]
    with pytest.raises(DataError, match=r"act_val.json:1: frame 2 of the list is 'v/1/img_00005"):
        read_list("labelled", write(tmp_path / "act_val.json", json.dumps(content)))
