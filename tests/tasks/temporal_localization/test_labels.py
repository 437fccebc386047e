"""Which point has to find which action."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.tasks.temporal_localization.labels import (
    Points,
    assign,
    data_ranges,
    joined,
    pyramid_points,
    stride_ranges,
)

STRIDES = (1, 2, 4, 8)


def points(num_rows: int, ranges=None) -> Points:
    return joined(pyramid_points(num_rows, STRIDES, ranges or stride_ranges(STRIDES)))


def test_points_stand_at_every_stride():
    levels = pyramid_points(9, STRIDES, stride_ranges(STRIDES))
    assert [level.times.tolist() for level in levels[2:]] == [[0, 4, 8], [0, 8]]
    assert [len(level.times) for level in levels] == [9, 5, 3, 2]


def test_the_published_ranges_are_two_strides():
    published = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))
    assert stride_ranges((1, 2, 4, 8, 16, 32)) == published


segments = st.lists(
    st.tuples(st.floats(-5, 60, width=32), st.floats(0.125, 50, width=32), st.integers(0, 2)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(actions=segments, radius=st.sampled_from([None, 0.5, 1.5]))
def test_targets_are_those_of_the_definition(actions, radius):
    times = torch.tensor([(start, start + length) for start, length, _ in actions])
    labels = torch.tensor([label for *_, label in actions])
    where = points(40)
    found = assign(where, times, labels, 3, radius=radius)
    for row, (t, low, high, stride) in enumerate(
        zip(*(x.tolist() for x in (where.times, where.lowest, where.highest, where.strides)),
            strict=True)
    ):  # fmt: skip
        able = []
        for (start, end), label in zip(times.tolist(), labels.tolist(), strict=True):
            left, right = t - start, end - t
            if radius is None:
                inside = min(left, right) > 0
            else:
                middle = np.float32(0.5) * np.float32(np.float32(start) + np.float32(end))
                first = max(np.float32(middle - np.float32(stride * radius)), start)
                last = min(np.float32(middle + np.float32(stride * radius)), end)
                inside = min(np.float32(t - first), np.float32(last - t)) > 0
            if inside and low <= np.float32(max(left, right)) <= high:
                able.append((np.float32(end) - np.float32(start), left, right, label))
        shortest = min((length for length, *_ in able), default=math.inf)
        wanted = {label for length, *_, label in able if length <= shortest + 1e-3}
        assert set(found.classes[row].nonzero()[:, 0].tolist()) == wanted
        if able:
            _, left, right, _ = min(able, key=lambda each: each[0])
            torch.testing.assert_close(
                found.offsets[row] * stride, torch.tensor([left, right]), rtol=1e-4, atol=1e-4
            )


def test_a_video_without_actions_wants_nothing():
    found = assign(points(16), torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), 5)
    assert found.classes.shape == (16 + 8 + 4 + 2, 5)
    assert not found.classes.any()
    assert not found.offsets.any()


def test_equal_actions_of_two_classes_are_both_wanted():
    """Every cliff dive is a dive."""
    times, labels = torch.tensor([[10.0, 20.0], [10.0, 20.0]]), torch.tensor([1, 4])
    found = assign(points(40), times, labels, 5)
    wanted = found.classes[found.classes.any(dim=1)]
    assert len(wanted)
    assert (wanted == torch.tensor([0.0, 1, 0, 0, 1])).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 5000), min_size=1, max_size=50))
def test_ranges_of_the_data_cover_all_lengths_and_rise(lengths):
    ranges = data_ranges(STRIDES, np.array(lengths))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 10000
    assert [high for _, high in ranges[:-1]] == [low for low, _ in ranges[1:]]
    lows = [low for low, _ in ranges]
    assert lows == sorted(lows)
    assert all(low >= 2 * stride for low, stride in zip(lows[1:], STRIDES[1:], strict=True))


@pytest.mark.parametrize("scale", [1, 10])
def test_ranges_of_the_data_give_every_level_its_actions(scale):
    """Actions ten times as long as THUMOS14's: by strides nearly all are the last level's."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.uniform(math.log(4), math.log(60), 200)) * scale
    starts = rng.uniform(0, 2000, len(lengths))
    times = torch.tensor(np.stack([starts, starts + lengths], 1), dtype=torch.float32)
    labels = torch.zeros(len(times), dtype=torch.long)

    def share(ranges) -> np.ndarray:
        where = points(2000, ranges)
        positive = assign(where, times, labels, 1).classes[:, 0] > 0
        counts = [int(positive[where.strides == stride].sum()) * stride for stride in STRIDES]
        return np.array(counts) / sum(counts)

    by_data = share(data_ranges(STRIDES, lengths))
    assert by_data.min() > 0.02
    if scale > 1:
        assert share(stride_ranges(STRIDES))[-1] > 0.9
