"""`data check` and `data shard` on tables of captions."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from internvideo.cli.application import run
from internvideo.data.build import read_list
from internvideo.data.check import check_list, write_clean
from internvideo.video import write_video

CSV = """path,text,begin,end,id
长 片.mp4,"一,
二",0.5,1.5,1
长 片.mp4,again,0.5,1.5,2
图.png,a picture,,,3
长 片.mp4,"一,
二",0.5,1.5,4
长 片.mp4,too late,9,10,5
gone.mp4,missing,,,6
长 片.mp4,,,,7
长 片.mp4,5" of it,,,3
"""
COLUMNS = ["--column", "caption=text", "--column", "start=begin"]


@pytest.fixture
def listed(tmp_path):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (16, 32, 40, 3), generator=generator, dtype=torch.uint8)
    write_video(tmp_path / "长 片.mp4", frames, fps=8)
    Image.fromarray(frames[0].numpy()).save(tmp_path / "图.png")
    (tmp_path / "x.csv").write_text(CSV, encoding="utf-8")
    return tmp_path / "x.csv"


def test_everything_wrong_is_found_and_can_be_left_out(listed, tmp_path, capsys):
    clean = tmp_path / "clean.csv"
    arguments = ["data", "check", str(listed), *COLUMNS, "--every", "1", "--workers", "1"]
    assert run([*arguments, "--json", "--write-clean", str(clean)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(p["line"], p["kind"]) for p in report["problems"]] == [
        (6, "duplicate"),
        (8, "part"),
        (9, "missing"),
        (10, "line"),
        (11, "line"),
    ]
    assert report["problems"][0]["message"] == "also on line 2"
    assert report["num_captions"] == 6
    assert "the id '3' is that of row 5, too" in report["problems"][4]["message"]
    lines = CSV.splitlines(keepends=True)
    assert clean.read_text(encoding="utf-8") == "".join(lines[:5])
    assert run(["data", "check", str(clean), *COLUMNS, "--every", "1", "--workers", "1"]) == 0
    assert "3 clips, no labels, 3 captions" in capsys.readouterr().out


def test_broken_rows_stop_shards_unless_they_may_be_skipped(listed, tmp_path, capsys):
    arguments = ["data", "shard", str(listed), "--out", str(tmp_path / "s"), *COLUMNS]
    assert run([*arguments, "--workers", "1"]) == 2
    assert "x.csv:10: the caption is empty (1 more lines cannot" in capsys.readouterr().err
    assert run([*arguments, "--workers", "1", "--skip-bad", "--cut"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("4 clips in 1 shards")
    assert "begins at 9 s, but the video is over" in printed.err
    assert "gone.mp4: no such file" in printed.err


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["--column", "captoin=text"], "Did you mean 'caption'"),
        (["--column", "caption"], "not of the form NAME=COLUMN"),
        (["--column", "min_words=two"], "expected a number"),
        (["--column", "preset=webvit"], "Did you mean 'webvid'"),
    ],
)
def test_a_wrong_column_is_told(listed, capsys, columns, message):
    assert run(["data", "check", str(listed), *columns]) == 2
    assert message in capsys.readouterr().err


def test_a_table_without_lines_is_not_copied(listed, tmp_path):
    (tmp_path / "x.json").write_text('[{"video": "x.mp4", "caption": "x"}]')
    clips = read_list("captions", tmp_path / "x.json")
    report = check_list(clips, every=0)
    with pytest.raises(ValueError, match="only lists with one clip a line"):
        write_clean(clips, report, tmp_path / "y.json")
