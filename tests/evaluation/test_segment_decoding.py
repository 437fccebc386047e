"""From candidates to segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from internvideo.data.features import FeatureSequence
from internvideo.evaluation.segment_decoding import decode, in_seconds
from internvideo.models.actionformer import Candidates
from internvideo.models.actionformer_config import Selection


def candidates(valid=None) -> Candidates:
    """Two levels of two videos, two classes."""
    logits = (torch.full((2, 4, 2), -9.0), torch.full((2, 2, 2), -9.0))
    logits[0][0, 1] = torch.tensor([2.0, 1.0])
    logits[0][0, 3, 1] = 3.0
    logits[1][0, 1, 0] = 4.0
    logits[1][1, 0, 0] = 0.0
    offsets = (torch.full((2, 4, 2), 0.5), torch.full((2, 2, 2), 1.5))
    return Candidates(logits, offsets, valid)


def test_every_score_is_a_segment_with_its_class_level_by_level():
    first, second = decode(candidates(), (1, 2))
    assert first.times.tolist() == [[2.5, 3.5], [0.5, 1.5], [0.5, 1.5], [-1.0, 5.0]]
    assert first.labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(
        first.scores, torch.tensor([3.0, 2.0, 1.0, 4.0]).sigmoid().numpy(), rtol=1e-6
    )
    assert second.times.tolist() == [[-3.0, 3.0]]


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        (Selection(per_level=1), [1, 0]),
        (Selection(min_score=0.9), [1, 0]),
        (Selection(min_length=1.5), [0]),
        (Selection(min_score=0.999), []),
    ],
)
def test_what_does_not_count_is_left_out(config, labels):
    assert decode(candidates(), (1, 2), config)[0].labels.tolist() == labels


def test_nothing_is_found_in_the_padding():
    valid = (torch.tensor([[True, True, True, False]] * 2), torch.tensor([[True, False]] * 2))
    first, _ = decode(candidates(valid), (1, 2), Selection(min_score=0.0))
    assert 3.0 not in first.times.mean(axis=1)
    assert len(first) == 2 * (3 + 1)


def test_rows_become_seconds_within_the_video():
    video = FeatureSequence(features=torch.zeros(4, 1), fps=25.0, stride=4, window=16, duration=0.9)
    found = in_seconds(decode(candidates(), (1, 2))[0], video)
    np.testing.assert_allclose(found.times[0], [(2.5 * 4 + 8) / 25, (3.5 * 4 + 8) / 25])
    np.testing.assert_allclose(found.times[-1], [4 / 25, 0.9])
    np.testing.assert_allclose(video.seconds_at(video.rows_at(np.array([0.1, 7.0]))), [0.1, 7.0])
