from __future__ import annotations

import io
import json
import logging
from dataclasses import replace

import pytest
from rich.console import Console

from internvideo.evaluation.accuracy import VideoPrediction
from internvideo.tasks.zero_shot.report import ZeroShotReport


def prediction(index: int, label: int, best: tuple[int, ...]) -> VideoPrediction:
    return VideoPrediction(
        index=index, video=f"v{index}.mp4", label=label, rank=best.index(label), best=best,
        probabilities=(0.5, 0.3, 0.2), num_views=1,
    )  # fmt: skip


REPORT = ZeroShotReport(
    labels=("打篮球", "[swim]", "fly", "rest"),
    predictions=(
        prediction(0, 0, (0, 1, 2)),
        prediction(1, 0, (1, 0, 2)),
        prediction(2, 0, (1, 0, 2)),
        prediction(3, 1, (1, 0, 2)),
    ),
    protocol="4 frames",
    model="viclip",
    data="mine",
    templates="zh.txt",
    sentences=("一段打篮球的视频",),
    dual_softmax={"top1": 75.0, "top5": 100.0, "avg": 87.5},
)


def shown(renderable) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_json_has_the_numbers_and_the_sentences():
    values = json.loads(REPORT.to_json())
    assert (values["top1"], values["top5"], values["average"]) == (50.0, 100.0, 75.0)
    assert values["dual_softmax"] == {"top1": 75.0, "top5": 100.0, "avg": 87.5}
    assert values["sentences"] == ["一段打篮球的视频"]
    assert values["chance"] == 25.0
    assert list(values)[:4] == ["model", "data", "protocol", "templates"]


def test_the_table_has_them_too():
    text = shown(replace(REPORT, labels=(*REPORT.labels, "e", "f")))
    assert "75.00 %" in text
    assert "87.50 %" in text
    assert "top-5" not in shown(REPORT)  # always 100 % of so few classes
    assert "sentences: zh.txt" in text
    assert "打篮球 → [swim]" in text


def test_the_hardest_class_comes_first():
    lines = [line for line in shown(REPORT.class_table()).splitlines() if "│" in line]
    assert len(lines) == 2  # no row for classes without videos
    assert "打篮球" in lines[0]
    assert "33.3" in lines[0]
    assert "[swim] (2)" in lines[0]
    assert "100.0" in lines[1]
    text = shown(REPORT.class_table(most=1))
    assert "and 1 easier class" in text
    assert text.count("│") < shown(REPORT.class_table()).count("│")


def test_letters_that_no_font_has_are_told_in_one_line(tmp_path, caplog, monkeypatch, recwarn):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("internvideo.evaluation.pictures._WIDE_FONTS", ())
    with caplog.at_level(logging.WARNING, logger="internvideo"):
        REPORT.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    [record] = [each for each in caplog.records if each.name.startswith("internvideo")]
    assert "no installed font has all letters" in record.getMessage()
    assert not [each for each in recwarn if "Glyph" in str(each.message)]
