"""Sliding windows: stretches of rows above thresholds."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from internvideo.evaluation.window_classifier import smoothed, stretches


@settings(max_examples=40)
@given(
    hn.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)),
              elements=st.sampled_from([0.05, 0.15, 0.45, 0.8])),
)  # fmt: skip
def test_stretches_are_the_longest_runs_above_a_threshold(scores):
    found = stretches(scores, (0.1, 0.5))
    right = []
    for label in range(scores.shape[1]):
        for threshold in (0.1, 0.5):
            first = None
            for row in range(len(scores) + 1):
                above = row < len(scores) and scores[row, label] > threshold
                if above and first is None:
                    first = row
                elif not above and first is not None:
                    margin = math.ceil(0.25 * (row - first))
                    outside = [*range(max(first - margin, 0), first)]
                    outside += range(row, min(row + margin, len(scores)))
                    contrast = scores[first:row, label].mean()
                    contrast -= scores[outside, label].mean() if outside else 0.0
                    right.append((first - 0.5, row - 0.5, label, contrast))
                    first = None
    told = np.column_stack([found.times, found.labels, found.scores])
    np.testing.assert_allclose(told, np.reshape(right, (-1, 4)), atol=1e-12)


def test_a_row_has_the_mean_of_the_windows_that_see_it():
    scores = np.array([[0.0], [3.0], [0.0], [0.0]])
    np.testing.assert_allclose(smoothed(scores, 1)[:, 0], [1.5, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(smoothed(scores, 0), scores)
