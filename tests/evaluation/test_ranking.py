from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.evaluation.ranking import (
    best_ranks,
    dual_softmax,
    recall_percent,
    top_k_accuracy,
)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 500))
@settings(max_examples=60)
def test_ranks_equal_those_of_a_reversed_stable_sort(queries, candidates, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (queries, candidates)).astype(np.float32)  # many ties
    positives = rng.random((queries, candidates)) < 0.4
    positives[np.arange(queries), rng.integers(0, candidates, queries)] = True
    ranks = best_ranks(torch.from_numpy(scores), torch.from_numpy(positives))
    for row, wanted, rank in zip(scores, positives, ranks.tolist(), strict=True):
        order = np.argsort(row, kind="stable")[::-1]
        assert rank == min(np.flatnonzero(wanted[order]))


def test_top_k():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.2, 0.3, 0.4]])
    labels = torch.tensor([2, 0, 0])
    assert top_k_accuracy(scores, labels, 1) == 33.33
    assert top_k_accuracy(scores, labels, 2) == 66.67
    assert top_k_accuracy(scores, labels, 5) == 100.0


def test_recall():
    assert recall_percent(torch.tensor([0, 3, 7]), 4) == 66.67


def test_dual_softmax_lowers_a_candidate_that_suits_everybody():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.1, 0.8], [0.9, 0.1, 0.1]])
    assert scores.argmax(1).tolist() == [0, 0, 0]
    assert dual_softmax(scores, temperature=0.1).argmax(1).tolist() == [1, 2, 0]
    expected = scores * (scores.exp() / scores.exp().sum(0))
    torch.testing.assert_close(dual_softmax(scores), expected)
