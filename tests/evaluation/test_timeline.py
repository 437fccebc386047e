from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from internvideo.evaluation.timeline import ActionTimeline, ActionWindow, clock
from internvideo.video import write_video


def window(start: float, end: float, label: str, probability: float) -> ActionWindow:
    return ActionWindow(
        start=start, end=end, labels=(label, "other"), probabilities=(probability, 0.1)
    )


TIMELINE = ActionTimeline(
    video="long.mp4",
    windows=(
        window(0, 2, "run", 0.8),
        window(1, 3, "run", 0.6),
        window(2, 4, "jump", 0.5),
        window(3, 5, "run", 0.9),
    ),
    model="tiny",
)


def test_equal_neighbours_make_one_segment_and_changes_lie_between_the_centres():
    told = [(s.start, s.end, s.label, s.num_windows) for s in TIMELINE.segments]
    assert told == [(0, 2.5, "run", 2), (2.5, 3.5, "jump", 1), (3.5, 5, "run", 1)]
    assert [s.probability for s in TIMELINE.segments] == pytest.approx([0.7, 0.5, 0.9])


def test_frames_of_the_video_stand_below_the_bars(tmp_path):
    frames = torch.zeros(20, 16, 24, 3, dtype=torch.uint8)
    write_video(tmp_path / "long.mp4", frames, fps=4)
    timeline = dataclasses.replace(TIMELINE, video=str(tmp_path / "long.mp4"))
    bars, strip = timeline.plot(tmp_path / "timeline.png").axes
    assert len(strip.artists) == 10
    assert [text.get_text() for text in bars.get_legend().get_texts()][-1] == "100%"


def test_nothing_seen_is_nothing_told():
    empty = ActionTimeline(video="v.mp4", windows=())
    assert empty.segments == ()
    assert json.loads(empty.to_json())["segments"] == []


def test_json_has_segments_and_windows():
    read = json.loads(TIMELINE.to_json())
    assert read["segments"][1] == {
        "start": 2.5, "end": 3.5, "label": "jump", "probability": 0.5, "num_windows": 1,
    }  # fmt: skip
    assert read["windows"][0]["predictions"][0] == {"label": "run", "probability": 0.8}
    assert json.loads(TIMELINE.windows[0].to_json()) == read["windows"][0]
    assert str(TIMELINE.windows[1]) == "0:01.0 – 0:03.0  run 60.0%  other 10.0%"


def test_table_and_plot_show_the_segments(tmp_path):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(TIMELINE)
    text = console.export_text()
    assert "0:02.5" in text
    assert "90.0%" in text
    (axes,) = TIMELINE.plot(tmp_path / "timeline.png").axes
    drawn = [[bar.get_x(), bar.get_width(), bar.get_y() + 0.4] for bar in axes.patches]
    np.testing.assert_allclose(drawn, [[0, 2.5, 0], [2.5, 1.0, 1], [3.5, 1.5, 0]], atol=1e-9)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["run", "jump"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0:00.0"),
        (59.96, "1:00.0"),
        (75.25, "1:15.2"),
        (3599.99, "1:00:00.0"),
        (7325, "2:02:05.0"),
    ],
)
def test_clock(seconds, told):
    assert clock(seconds) == told


def test_of_very_many_labels_the_lasting_ones_have_a_row():
    windows = [window(at, at + 1, f"class {min(at, 60)}", 0.9) for at in range(100)]
    figure = ActionTimeline(video="v.mp4", windows=tuple(windows)).plot()
    (axes,) = figure.axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(names) == 41
    assert names[-2:] == ["class 60", "others"]
    assert {bar.get_y() + 0.4 for bar in axes.patches} == {float(row) for row in range(41)}
