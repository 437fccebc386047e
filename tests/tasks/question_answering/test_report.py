from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from internvideo.tasks.question_answering.report import (
    AnsweredQuestion,
    QuestionReport,
    accuracies,
    as_number,
)


def answered(answer: str, given_answer: str, kind: str = "", *, known: bool = True, video="v"):
    return AnsweredQuestion(
        video=video, question="?", answer=answer, given=given_answer, right=answer == given_answer,
        known=known, kind=kind,
    )  # fmt: skip


REPORT = QuestionReport(
    answers=(
        answered("red", "red", "color"),
        answered("red", "blue", "color"),
        answered("mauve", "red", "color", known=False),
        answered("two", "two", "count"),
        answered("two", "four", "count"),
        answered("one", "three", "count"),
        answered("yes", "yes", "is/there"),
    ),
    failures=(("broken.mp4", "no video"),),
    num_unanswered=3,
    num_answers=9,
    answers_origin="9 of a file",
    num_cut=2,
    model="m",
    data="d",
)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_unknown_answers_lower_the_strict_number_only(pairs):
    # an answer that a model does not know is never given
    right = [one and known for one, known in pairs]
    official, strict = accuracies(right, [known for _, known in pairs])
    assert official.correct == strict.correct == sum(right)
    assert official.total == sum(known for _, known in pairs)
    assert strict.total == len(pairs)
    assert strict.percent <= official.percent


def test_both_accuracies_of_every_kind():
    official, strict = REPORT.accuracies
    assert (official.correct, official.total, strict.total) == (3, 6, 7)
    assert REPORT.accuracy_of_all == pytest.approx(100 * 3 / 10)
    assert list(REPORT.kinds) == ["color", "count", "is", "is/there"]
    assert REPORT.kinds["color"].accuracies.official.percent == 50
    assert REPORT.kinds["color"].accuracies.strict.percent == pytest.approx(100 / 3)
    assert list(REPORT.metrics()) == ["accuracy", "accuracy_strict", "num_failed"]


def test_the_baseline_is_the_most_frequent_answer_of_each_kind():
    assert REPORT.guesses == {"color": "red", "count": "two", "is/there": "yes"}
    assert REPORT.guessed.correct == 2 + 2 + 1
    assert REPORT.kinds["count"].guessed.percent == pytest.approx(200 / 3)


def test_counting_has_a_squared_error():
    error = REPORT.kinds["count"].squared_error
    assert (error.model, error.total, error.not_numbers) == (pytest.approx(8 / 3), 3, 0)
    assert error.guess == pytest.approx(1 / 3)
    assert REPORT.squared_error is None
    assert REPORT.kinds["color"].squared_error is None
    some = QuestionReport(answers=(answered("2", "4", "n"), answered("2", "red", "n")))
    assert some.kinds["n"].squared_error == (4.0, 0.0, 1, 1)
    assert any("1 answers are no number" in note for note in some.notes())


def test_numbers_are_digits_or_words():
    found = [as_number(text) for text in ("Two", "10", " 3 ", "nan", "inf", "red", "", "2.5")]
    assert found == [2, 10, 3, None, None, None, None, 2.5]


def test_table_notes_json_and_picture(tmp_path):
    console = Console(record=True, width=140)
    console.print(REPORT)
    console.print(REPORT.details(complete=True))
    text = console.export_text()
    for part in (
        'color', '"red"', "count, squared error", "2.667", "1 video could not be read", "30.00 %",
        "wrong answers", "mauve",
    ):  # fmt: skip
        assert part in text
    notes = "\n".join(REPORT.notes())
    assert "9 answers to choose from (9 of a file); they cover 85.7%" in notes
    assert "2 questions are longer" in notes
    numbers = REPORT.to_dict()
    assert numbers["kinds"]["count"]["squared_error"]["total"] == 3
    assert numbers["num_unknown"] == 1
    assert [each["answer"] for each in numbers["mistakes"]] == ["red", "mauve", "two", "one"]
    REPORT.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_an_answer_is_read_back():
    answer = answered("red", "blue", "color", known=False)
    assert AnsweredQuestion.from_dict("v", answer.to_dict()) == answer
