"""Rows, actions among them, and windows of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.annotations import Segment, VideoAnnotation
from internvideo.data.features import FeatureSequence
from internvideo.models.actionformer_config import RowGrid
from internvideo.tasks.temporal_localization.sequences import (
    Sequence,
    actions_of,
    cut,
    draw_window,
    on_grid,
)

ROWS = FeatureSequence(
    features=torch.arange(20.0)[:, None], fps=10.0, stride=5.0, window=10.0, duration=10.5
)


def video(*segments: tuple[float, float | None, int]) -> VideoAnnotation:
    return VideoAnnotation(
        path="v", segments=tuple(Segment(start=s, end=e, label=k) for s, e, k in segments)
    )


def test_the_centre_of_a_window_is_its_row():
    found = actions_of(video((0.5, 1.0, 2)), ROWS)
    assert found.segments.tolist() == [[0.0, 1.0]]
    assert found.labels.tolist() == [2]


def test_an_action_without_end_lasts_to_the_end_and_one_without_length_is_none():
    found = actions_of(video((5.5, None, 1), (3.0, 3.0, 0)), ROWS)
    assert found.segments.tolist() == [[10.0, 19.5]]


@pytest.mark.parametrize(
    ("outside", "ends"),
    [
        ("keep", [18.0, 22.0, 26.0, 30.0]),
        ("drop", [18.0, 21.0]),  # 20 rows, and one of the last window that reaches beyond
        ("clip", [18.0, 20.0, 20.0]),
    ],
)
def test_actions_beyond_the_end(outside, ends):
    seconds = ROWS.seconds_at(np.array([[16, 18.0], [18, 22], [19.5, 26], [24, 30]]))
    found = actions_of(video(*((s, e, 0) for s, e in seconds)), ROWS, outside=outside)
    assert found.segments[:, 1].tolist() == pytest.approx(ends)


def test_what_is_annotated_twice_counts_once_if_asked():
    twice = video((1.0, 2.0, 0), (1.0004, 2.0004, 0), (1.0, 2.0, 1))
    assert len(actions_of(twice, ROWS).labels) == 3
    assert actions_of(twice, ROWS, merge_repeated=True).labels.tolist() == [0, 1]
    assert actions_of(twice, ROWS, merge_repeated=True, one_class=True).labels.tolist() == [0, 0]


def test_a_grid_thins_and_stretches_and_times_stay_where_they_are():
    thin = on_grid(ROWS, RowGrid(keep_every=4))
    assert thin.features[:, 0].tolist() == [0, 4, 8, 12, 16]
    for grid, length in (
        (RowGrid(resize_to=7), 7),
        (RowGrid(resize_to=64), 64),
        (RowGrid(keep_every=2, resize_to=64), 64),
        (RowGrid(seconds_per_row=0.3), 35),  # of 10.5 s
    ):
        rows = on_grid(ROWS, grid)
        assert len(rows) == length
        # Features rise by one a row, so they tell the time that they are of.
        seconds = rows.seconds_at(np.arange(len(rows)))
        expected = ROWS.rows_at(seconds)
        middle = slice(len(rows) // 4, 3 * len(rows) // 4)
        apart = np.abs(rows.features[:, 0].numpy() - expected)[middle]
        assert apart.max() < 0.6 * grid.keep_every


@pytest.mark.parametrize(
    "fields",
    [{"keep_every": 0}, {"seconds_per_row": -1.0}, {"resize_to": 5, "seconds_per_row": 1.0}],
)
def test_impossible_grids_are_named(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        RowGrid(**fields)


@given(start=st.integers(0, 12), length=st.integers(1, 8), share=st.sampled_from([0.3, 0.5, 1.0]))
def test_a_window_keeps_what_lies_in_it_with_enough(start, length, share):
    segments = torch.tensor([[0.0, 3.0], [2.5, 9.0], [8.0, 12.5], [11.0, 19.0]])
    whole = Sequence(ROWS.features, segments, torch.arange(4))
    window = cut(whole, start, length, least_share=share, reach=0.0)
    assert window.features[:, 0].tolist() == list(range(start, start + length))
    for label, (first, last) in enumerate(segments.tolist()):
        inside = max(min(last, start + length) - max(first, start), 0)
        if inside / (last - first) >= share:
            place = window.labels.tolist().index(label)
            assert window.segments[place].tolist() == pytest.approx(
                [max(first, start) - start, min(last, start + length) - start]
            )
        else:
            assert label not in window.labels.tolist()


def test_windows_are_drawn_until_one_holds_an_action():
    whole = Sequence(torch.zeros(300, 1), torch.tensor([[290.0, 294.0]]), torch.tensor([0]))
    options = {"crop": None, "least_share": 0.5, "reach": 0.0}
    for seed in range(5):
        window = draw_window(whole, 30, np.random.default_rng(seed), **options)
        assert len(window) == 30
        assert window.labels.tolist() == [0]
    empty = Sequence(torch.zeros(300, 1), torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    assert len(draw_window(empty, 30, np.random.default_rng(0), **options)) == 30


@given(st.integers(0, 10_000))
def test_short_videos_are_cropped_by_a_share(seed):
    rng = np.random.default_rng(seed)
    whole = Sequence(torch.zeros(50, 1), torch.tensor([[5.0, 45.0]]), torch.tensor([0]))
    window = draw_window(whole, 60, rng, crop=(0.5, 1.0), least_share=0.1, reach=0.0)
    assert 25 <= len(window) <= 50
    assert draw_window(whole, 60, rng, crop=None, least_share=0.1, reach=0.0) is whole
