from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from internvideo.errors import DataError
from internvideo.evaluation.accuracy import RecognitionReport, VideoPrediction
from internvideo.evaluation.report import wilson_interval

LABELS = ("a jump", "b [run]", "c swim", "d nap")


def answer(index: int, label: int, best: tuple[int, ...]) -> VideoPrediction:
    rank = best.index(label) if label in best else 9
    return VideoPrediction(
        index=index,
        video=f"clip{index}.mp4",
        label=label,
        rank=rank,
        best=best,
        probabilities=(0.6, 0.4),
        num_views=6,
    )


REPORT = RecognitionReport(
    labels=LABELS,
    predictions=(
        answer(0, 0, (0, 1)),
        answer(1, 0, (1, 0)),
        answer(2, 0, (1, 2)),
        answer(3, 1, (1, 0)),
        answer(5, 2, (0, 1)),
    ),
    failures=(("clip4.mp4", "broken"),),
    protocol="4 frames x 2 clips x 3 crops",
    model="tiny",
    data="test.csv",
)


def test_numbers_by_hand():
    assert REPORT.num_answered == 5
    assert REPORT.top1 == pytest.approx(40.0)
    assert REPORT.hits(2).percent == pytest.approx(60.0)
    assert REPORT.top5 == pytest.approx(60.0)
    assert REPORT.top1_of_all == pytest.approx(100 * 2 / 6)
    assert REPORT.mean_class_accuracy == pytest.approx(100 * (1 / 3 + 1 + 0) / 3)
    assert REPORT.hits().interval == tuple(100 * bound for bound in wilson_interval(2, 5))
    assert [(r.name, r.correct, r.total) for r in REPORT.classes] == [
        ("a jump", 1, 3), ("b [run]", 1, 1), ("c swim", 0, 1), ("d nap", 0, 0),
    ]  # fmt: skip
    expected = [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(REPORT.confusion, expected)
    assert REPORT.confusions() == (("a jump", "b [run]", 2), ("c swim", "a jump", 1))


def test_json_reads_back_and_names_what_failed():
    read = json.loads(REPORT.to_json())
    assert read["top1"] == REPORT.top1
    assert read["num_failed"] == 1
    assert read["failures"] == [{"video": "clip4.mp4", "reason": "broken"}]
    assert read["classes"][0] == {"label": "a jump", "correct": 1, "total": 3}
    assert read["confusions"][0] == {"label": "a jump", "predicted": "b [run]", "count": 2}
    assert read["protocol"] == REPORT.protocol


def test_a_report_of_nothing_but_failures_has_numbers_too():
    empty = RecognitionReport(labels=LABELS, predictions=(), failures=REPORT.failures)
    assert (empty.top1, empty.top1_of_all, empty.mean_class_accuracy) == (0.0, 0.0, 0.0)
    assert empty.hits().interval == (0.0, 100.0)
    json.loads(empty.to_json())
    empty.plot()


def test_table_shows_numbers_mistakes_and_failures():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(REPORT)
    text = console.export_text()
    for part in ("tiny on test.csv", "40.00 %", "a jump → b [run]", "could not be read", "33.33 %"):
        assert part in text


def test_plot_orders_classes_from_the_hardest_and_draws_the_confusion(tmp_path):
    figure = REPORT.plot(tmp_path / "report.png")
    bars, picture = figure.axes[:2]
    assert [tick.get_text() for tick in bars.get_yticklabels()] == ["c swim", "a jump", "b [run]"]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0, 100 / 3, 100])
    drawn = picture.images[0].get_array()
    np.testing.assert_allclose(drawn[0], [100 / 3, 200 / 3, 0])  # the fourth never occurs
    assert bars.get_xlim() == (0, 100)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_read_back_and_broken_ones_are_refused():
    one = REPORT.predictions[1]
    assert VideoPrediction.from_dict({**one.to_dict(), "scores": [1]}) == one
    with pytest.raises(DataError, match=r"KeyError.*rank"):
        VideoPrediction.from_dict({"index": 1, "video": "a", "label": 1})
