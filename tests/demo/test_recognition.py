from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import internvideo
import tiny
from internvideo.data import write_world
from internvideo.demo.page import recognition_section
from internvideo.demo.recognition import (
    Picture,
    Recognition,
    draw_reconstruction,
    label_efficiency,
)
from internvideo.demo.report import world_report
from internvideo.errors import ConfigError
from internvideo.world import ACTIONS, World

WORLD = World(seed=3)
SCORES = torch.zeros(10, 2, len(ACTIONS))
for _number in range(9):
    SCORES[_number, 0, ACTIONS.index(WORLD.scene(_number).action)] = 1
ROWS = [
    {
        "labels": labels,
        "arm": arm,
        "accuracy_mean": mean,
        "accuracy_sd": 1.5,
        "pair_mean": 70.0,
        "seeds": [1, 2, 3],
        "lr": 0.002,
    }
    for arm, means in (("pretrained", (30.0, 60.0)), ("scratch", (15.0, 40.0)))
    for labels, mean in zip((300, 1000), means, strict=True)
]
EFFICIENCY = dict(
    rows=ROWS,
    gains={"300": [15.0, 14.0, 16.0]},
    test_clips=2000,
    command="python <this>",
    machine="two cores",
)


def test_the_label_efficiency_beside_the_weights_is_read(tmp_path):
    model = internvideo.load("videomae-nano", device="cpu")
    found = label_efficiency(model)
    assert found is not None
    rows = {(row["labels"], row["arm"]): row for row in found["rows"]}
    for labels in (300, 1000, 10000):
        ours, theirs = rows[labels, "pretrained"], rows[labels, "scratch"]
        assert ours["seeds"] == theirs["seeds"]
        assert len(ours["seeds"]) >= 3
        pairs = zip(ours["accuracies"], theirs["accuracies"], strict=True)
        assert found["gains"][str(labels)] == pytest.approx([a - b for a, b in pairs])
        assert rows[labels, "random-probe"]["accuracy_mean"] < ours["accuracy_mean"]
    folder = internvideo.load(tiny.save_classifier(tmp_path / "other"), device="cpu")
    assert label_efficiency(folder) is None


def test_the_section_shows_rates_chart_and_picture_escaped():
    recognition = Recognition(
        report=replace(world_report(SCORES, WORLD), model="<nano>"),
        about="small",
        efficiency=EFFICIENCY,
        reconstruction=Picture(source="data:image/png;base64,AAAA", title='a "b"'),
    )
    page = recognition_section(recognition)
    assert "&lt;nano&gt;" in page
    assert "<nano>" not in page
    assert "90.0%" in page
    assert page.count("<circle") == len(ROWS)
    assert "300 labels: +15.0, +14.0, +16.0" in page
    assert '<span class="word">&lt;this&gt;</span>' in page
    assert "a &quot;b&quot;" in page
    alone = recognition_section(replace(recognition, efficiency=None, reconstruction=None))
    assert "<svg" not in alone
    assert "<img" not in alone


def test_the_pretrained_half_fills_in_a_clip(tmp_path):
    written = write_world(tmp_path / "world", 1, splits=(0.0, 0.0, 1.0))
    model = internvideo.load("videomae-nano-pretrain", device="cpu")
    picture = draw_reconstruction(model, written.videos[0], tmp_path / "picture.png")
    assert picture.source.startswith("data:image/png;base64,")
    assert "50% hidden" in picture.title
    classifier = internvideo.load("videomae-nano", device="cpu")
    with pytest.raises(ConfigError, match="videomae-nano"):
        draw_reconstruction(classifier, written.videos[0], tmp_path / "other.png")
