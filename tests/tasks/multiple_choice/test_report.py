from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from internvideo.tasks.multiple_choice.report import ChoiceAnswer, MultipleChoiceReport


def answer(chosen: int, *, kind: str = "", options: int = 4) -> ChoiceAnswer:
    """An answer to a question whose true option is the first."""
    scores = [0.0] * options
    scores[chosen] = 1.0
    return ChoiceAnswer(
        video=f"v{chosen}.mp4",
        options=tuple(f"[option] {number}" for number in range(options)),
        answer=0,
        scores=tuple(scores),
        kind=kind,
    )


REPORT = MultipleChoiceReport(
    answers=(answer(0, kind="a"), answer(1, kind="b"), answer(0, kind="b", options=2)),
    failures=(("gone.mp4", "no such file"),),
    num_unanswered=2,
    left_out=("line 3",),
    protocol="4 frames",
    model="mm",
    data="mc.jsonl",
)


def test_numbers():
    assert (REPORT.right.correct, REPORT.accuracy) == (2, pytest.approx(200 / 3))
    assert REPORT.accuracy_of_all == pytest.approx(40)
    assert REPORT.chance == pytest.approx(100 * (1 / 4 + 1 / 4 + 1 / 2) / 3)
    low, high = REPORT.right.interval
    assert low < REPORT.accuracy < high
    assert {kind: part.accuracy for kind, part in REPORT.kinds.items()} == {"a": 100, "b": 50}
    assert REPORT.kinds["b"].chance == pytest.approx(37.5)


def test_of_equal_scores_the_first_is_chosen():
    assert ChoiceAnswer(video="", options=("a", "b"), answer=1, scores=(2.0, 2.0)).chosen == 0


def test_json_tells_mistakes_and_failures():
    values = json.loads(REPORT.to_json())
    assert (values["num_questions"], values["num_unanswered"], values["num_failed"]) == (3, 2, 1)
    assert values["mistakes"] == [
        {"video": "v1.mp4", "answer": "[option] 0", "chosen": "[option] 1"}
    ]
    assert values["kinds"]["b"]["num_questions"] == 2
    assert values["failures"] == [{"video": "gone.mp4", "reason": "no such file"}]
    assert values["left_out"] == ["line 3"]
    restored = ChoiceAnswer.from_dict("v1.mp4", REPORT.answers[1].to_dict())
    assert restored == REPORT.answers[1]


def test_nothing_answered_has_no_numbers():
    empty = MultipleChoiceReport(answers=(), failures=(("a", "b"),), num_unanswered=1)
    assert (empty.accuracy, empty.chance, empty.right.interval) == (0.0, 0.0, (0.0, 100.0))


def test_table_and_plot(tmp_path):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(REPORT)
    text = console.export_text()
    assert "66.67 %" in text
    assert "1 video could not be read" in text
    pytest.importorskip("matplotlib")
    figure = REPORT.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["all", "a", "b"]
