"""Between seconds and rows: closed forms against comparing all spans, labels, losses, decoding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.tasks.language_queries.spans import (
    best_spans,
    highlight_labels,
    highlight_loss,
    location_loss,
    reduce_rows,
    spans_of_times,
    times_of_spans,
)


def brute_force(start: float, end: float, num_rows: int, duration: float) -> list[int]:
    """Compare every pair of rows with the query, in row-major order; the first maximum wins."""
    units = np.arange(num_rows + 1).astype(np.float32) / float(num_rows) * duration
    best, found = -1.0, [0, 0]
    for first in range(num_rows):
        for last in range(num_rows):
            left, right = float(units[first]), float(units[last + 1])
            inside = max(0.0, min(right, end) - max(left, start))
            overlap = inside / max(1e-12, max(right, end) - min(left, start))
            if overlap > best:
                best, found = overlap, [first, last]
    return found


ROWS = st.integers(1, 24)
DURATION = st.floats(0.5, 600)


@given(
    num_rows=ROWS, duration=DURATION, share=st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1))
)
def test_the_closed_form_finds_what_comparing_all_spans_finds(num_rows, duration, share):
    start, end = (each * duration for each in share)
    [span] = spans_of_times(np.array([[start, end]]), num_rows, duration)
    assert span.tolist() == brute_force(start, end, num_rows, duration)


@given(num_rows=ROWS, duration=DURATION, data=st.data())
def test_ties_fall_as_in_the_reference(num_rows, duration, data):
    """Ends on the bounds of rows, and half-way between them, are where spans are equally good."""
    half = st.integers(0, 2 * num_rows)
    ends = [data.draw(half) / (2 * num_rows) * duration for _ in range(2)]
    units = np.arange(num_rows + 1).astype(np.float32) / float(num_rows) * duration
    exact = [float(units[data.draw(st.integers(0, num_rows))]) for _ in range(2)]
    for start, end in (sorted(ends), sorted(exact)):
        [span] = spans_of_times(np.array([[start, end]]), num_rows, duration)
        assert span.tolist() == brute_force(start, end, num_rows, duration)


def test_many_queries_are_answered_at_once():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 90, (50, 2)), axis=1)
    spans = spans_of_times(times, 30, 90.0)
    assert spans.tolist() == [brute_force(*each, 30, 90.0) for each in times.tolist()]


@given(num_rows=ROWS, duration=DURATION, data=st.data())
def test_the_times_of_a_span_are_those_of_the_span_itself(num_rows, duration, data):
    first = data.draw(st.integers(0, num_rows - 1))
    span = np.array([[first, data.draw(st.integers(first, num_rows - 1))]])
    times = times_of_spans(span, num_rows, duration)
    assert spans_of_times(times.astype(np.float64), num_rows, duration).tolist() == span.tolist()


def test_a_query_that_nothing_overlaps_gets_the_first_row():
    times = np.array([[5.0, 5.0], [20.0, 30.0], [4.0, 2.0]])
    assert spans_of_times(times, 10, 10.0).tolist() == [[0, 0]] * 3


@settings(deadline=None)  # the first call starts torch
@given(count=st.integers(1, 300), most=st.integers(1, 64))
def test_rows_are_reduced_to_means_of_neighbours(count, most):
    rows = torch.rand(count, 3, generator=torch.Generator().manual_seed(count))
    reduced = reduce_rows(rows, most)
    if count <= most:
        assert torch.equal(reduced, rows)
        return
    bounds = [min(round(i / most * count), count - 1) for i in range(most + 1)]
    expected = [rows[a:b].mean(dim=0) if a < b else rows[a] for a, b in pairwise(bounds)]
    torch.testing.assert_close(reduced, torch.stack(expected))


def test_rows_of_half_precision_are_summed_in_full():
    rows = torch.full((4096, 1), 1.001, dtype=torch.float16)
    assert reduce_rows(rows, 1).item() == pytest.approx(float(rows[0, 0]), rel=1e-5)


def test_labels_reach_a_tenth_beyond_the_span_and_not_into_padding():
    spans = torch.tensor([[4, 18], [4, 8], [0, 24], [2, 2]])  # extended by 2 (1.5), 0 (0.5), 2, 0
    labels = highlight_labels(spans, torch.tensor([20, 20, 25, 3]), 30)
    inside = [[int(row.nonzero()[0]), int(row.nonzero()[-1])] for row in labels]
    assert inside == [[2, 19], [4, 8], [0, 24], [2, 2]]
    assert labels.sum(dim=1).tolist() == [18, 5, 25, 1]


def test_rows_of_a_span_weigh_double_and_padding_nothing():
    highlight = torch.tensor([[0.9, 0.2, 0.5]], requires_grad=True)
    labels, shown = torch.tensor([[True, False, True]]), torch.tensor([[True, True, False]])
    loss = highlight_loss(highlight, labels, shown)
    expected = (-2 * np.log(0.9) - np.log(0.8)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert highlight.grad is not None
    assert highlight.grad[0, 2] == 0


def test_a_certain_mistake_has_a_bounded_loss():
    loss = highlight_loss(torch.zeros(1, 1), torch.ones(1, 1) > 0, torch.ones(1, 1) > 0)
    assert loss.item() == pytest.approx(200.0)


def test_the_location_loss_is_that_of_both_ends():
    start, end = torch.randn(3, 7), torch.randn(3, 7)
    spans = torch.tensor([[0, 3], [2, 2], [5, 6]])
    log_start, log_end = start.log_softmax(1), end.log_softmax(1)
    expected = -sum(log_start[b, i] + log_end[b, j] for b, (i, j) in enumerate(spans.tolist())) / 3
    torch.testing.assert_close(location_loss(start, end, spans), expected)


@settings(deadline=None)
@given(rows=st.integers(1, 9), count=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_best_spans_are_those_of_all_that_do_not_end_before_they_start(rows, count, seed):
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, rows, generator=generator).unbind(0)
    found = best_spans(start[None], end[None], count)
    p, q = start.softmax(0), end.softmax(0)
    every = [((i, j), float(p[i] * q[j])) for i in range(rows) for j in range(i, rows)]
    every.sort(key=lambda each: -each[1])
    assert [tuple(each) for each in found.spans[0].tolist()] == [s for s, _ in every[:count]]
    assert found.scores[0].tolist() == pytest.approx([score for _, score in every[:count]])
