from __future__ import annotations

import json

import pytest
from rich.console import Console

from internvideo import errors
from internvideo.evaluation import pictures
from internvideo.evaluation.classification import Classification

RESULT = Classification.from_scores(
    "clips/dog [1].mp4",
    ["a cat", "a $dog$", "a bird"],
    [0.1, 0.7, 0.2],
    [0.2, 0.5, 0.3],
    model="viclip-nano",
    protocol="16 frames",
)


def test_labels_are_sorted_by_score():
    assert RESULT.labels == ("a $dog$", "a bird", "a cat")
    assert RESULT.scores == (0.7, 0.2, 0.1)
    assert RESULT.probabilities == (0.5, 0.3, 0.2)
    assert RESULT.label == "a $dog$"
    assert RESULT.top(2) == (("a $dog$", 0.5), ("a bird", 0.3))
    assert len(RESULT.top(10)) == 3


def test_json_is_one_line_that_reads_back():
    text = RESULT.to_json()
    assert "\n" not in text
    assert json.loads(text) == RESULT.to_dict()
    assert json.loads(text)["predictions"][0] == {
        "label": "a $dog$",
        "score": 0.7,
        "probability": 0.5,
    }


def test_table_shows_every_label_and_its_source():
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(RESULT)
    text = console.export_text()
    for part in ("dog [1].mp4", "a $dog$", "50.0%", "viclip-nano, 16 frames"):
        assert part in text


def test_labels_without_room_are_counted():
    many = Classification.from_scores("v.mp4", [f"label {n}" for n in range(30)], *[[0.1] * 30] * 2)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(many)
    assert "… 10 more" in console.export_text()
    assert "… 10 more" in str(many.plot().axes[-1].texts[-1].get_text())


def test_plot_draws_one_bar_per_label(tmp_path):
    figure = RESULT.plot(tmp_path / "bars.png")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.3, 0.5]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a cat", "a bird", "a $dog$"]
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["bars.pgn", "bars", "bars.txt"])
def test_a_picture_of_no_known_format_is_refused(tmp_path, name):
    with pytest.raises(errors.ConfigError, match=r"\.png.*\.eps"):
        RESULT.plot(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    def missing(module: str, *, extra: str):
        return errors.require("a_package_that_is_not_there", extra=extra)

    monkeypatch.setattr(pictures, "require", missing)
    with pytest.raises(errors.MissingExtraError, match=r"internvideo\[plot\]"):
        RESULT.plot()
