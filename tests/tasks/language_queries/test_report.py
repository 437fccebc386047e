"""The report: two denominators, what is left out, the picture."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from internvideo.tasks.language_queries.queries import Query
from internvideo.tasks.language_queries.report import LanguageQueriesReport, Spans

QUERIES = (
    Query("a", 0, "one", (0.0, 4.0), "x/0"),
    Query("a", 1, "two", (5.0, 6.0), "x/1"),
    Query("b", 0, "three", (2.0, 2.0), "y/0"),
    Query("c", 0, "four", (1.0, 3.0), "z/0"),
)
ANSWERS = {
    QUERIES[0]: Spans(((0.0, 4.0), (0.0, 9.0))),
    QUERIES[1]: Spans(((0.0, 1.0), (5.0, 6.0))),
    QUERIES[2]: Spans(((2.0, 2.0),)),
    Query("d", 0, "untimed", None, "w/0"): Spans(((0.0, 1.0),)),
}
REPORT = LanguageQueriesReport(queries=QUERIES, answers=ANSWERS, num_untimed=1)


def test_the_first_number_is_what_weights_are_chosen_by():
    numbers = REPORT.metrics()
    assert next(iter(numbers)) == "r1_iou0.3"
    assert numbers["r1_iou0.3"] == pytest.approx(100 / 3)
    assert numbers["r5_iou0.5"] == pytest.approx(200 / 3)
    assert numbers["mean_r1"] == pytest.approx(100 / 3)
    assert numbers["miou"] == pytest.approx(100 / 3)


def test_queries_without_an_answer_are_misses_in_the_second_column():
    numbers = REPORT.numbers()
    assert numbers["of_all_queries"]["r1_iou0.3"] == pytest.approx(25.0)
    assert (numbers["num_queries"], numbers["num_answered"], numbers["num_empty"]) == (4, 3, 1)
    printed = io.StringIO()
    Console(width=90, file=printed).print(REPORT)
    text = printed.getvalue()
    assert "33.33 %" in text
    assert "25.00 %" in text


def test_what_the_numbers_leave_out_is_told():
    notes = " ".join(REPORT.notes())
    assert "1 of 4 queries are not answered" in notes
    assert "1 queries ask for a part of no length" in notes
    assert "1 queries have no known times" in notes
    assert LanguageQueriesReport(queries=QUERIES[:1], answers=ANSWERS).notes() == []


def test_nothing_answered_is_nothing_found():
    empty = LanguageQueriesReport(queries=QUERIES, answers={})
    assert set(empty.metrics().values()) == {0.0}
    assert empty.num_answered == 0


def test_the_recall_is_drawn_over_the_threshold(tmp_path):
    path = tmp_path / "recall.png"
    figure = REPORT.plot(path)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["R@1", "R@5"]
    assert lines[1].get_ydata()[0] == pytest.approx(200 / 3)
    assert path.stat().st_size > 5000
