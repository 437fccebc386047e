from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import internvideo
import tiny
from internvideo.data import write_world
from internvideo.demo.action_tally import ActionTally
from internvideo.demo.recognition import (
    LabelEfficiency,
    Picture,
    Recognition,
    draw_reconstruction,
    recognize_clips,
)
from internvideo.demo.recognition_page import recognition_section
from internvideo.demo.report import Rate
from internvideo.demo.world_report import rendered_clips
from internvideo.errors import ConfigError
from internvideo.world import ACTIONS, World, reversal_of

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
EFFICIENCY = LabelEfficiency(
    rows=tuple(ROWS),
    gains={"300": [15.0, 14.0, 16.0]},
    test_clips=2000,
    command="python <this>",
    machine="two cores",
)


def test_a_tally_knows_right_reversed_and_wrong():
    world = World(seed=3)
    moved = ACTIONS.index("move right")
    truths = [world.scene(number, action="move right") for number in range(3)]
    scores = torch.zeros(3, len(ACTIONS))
    scores[0, moved] = 1  # right
    scores[1, ACTIONS.index(reversal_of("move right"))] = 1  # its reversal
    scores[2, ACTIONS.index("blink")] = 1  # something else, and a tie with the reversal
    rates = ActionTally(truths, scores).rates()
    assert [rates[name].correct for name in rates] == [1, 1, 2]
    [row] = [row for row in ActionTally(truths, scores).per_action() if row.accuracy.total]
    assert (row.action, row.accuracy.correct) == ("move right", 1)


def test_the_embedded_classifier_needs_more_than_one_frame():
    model = internvideo.load("videomae-nano", device="cpu")
    recognition = recognize_clips(model, rendered_clips(World(seed=99), 112))
    rates = recognition.rates
    assert rates["accuracy"].value > 0.8
    assert rates["pair_accuracy"].value > 0.7
    assert rates["single_frame_accuracy"].value < 0.15
    assert recognition.num_clips == rates["accuracy"].total == 112
    assert "28 actions" in recognition.about
    assert json.loads(json.dumps(recognition.to_dict()))["num_clips"] == 112


def test_only_classifiers_of_the_actions_are_asked(tmp_path):
    model = internvideo.load(tiny.save_classifier(tmp_path / "other"), device="cpu")
    with pytest.raises(ConfigError, match="not the actions of the world"):
        recognize_clips(model, [])


def test_the_label_efficiency_beside_the_weights_is_read(tmp_path):
    model = internvideo.load("videomae-nano", device="cpu")
    found = LabelEfficiency.beside(model)
    assert found is not None
    rows = {(row["labels"], row["arm"]): row for row in found.rows}
    for labels in (300, 1000, 10000):
        ours, theirs = rows[labels, "pretrained"], rows[labels, "scratch"]
        assert ours["seeds"] == theirs["seeds"]
        assert len(ours["seeds"]) >= 3
        pairs = zip(ours["accuracies"], theirs["accuracies"], strict=True)
        assert found.gains[str(labels)] == pytest.approx([a - b for a, b in pairs])
        assert rows[labels, "random-probe"]["accuracy_mean"] < ours["accuracy_mean"]
    folder = internvideo.load(tiny.save_classifier(tmp_path / "other"), device="cpu")
    assert LabelEfficiency.beside(folder) is None


def test_the_section_shows_rates_chart_and_picture_escaped():
    recognition = Recognition(
        model="<nano>",
        about="small",
        rates={"accuracy": Rate(9, 10, 0.1), "pair_accuracy": Rate(0, 0, 0.5)},
        num_clips=10,
        efficiency=EFFICIENCY,
        reconstruction=Picture(source="data:image/png;base64,AAAA", title='a "b"'),
    )
    page = recognition_section(recognition)
    assert "&lt;nano&gt;" in page
    assert "<nano>" not in page
    assert "90.0%" in page
    assert page.count("<circle") == len(ROWS)
    assert "300 labels: +15.0, +14.0, +16.0" in page
    assert "python &lt;this&gt;" in page
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
    with pytest.raises(ConfigError, match="no masked autoencoder"):
        draw_reconstruction(classifier, written.videos[0], tmp_path / "other.png")
