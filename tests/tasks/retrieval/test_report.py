from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from internvideo.evaluation.retrieval_ranks import Ranks
from internvideo.tasks.retrieval.report import DSL, PLAIN, Miss, RetrievalReport, Standing

RANKS = Ranks(ahead=torch.tensor([0, 0, 4, 11]), tied=torch.tensor([0, 1, 0, 0]), num_candidates=20)
ONE = Standing.of(RANKS)
REPORT = RetrievalReport(
    text_to_video={PLAIN: ONE, DSL: Standing((0, 0, 0, 9), 20)},
    video_to_text={PLAIN: Standing((0, 1), 20), DSL: Standing((1, 1), 20)},
    num_missing_texts=4,
    num_missing_videos=1,
    captions="all 8 captions of 3 videos",
    side="text",
    frames=4,
    temperature=0.01,
    misses=(Miss("a [red] star", "v2.mp4", 5, "v1.mp4"),),
    remarks=("ties",),
    left_out=("c.csv:3: a.mp4 has no caption",),
    failures=(("gone.mp4", "no such file"),),
    protocol="4 frames",
    model="mm",
    data="test.csv",
)


def text_of(shown: object) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def test_numbers_of_one_direction():
    assert [ONE.recall(k).percent for k in (1, 5, 10)] == [50, 75, 75]
    assert (ONE.median, ONE.mean) == (3, 4.75)
    assert Standing.of(RANKS, lower_median=True).median == 1
    assert Standing.of(RANKS, "legacy").ranks == (0, 0, 1, 4, 11)
    assert [ONE.chance(k) for k in (1, 50)] == [5, 100]
    low, high = ONE.to_dict()["R1_interval"]
    assert low < 50 < high


def test_the_first_number_of_a_training_log_is_plain_recall():
    metrics = REPORT.metrics()
    assert next(iter(metrics.items())) == ("text_to_video_r1", 50)
    assert metrics["dual_softmax_text_to_video_r1"] == 75
    assert metrics["dual_softmax_video_to_text_mdr"] == 2
    assert metrics["num_failed"] == 1


def test_json_says_how_the_numbers_came_about():
    values = json.loads(REPORT.to_json())
    assert values["captions"] == "all 8 captions of 3 videos"
    assert (values["frames"], values["temperature"]) == (4, 0.01)
    assert values["dual_softmax_over"] == "text"
    assert values["text_to_video"]["plain"]["R1_of_all"] == 25
    assert values["video_to_text"]["dual_softmax"]["R1_of_all"] == 0
    assert values["misses"] == [
        {"text": "a [red] star", "video": "v2.mp4", "rank": 5, "first": "v1.mp4"}
    ]
    assert values["left_out"] == ["c.csv:3: a.mp4 has no caption"]
    assert REPORT.num_answered == 2


def test_table_has_plain_and_dual_softmax_and_their_conditions():
    text = text_of(REPORT)
    for said in (
        "plain", "dual softmax", "50.00", "75.00", "chance", "plain, of all 8",
        "all 8 captions of 3 videos", "temperature 0.01", "over the texts",
    ):  # fmt: skip
        assert said in text, said
    assert "matching head" not in text
    assert any("c.csv:3" in note for note in REPORT.notes())
    assert REPORT.details(complete=False) is None
    assert "a [red] star" in text_of(REPORT.details(complete=True))


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    figure = REPORT.plot(tmp_path / "recall.png")
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    plain, dual, chance = figure.axes[0].get_lines()
    assert list(plain.get_ydata()[:5]) == [50, 50, 50, 50, 75]
    assert dual.get_ydata()[0] == 75
    assert chance.get_ydata()[9] == 50
