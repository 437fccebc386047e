from __future__ import annotations

import numpy as np
import pytest
import torch

from internvideo.errors import DataError
from internvideo.tasks.recognition.merge import (
    ViewLogits,
    accuracy_percent,
    best_classes,
    merge_views,
)


def views(logits, video, clip=None, crop=None) -> ViewLogits:
    count = len(video)
    return ViewLogits(
        logits=torch.tensor(logits),
        video=torch.tensor(video),
        clip=torch.tensor(clip or list(range(count))),
        crop=torch.tensor(crop or [0] * count),
    )


def test_probabilities_are_averaged_in_float64():
    run = views([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]], video=[7, 7, 4])
    merged = merge_views(run)
    shares = np.exp([[1.0, 0.0], [0.0, 3.0]])
    shares /= shares.sum(axis=1, keepdims=True)
    assert merged.video.tolist() == [4, 7]
    assert merged.num_views.tolist() == [1, 2]
    assert merged.scores.dtype == torch.float64
    np.testing.assert_allclose(merged.scores[1], shares.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(merge_views(run, use_softmax=False).scores[1], [0.5, 1.5])


def test_the_first_of_repeated_views_counts():
    run = views([[5.0, 0.0], [1.0, 0.0], [0.0, 9.0]], video=[2, 2, 2], clip=[1, 0, 1])
    kept = run.without_repeats()
    assert kept.logits.tolist() == [[5.0, 0.0], [1.0, 0.0]]
    assert kept.clip.tolist() == [1, 0]
    assert merge_views(run, use_softmax=False).scores.tolist() == [[3.0, 0.0]]


def test_a_member_with_more_views_weighs_more():
    many = views([[3.0, 0.0]] * 3, video=[0, 0, 0])
    one = views([[0.0, 3.0]], video=[0])
    merged = merge_views([many, one], use_softmax=False)
    assert merged.scores.tolist() == [[9 / 4, 3 / 4]]
    assert merged.num_views.tolist() == [4]  # equal (clip, crop) of two runs are two views


def test_ties_go_to_the_first_class_as_with_argmax():
    scores = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert best_classes(scores, 2).tolist() == [[1, 2], [0, 1]]
    assert accuracy_percent(scores, torch.tensor([2, 1])) == 0
    assert accuracy_percent(scores, torch.tensor([2, 1]), top=2) == 100
    assert accuracy_percent(scores, torch.tensor([1, 2]), top=1) == 50


def test_nothing_and_unequal_runs_are_refused():
    with pytest.raises(DataError, match="views"):
        merge_views([])
    two, three = views([[1.0, 0.0]], video=[0]), views([[1.0, 0.0, 2.0]], video=[0])
    with pytest.raises(DataError, match="2 and 3 classes"):
        merge_views([two, three])
