"""Lists and shards as people have them: what is in them counts, not what they are called."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from internvideo.cli.application import app
from internvideo.data.build import open_list, read_list
from internvideo.data.config import ShardData
from internvideo.data.shards import open_shards
from internvideo.errors import DataError
from internvideo.formats.detect import detect_kind
from internvideo.video.preprocessing import PRESETS

CASES = Path(__file__).parents[3] / "shared" / "cases"
JSON_LINES = '{"video":"v0.mp4","label":0}\n{"video":"v1.mp4","label":1}\n'
SEMICOLONS = "path;label\nv0.mp4;0\nv1.mp4;1\n"


def case_text(name: str, file: str) -> str:
    path = CASES / name / file
    if not path.is_file():
        pytest.skip(f"the case {name} is not beside the project")
    return path.read_text()


def pairs(clips, folder: Path) -> list[tuple[str, int | None]]:
    return [(str(Path(clip.path).relative_to(folder)), clip.label) for clip in clips]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_case_12_json_lines_of_videos_and_labels(tmp_path):
    path = write(tmp_path / "list.jsonl", case_text("12-jsonl-as-labelled", "list.jsonl"))
    assert detect_kind(path) == "labelled"
    assert pairs(read_list("labelled", path), tmp_path) == [("v0.mp4", 0), ("v1.mp4", 1)]


@pytest.mark.parametrize("name", ["list.jsonl", "list.json", "list.txt", "list.csv", "list"])
@pytest.mark.parametrize(
    "text",
    [
        JSON_LINES,
        f"\ufeff\n{JSON_LINES}",
        '[{"video": "v0.mp4", "label": 0},\n {"video": "v1.mp4", "label": 1}]\n',
        '[\n  {"file_name": "v0.mp4", "Label": 0.0},\n  {"file_name": "v1.mp4", "Label": "1.0"}\n]',
        '{"path": "v0.mp4", "labels": [0], "caption": "a"}\n'
        '{"path": "v1.mp4", "labels": [1], "caption": "b"}\n',
        '{"video": {"bytes": null, "path": "v0.mp4"}, "class_id": 0}\n'
        '{"video": {"bytes": null, "path": "v1.mp4"}, "class_id": 1}\n',
        '{"clip_path": "v0.mp4", "action": "0"}\n{"clip_path": "v1.mp4", "action": "1"}\n',
    ],
)
def test_json_is_told_by_its_content(tmp_path, name, text):
    path = write(tmp_path / name, text)
    assert pairs(read_list("labelled", path), tmp_path) == [("v0.mp4", 0), ("v1.mp4", 1)]
    if "caption" not in text:
        assert detect_kind(path) == "labelled"


def test_other_formats_tell_json_by_its_content(tmp_path):
    video = {"duration": 9.0, "subset": "training", "annotations": []}
    video["annotations"] = [{"segment": [1.0, 3.0], "label": "Archery"}]
    path = write(tmp_path / "anet.txt", json.dumps({"database": {"abc": video}}))
    assert detect_kind(path) == "activitynet"
    assert [clip.label for clip in read_list("activitynet", path)] == [0]
    path = write(tmp_path / "rows.txt", '{"video": "a.mp4", "caption": "a dog"}\n')
    assert detect_kind(path) == "captions"
    assert read_list("captions", path)[0].captions == ("a dog",)
    labels = write(tmp_path / "classes.txt", '{"swim": 1, "run": 0}')
    path = write(tmp_path / "list.csv", "a.mp4,swim\n")
    assert read_list("labelled", path, labels=labels).class_names == ("run", "swim")
    with pytest.raises(DataError, match=r"holds json.*'labelled'"):
        read_list("kinetics", write(tmp_path / "list.csv", JSON_LINES))


def test_parquet_with_labels(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"video": ["v0.mp4", "v1.mp4"], "label": [0.0, 1.0]})
    parquet.write_table(table, tmp_path / "list.parquet")
    assert detect_kind(tmp_path / "list.parquet") == "labelled"
    clips = read_list("labelled", tmp_path / "list.parquet")
    assert pairs(clips, tmp_path) == [("v0.mp4", 0), ("v1.mp4", 1)]


@pytest.mark.parametrize(
    "text", ["path,label\nv0.mp4,0.0\nv1.mp4,1.0\n", "v0.mp4 0.0\nv1.mp4 1.0\n"]
)
def test_labels_may_be_written_as_floats(tmp_path, text):
    path = write(tmp_path / "list.csv", text)
    assert pairs(read_list(detect_kind(path), path), tmp_path) == [("v0.mp4", 0), ("v1.mp4", 1)]
    write(path, text.replace("1.0", "1.5"))
    with pytest.raises(DataError, match=r"list.csv:\d: the label is '1.5'; expected a whole"):
        read_list(detect_kind(path), path)


def test_case_25_semicolons_are_named(tmp_path):
    path = write(tmp_path / "list.csv", case_text("25-small-messages", "semicolon.csv"))
    with pytest.raises(DataError, match=r"separated by ';'.*replace the ';'"):
        read_list("labelled", path)


@pytest.mark.parametrize("text", [SEMICOLONS, SEMICOLONS.partition("\n")[2]])
@pytest.mark.parametrize("told", [True, False])
def test_semicolons_are_named(tmp_path, text, told):
    path = write(tmp_path / "list.csv", text)
    with pytest.raises(DataError, match=r"separated by ';'.*replace the (last )?';'"):
        read_list("labelled" if told else detect_kind(path), path)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("kinetics", "a.mp4 1\nb.mp4 3,17\n"),
        ("kinetics", "a.mp4 1\nb.mp4 3 17 2\n"),
        ("kinetics", "a.mp4,0,1,1,0\nb.mp4,0,0,1,0\n"),
        ("hybrid", "a.mp4 3 17\nb.mp4 1 5\n"),
        ("something-something", "a.mp4 3 17\nb.mp4 2 5\n"),
        ("labelled", "path,label\na.mp4,1\nb.mp4,3;17\n"),
        ("labelled", 'path,label\na.mp4,1\nb.mp4,"[3, 17]"\n'),
        ("labelled", "a.mp4,1\nb.mp4,3,17\n"),
        ("labelled", "path,label\na.mp4,swim\nc.mp4,run\nb.mp4,swim|run\n"),
        ("labelled", '{"video": "a.mp4", "label": 1}\n{"video": "b.mp4", "label": [3, 17]}\n'),
        ("labelled", '{"video": "a.mp4", "label": "x"}\n{"video": "b.mp4", "label": ["x", "y"]}\n'),
    ],
)
def test_several_labels_for_a_video_are_refused_by_name(tmp_path, kind, text):
    path = write(tmp_path / "list.txt", text)
    with pytest.raises(DataError, match=r"list.txt:\d: .*multi-label"):
        read_list(kind, path)


def test_names_with_numbers_are_one_label(tmp_path):
    path = write(tmp_path / "list.txt", "my video.mp4 2\nrun 7 of 9.mp4 1\ntake.mp4 2/x.mp4 0\n")
    assert [clip.label for clip in read_list("kinetics", path)] == [2, 1, 0]
    text = "file,label\na.mp4,[Something] falls\nb.mp4,push; pull\nc.mp4,push\n"
    assert len(read_list("labelled", write(tmp_path / "list.csv", text))) == 3


def one_based(folder: Path) -> Path:
    return write(folder / "list.csv", "a.mp4 1\nb.mp4 2\nc.mp4 3\n")


def test_labels_that_count_from_one_are_told_and_shifted(tmp_path, caplog):
    path, protocol = one_based(tmp_path), PRESETS["nano"]
    source = open_list("kinetics", path, protocol=protocol)
    with pytest.raises(DataError, match=r"counts from 1 to 3: add first_label: 1"):
        source.check_labels(3)
    source.check_labels(4)
    assert "first_label: 1" in caplog.text
    shifted = open_list("kinetics", path, protocol=protocol, first_label=1)
    assert [clip.label for clip in shifted.clips] == [0, 1, 2]
    caplog.clear()
    shifted.check_labels(3)
    assert not caplog.text
    with pytest.raises(DataError, match=r"list.csv:2: the label is 0, but .* first_label"):
        read_list("kinetics", write(path, "a.mp4 1\nb.mp4 0\n"), first_label=1)


def test_data_check_tells_that_labels_count_from_one(tmp_path):
    path = str(one_based(tmp_path))
    command = ["data", "check", path, "--every", "0"]
    told = CliRunner().invoke(app, [*command, "--num-classes", "3"])
    assert "--first-label 1" in " ".join(told.output.split())
    assert "--first-label 1" in CliRunner().invoke(app, command).output
    shifted = CliRunner().invoke(app, [*command, "--first-label", "1"])
    assert "--first-label" not in shifted.output


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_what_macos_puts_beside_files_is_no_sample(tmp_path):
    """As `tar` packs a folder on macOS: each file has a `._` twin, which is no video."""
    with tarfile.open(tmp_path / "clips-000000.tar", "w") as tar:
        for number in range(2):
            for name, data in (
                (f"{number}.mp4", b"video"),
                (f"{number}.cls", b"%d" % (number + 1)),
            ):
                add(tar, f"train/._{name}", b"\0\5\26\7")
                add(tar, f"train/{name}", data)
    (tmp_path / "._clips-000000.tar").write_bytes(b"\0\5\26\7")
    source = open_shards(tmp_path, protocol=PRESETS["nano"])
    assert source.names == ("clips-000000.tar",)
    assert [(clip.path, clip.label) for clip in source.clips] == [
        ("train/0.mp4", 1),
        ("train/1.mp4", 2),
    ]
    shifted = ShardData(kind="shards", shards=str(tmp_path), first_label=1)
    labels = shifted.open(PRESETS["nano"], None).clips.labels
    assert np.array_equal(labels, [0, 1])


def test_what_macos_puts_beside_files_is_in_no_list(tmp_path):
    for name in ("swim/a.mp4", "swim/._a.mp4", "run/b.mp4", "._run"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [clip.label for clip in read_list("class-folders", tmp_path)] == [0, 1]
