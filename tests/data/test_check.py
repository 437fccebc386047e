"""`data check` and `data shard`: what is found in lists with every kind of fault."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from internvideo.cli.application import run
from internvideo.data import check as check_module
from internvideo.data import write_world
from internvideo.data.build import read_list
from internvideo.data.check import check_list, write_clean
from internvideo.errors import ConfigError, DataError
from internvideo.formats.detect import detect_kind
from internvideo.video import write_video
from internvideo.world import (
    World,
)

WORLD = World(seed=3, size=16, num_frames=4, objects=("star",))


def clip(path, num_frames: int = 8):
    generator = torch.Generator().manual_seed(num_frames)
    frames = torch.randint(0, 256, (num_frames, 32, 40, 3), generator=generator, dtype=torch.uint8)
    return write_video(path, frames, fps=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("faults")
    data = clip(root / "good one.mp4", 40).read_bytes()
    clip(root / "single.mp4", 1)
    (root / "cut.mp4").write_bytes(data[: len(data) // 2])
    (root / "text.mp4").write_text("no video\n" * 50)
    (root / "empty.mp4").write_bytes(b"")
    return root


LINES = """good one.mp4 0
gone.mp4 1
cut.mp4 0
text.mp4 1
empty.mp4 0
single.mp4 1
good one.mp4 0
good one.mp4 1
single.mp4 7
"""


def kinds(report) -> list[tuple[int, str]]:
    return [(problem.line, problem.kind) for problem in report.problems]


def test_every_kind_of_fault_is_found_with_its_line(folder, tmp_path):
    (tmp_path / "list.csv").write_text(LINES)
    clips = read_list("kinetics", tmp_path / "list.csv", root=folder)
    seen = []
    report = check_list(
        clips, every=1, num_classes=3, workers=2, progress=lambda *args: seen.append(args)
    )
    assert sorted(kinds(report)) == [
        (2, "missing"),
        (3, "corrupt"),
        (4, "corrupt"),
        (5, "corrupt"),
        (6, "short"),
        (7, "duplicate"),
        (8, "duplicate"),
        (9, "duplicate"),
        (9, "label"),
        (9, "short"),
    ]
    messages = {(p.line, p.kind): p.message for p in report.problems}
    assert messages[7, "duplicate"] == "also on line 1"
    assert messages[8, "duplicate"] == "also on line 1 with label 0, here 1"
    assert messages[9, "label"] == "label 7; 3 classes are 0 to 2"
    assert messages[6, "short"] == "1 frame; at least 2 are wanted"
    assert (report.num_clips, report.num_opened) == (9, 8)
    assert report.class_counts == {0: 4, 1: 4, 7: 1}
    assert report.empty_classes == (2,)
    assert seen[-1] == ("opening videos", 8, 8)
    assert ("looking for files", 9, 9) in seen


def test_only_every_nth_is_opened_but_all_are_looked_for(folder, tmp_path):
    (tmp_path / "list.csv").write_text(LINES)
    clips = read_list("kinetics", tmp_path / "list.csv", root=folder)
    third = check_list(clips, every=3)
    assert third.num_opened == 3
    assert (2, "missing") in kinds(third)
    assert [p.line for p in third.problems if p.kind == "corrupt"] == [4]
    none = check_list(clips, every=0)
    assert none.num_opened == 0
    assert {p.kind for p in none.problems} == {"missing", "duplicate"}


def test_parts_and_frames_are_checked(folder, tmp_path):
    (tmp_path / "parts.csv").write_text(
        "good one.mp4 5 1 4 0\ngood one.mp4 5 7 9 0\ngood one.mp4 5 1 1.1 0\n"
    )
    clips = read_list("activitynet", tmp_path / "parts.csv", root=folder)
    assert kinds(check_list(clips, every=1)) == [(2, "part"), (3, "short")]
    (tmp_path / "frames.txt").write_text("0 4 3\n0 5 3\n1 4 3\n")
    written = write_world(tmp_path / "ssv2", 2, kind="ssv2-rawframes", world=WORLD)
    assert written.videos
    clips = read_list(
        "something-something", tmp_path / "frames.txt", root=tmp_path / "ssv2/rawframes"
    )
    report = check_list(clips, every=1)
    assert kinds(report) == [(2, "corrupt"), (2, "duplicate")] or kinds(report) == [
        (2, "duplicate"),
        (2, "corrupt"),
    ]
    assert any("img_00005.jpg: no such frame" in p.message for p in report.problems)


def hang(question):
    import time

    if question[0].line == 2:
        time.sleep(60)


def test_a_video_that_hangs_is_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(check_module, "_look", hang)
    (tmp_path / "list.csv").write_text("good one.mp4 0\nsingle.mp4 0\ncut.mp4 0\n")
    clips = read_list("kinetics", tmp_path / "list.csv", root=folder)
    report = check_list(clips, every=1, timeout=0.5)
    assert kinds(report) == [(2, "timeout")]
    assert report.problems[0].message == "not read within 0.5 s"


def test_a_clean_copy_lacks_the_bad_lines(folder, tmp_path):
    (tmp_path / "list.csv").write_text("\n" + LINES.replace("\n", "\r\n"), newline="")
    clips = read_list("kinetics", tmp_path / "list.csv", root=folder)
    report = check_list(clips, every=1)
    assert write_clean(clips, report, tmp_path / "clean.csv") == 8
    assert (tmp_path / "clean.csv").read_text().split() == ["good", "one.mp4", "0"]
    with pytest.raises(ConfigError, match="is the annotation file itself"):
        write_clean(clips, report, tmp_path / "list.csv")
    write_world(tmp_path / "m", 4, kind="msrvtt", world=WORLD, splits=(1.0, 0.0, 0.0))
    clips = read_list("msrvtt", tmp_path / "m/MSRVTT_data.json", split="train")
    with pytest.raises(ConfigError, match="only lists with one clip a line"):
        write_clean(clips, report, tmp_path / "clean.json")


def test_of_a_folder_of_classes_a_list_without_the_bad_videos_is_written(tmp_path, capsys):
    write_world(tmp_path / "w", 3, world=WORLD, splits=(1.0, 0.0, 0.0))
    videos = sorted((tmp_path / "w/videos").iterdir())
    for name, video in zip(("a dog", "b", "b"), videos, strict=True):
        (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
        video.rename(tmp_path / "own" / name / video.name)
    (tmp_path / "own/a dog/broken.mp4").write_text("no video")
    clean = tmp_path / "lists/clean.csv"
    arguments = ["data", "check", tmp_path / "own", "--every", "1", "--write-clean", clean]
    assert run([*map(str, arguments)]) == 1
    assert "clean.csv has the list without 1 line\n" in capsys.readouterr().err
    clips = read_list("labelled", clean)
    assert clips.class_names == ("a dog", "b")
    assert list(clips.labels) == [0, 1, 1]
    assert all(Path(clips.path(place)).is_file() for place in range(3))
    run([*map(str, [*arguments[:3], "--write-clean", clean])])
    assert "not every video was opened: --every 1 does" in capsys.readouterr().err


def test_all_bad_lines_are_told_and_left_out(folder, tmp_path, capsys):
    good = "good one.mp4 0\n" * 9
    path = tmp_path / "list.csv"
    path.write_text(f"good one.mp4 0\nno label\nsingle.mp4,3\n{good}a.mp4 1.5\n")
    with pytest.raises(DataError, match=r":2: expected 'path label'.* \(2 more lines cannot be"):
        read_list("kinetics", path)
    clips = read_list("kinetics", path, root=folder, strict=False)
    assert len(clips) == 10
    assert [bad.line for bad in clips.bad_lines] == [2, 3, 13]
    report = check_list(clips, every=0)
    told = [(p.line, p.message) for p in report.problems if p.kind == "line"]
    assert [line for line, _ in told] == [2, 3, 13]
    assert "fields are separated by a comma, those of line 1 by a space" in told[1][1]
    assert "the label is '1.5'" in told[2][1]
    clean = tmp_path / "clean.csv"
    arguments = ["data", "check", str(path), "--root", str(folder), "--workers", "1"]
    assert run([*arguments, "--write-clean", str(clean)]) == 1
    assert "1 of 10 videos opened; problems: 3 line, 9 duplicate" in capsys.readouterr().out
    assert clean.read_text() == "good one.mp4 0\n"
    path.write_text("a;1\nb;2\n")
    with pytest.raises(DataError, match=":1: fields are separated by ';'"):
        read_list("kinetics", path, strict=False)


def test_formats_are_told_from_the_content(tmp_path):
    write_world(tmp_path / "k", 4, world=WORLD)
    write_world(tmp_path / "u", 4, kind="ucf101", world=WORLD)
    write_world(tmp_path / "h", 4, kind="hmdb51", world=WORLD)
    write_world(tmp_path / "s", 4, kind="ssv2-rawframes", world=WORLD)
    write_world(tmp_path / "m", 4, kind="msrvtt", world=WORLD)
    lists = {
        "k/train.csv": "kinetics",
        "u/trainlist01.txt": "ucf101",
        "u/testlist01.txt": "ucf101",
        "h/splits": "hmdb51",
        "s/train.json": "something-something",
        "s/train_rawframes.txt": "something-something",
        "m/MSRVTT_data.json": "msrvtt",
    }
    for name, kind in lists.items():
        assert detect_kind(tmp_path / name) == kind
    texts = {
        "label,youtube_id,time_start,time_end,split\nx,y,1,2,train\n": "kinetics",
        "classname,youtube_id,subset,start,end,label\nx,y,t,1,2,1\n": "hacs",
        "a b.mp4 120.5 3 18.25 7\n": "activitynet",
        "a.mp4 0 -1\nb 1 30\n": "hybrid",
        "a.mp4 0 -1 5\nb 1 30 5\n": "hybrid",
        "12;Doing something\n": "something-something",
        "a.mp4\t3\n": "kinetics",
    }
    for text, kind in texts.items():
        (tmp_path / "x.csv").write_text(text)
        assert detect_kind(tmp_path / "x.csv") == kind
    (tmp_path / "moments_categories.txt").write_text("a,0\n")
    (tmp_path / "x.csv").write_text("a/b.mp4,a,3,0\n")
    assert detect_kind(tmp_path / "x.csv") == "moments"
    for name, text in (("x.json", "[]"), ("y.json", "{}"), ("z/notes.txt", "hello\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="--format"):
            detect_kind(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="--format"):
        detect_kind(tmp_path / "empty")


def test_labels_count_from_0_where_no_number_of_classes_is_known(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "x.csv").write_text("a.mp4 -1\n")
    report = check_list(read_list("kinetics", tmp_path / "x.csv"), every=0)
    assert [p.message for p in report.problems] == ["label -1; labels count from 0"]


def test_a_hole_in_a_folder_of_frames_is_found_wherever_it_is(tmp_path):
    write_world(tmp_path, 4, kind="ssv2-rawframes", world=World(seed=3, size=16, num_frames=10))
    (tmp_path / "rawframes/0/img_00004.jpg").unlink()
    (tmp_path / "x.txt").write_text("0 10 0\n1 10 0\n1 99999999 1\n")
    clips = read_list("something-something", tmp_path / "x.txt", root=tmp_path / "rawframes")
    report = check_list(clips, every=1, timeout=20)
    messages = [(p.line, p.message) for p in report.problems if p.kind == "corrupt"]
    assert [line for line, _ in messages] == [1, 3]
    assert "0/img_00004.jpg: no such frame; the annotation counts 10" in messages[0][1]
    assert "from img_00001.jpg on, the folder holds 9 files" in messages[0][1]
    assert "1/img_00011.jpg: no such frame" in messages[1][1]


def test_what_is_missing_may_be_close(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("gone.mp4")
    (tmp_path / "x.csv").write_text("a\\b.mp4 0\nlink.mp4 0\n./a/b.mp4 1\na/b.mp4 1\n")
    report = check_list(read_list("kinetics", tmp_path / "x.csv"), every=0)
    windows, link, twice = report.problems
    assert "there is one with / in place of \\" in windows.message
    assert link.message == "a link to gone.mp4, which is not there"
    assert (twice.line, twice.message) == (4, "also on line 3")


def test_a_video_much_shorter_than_annotated_is_cut_off(tmp_path):
    clip(tmp_path / "a.mp4", 40)
    (tmp_path / "x.csv").write_text("a.mp4 5.2 1 2 0\na.mp4 30 1 3 0\n")
    report = check_list(read_list("activitynet", tmp_path / "x.csv"), every=1)
    (problem,) = report.problems
    assert (problem.line, problem.kind) == (2, "part")
    assert "the video lasts 5 s, by the annotation 30 s" in problem.message


def test_ctrl_c_keeps_what_was_found(folder, tmp_path, monkeypatch, capfd):
    (tmp_path / "list.csv").write_text(LINES)
    outcomes = check_module.map_with_timeout

    def stopped(function, items, **settings):
        for number, outcome in enumerate(outcomes(function, items, **settings)):
            if number == 2:
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(check_module, "map_with_timeout", stopped)
    arguments = ["data", "check", str(tmp_path / "list.csv"), "--root", str(folder), "--json"]
    clean = tmp_path / "good.csv"
    assert run([*arguments, "--every", "1", "--workers", "1", "--write-clean", str(clean)]) == 130
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert report["interrupted"]
    assert report["num_opened"] == 2
    assert report["counts"] == {"missing": 1, "duplicate": 3, "corrupt": 1}
    assert not clean.exists()
    assert captured.err == (
        f"note: stopped: these are the problems found until then; {clean} is not written\n"
        "error: interrupted\n"
    )


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_paths_that_a_terminal_cannot_show_are_escaped(tmp_path, monkeypatch, more):
    (tmp_path / "list.csv").write_text("été.mp4 0\n", encoding="utf-8")
    printed = io.BytesIO()
    with io.TextIOWrapper(printed, encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert run(["data", "check", str(tmp_path / "list.csv"), "--every", "0", *more]) == 1
        terminal.flush()
        monkeypatch.undo()
        text = printed.getvalue().decode("ascii")
    if more:
        assert json.loads(text)["problems"][0]["path"] == str(tmp_path / "été.mp4")
    else:
        assert r"\xe9t\xe9.mp4" in text


def test_a_wrong_root_is_told(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\n")
    assert run(["data", "check", str(tmp_path / "list.csv"), "--every", "1"]) == 1
    assert "note: no video is where the list says; --root names" in capsys.readouterr().err


def test_the_command_prints_a_table_and_fails(folder, tmp_path, capsys):
    (tmp_path / "list.csv").write_text(LINES)
    arguments = ["data", "check", str(tmp_path / "list.csv"), "--root", str(folder)]
    assert run([*arguments, "--every", "1", "--num-classes", "2", "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert "Kinetics list, separated by a space; 9 clips, 3 classes of 1 to 4 clips" in out
    assert "8 of 9 videos opened; problems: 1 missing, 3 corrupt" in out
    assert "label 7; 2 classes are 0 to 1" in out
    assert run([*arguments, "--json", "--every", "0", "--write-clean", str(tmp_path / "c")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == {"missing": 1, "duplicate": 3}
    assert report["problems"][0]["line"] == 2
    assert len((tmp_path / "c").read_text().splitlines()) == 5


def test_the_command_is_content_with_a_good_list(tmp_path, capsys):
    write_world(tmp_path, 10, world=WORLD)
    assert run(["data", "check", str(tmp_path / "train.csv"), "--workers", "1"]) == 0
    assert "1 of 8 videos opened; problems: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "gone.csv"], "no annotation file gone.csv"),
        (["shard", "bad.csv", "--out", "s"], "bad.csv:2: expected 'path label', got 'b.mp4'"),
        (["check", "bad.csv", "--format", "kinetic"], "Did you mean 'kinetics'"),
        (["shard", "list.csv", "--out", "s", "--max-size", "big"], "'big' is no size"),
        (["shard", "list.csv", "--out", "s", "--max-size", "1KB"], "must be at least 65,536"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("a.mp4 1\nb.mp4\n" + 9 * "a.mp4 1\n")
    (tmp_path / "list.csv").write_text("a.mp4 1\n")
    assert run(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_shard_command(tmp_path, capsys):
    write_world(tmp_path, 10, world=WORLD)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("gone.mp4 0\n")
    arguments = ["data", "shard", str(tmp_path / "train.csv"), "--out", str(tmp_path / "s")]
    assert run([*arguments, "--max-size", "0.5MB", "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "8 clips in 1 shards: " in captured.out
    assert "1 of 9 videos could not be used:" in captured.err
    assert "gone.mp4" in captured.err
    assert run([*arguments, "--max-size", "0.5MB"]) == 1
    assert "(1 were there already)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fmt", "files"),
    [
        ("ssv2", ["train.json", "labels.json", "videos/0.mp4"]),
        ("ssv2-rawframes", ["train.json", "test_rawframes.txt", "rawframes/0/img_00004.jpg"]),
        ("ucf101", ["trainlist01.txt", "classInd.txt"]),
        ("hmdb51", ["splits/move_left_test_split1.txt"]),
    ],
)
def test_the_world_command_writes_every_format(tmp_path, capsys, fmt, files):
    arguments = ["world", "-o", str(tmp_path), "-n", "5", "--size", "16", "--num-frames", "4"]
    assert run([*arguments, "-f", fmt, "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"5 clips in {tmp_path}: ")
    for name in files:
        assert (tmp_path / name).is_file()
