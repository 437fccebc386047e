from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.demo.report import MEASURES, ActionRow, Rate, WorldReport, wilson_interval


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_within_0_and_1(counts):
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1
    mirrored = wilson_interval(total - correct, total)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@given(st.integers(0, 400), st.integers(1, 400))
def test_the_bounds_solve_wilsons_equation(correct, extra):
    total = correct + extra
    for bound in wilson_interval(correct, total):
        if 0 < bound < 1:
            deviation = abs(correct / total - bound) / math.sqrt(bound * (1 - bound) / total)
            assert deviation == pytest.approx(1.959963984540054, rel=1e-6)


def test_published_values_of_the_interval():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for counts, bounds in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert [round(bound, 4) for bound in wilson_interval(*counts)] == list(bounds)


def test_nothing_counted_is_nothing_known():
    rate = Rate(0, 0, 0.5)
    assert math.isnan(rate.value)
    assert rate.interval == (0.0, 1.0)
    assert rate.to_dict()["value"] is None
    assert str(rate) == "no clips"


def test_a_rate_in_words():
    assert str(Rate(8, 10, 0.5)) == "80.0% [49.0%, 94.3%] of 10 (chance 50.0%)"


def test_a_report_as_data_and_as_table():
    report = WorldReport(
        rates={"accuracy": Rate(3, 4, 0.5), "color_accuracy": Rate(0, 0, 0.125)},
        actions=("grow", "shrink"),
        per_action=(
            ActionRow("grow", "shrink", Rate(2, 2, 0.5), Rate(2, 2, 0.5), None),
            ActionRow("shrink", "grow", Rate(1, 2, 0.5), None, "grow"),
        ),
        confusion=((2, 0), (1, 1)),
        num_clips=4,
        seed=5,
        source="rendered in memory",
        prompts_per_action=16,
        seconds=1.0,
    )
    data = json.loads(report.to_json())
    assert data["rates"]["accuracy"]["value"] == 0.75
    assert data["rates"]["accuracy"]["chance"] == 0.5
    assert data["per_action"][1] == {
        "action": "shrink",
        "reversal": "grow",
        "accuracy": Rate(1, 2, 0.5).to_dict(),
        "pair_accuracy": None,
        "mistaken_for": "grow",
    }
    assert data["confusion"] == [[2, 0], [1, 1]]
    assert report["accuracy"].value == 0.75
    table = report.table()
    assert table.row_count == 2
    assert list(table.columns[1].cells) == ["75.0%", "–"]


def test_every_measure_is_explained():
    assert all(title and meaning.endswith(".") for title, meaning in MEASURES.values())
