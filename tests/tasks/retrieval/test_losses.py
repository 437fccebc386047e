from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.tasks.retrieval.headers import TokenWiseHeader, TokenWiseHeaderConfig
from internvideo.tasks.retrieval.losses import (
    cross_entropy,
    decorrelation_loss,
    dual_softmax_loss,
    max_margin_loss,
    mil_nce_loss,
)
from internvideo.train.contrast import contrastive_loss

SIZES = st.tuples(st.integers(2, 7), st.integers(0, 1000))


def scores(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, count, generator=torch.Generator().manual_seed(seed)) * 3


@given(SIZES)
@settings(deadline=None)
def test_both_directions_of_cross_entropy_are_the_contrast_of_the_vectors(drawn):
    count, seed = drawn
    video, text = F.normalize(
        torch.randn(2, count, 4, generator=torch.Generator().manual_seed(seed)), dim=-1
    )
    ids = torch.arange(count) % 3
    logits = text @ video.T / 0.1
    both = (cross_entropy(logits, ids) + cross_entropy(logits.T, ids)) / 2
    torch.testing.assert_close(both, contrastive_loss(video, text, 0.1, ids=ids))


@given(SIZES)
@settings(deadline=None)
def test_a_flat_prior_leaves_the_cross_entropy(drawn):
    matrix = scores(*drawn)
    torch.testing.assert_close(
        dual_softmax_loss(matrix, temperature=1e9), cross_entropy(matrix), rtol=1e-4, atol=1e-4
    )


def test_the_prior_of_a_video_is_over_the_texts():
    matrix = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    prior = torch.stack([matrix[:, 0].softmax(0), matrix[:, 1].softmax(0)], dim=1)
    expected = F.cross_entropy(matrix * prior * 2, torch.arange(2))
    torch.testing.assert_close(dual_softmax_loss(matrix, temperature=1.0), expected)


@given(SIZES, st.floats(0, 2))
@settings(deadline=None)
def test_hinges_are_against_rows_and_columns(drawn, margin):
    matrix = scores(*drawn)
    count = len(matrix)
    total = 0.0
    for row in range(count):
        for column in range(count):
            value = float(matrix[row, column])
            total += max(0.0, margin + value - float(matrix[row, row]))
            total += max(0.0, margin + value - float(matrix[column, column]))
    assert float(max_margin_loss(matrix, margin=margin)) == pytest.approx(total / count**2, 1e-4)


def test_captions_of_one_video_weigh_otherwise():
    matrix = torch.zeros(4, 4)  # all hinges are the margin, twice
    assert float(max_margin_loss(matrix, margin=0.5)) == pytest.approx(1.0)
    # 2 groups of 2: the same video 2 · 0.75, others 2 / 1 · 0.25; half of the pairs each
    loss = max_margin_loss(matrix, margin=0.5, group=2, easy_rate=0.25)
    assert float(loss) == pytest.approx((1.5 + 0.5) / 2)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 1000))
@settings(deadline=None)
def test_any_caption_of_the_group_may_be_the_right_one(groups, group, seed):
    matrix = scores(groups * group, seed).double()
    expected = []
    for number in range(groups):
        pair = number * group + group // 2
        own = range(number * group, (number + 1) * group)
        positive = sum(matrix[text, pair].exp() for text in own)
        others = sum(matrix[pair, v].exp() for v in range(len(matrix)) if v not in own)
        expected.append(((matrix[:, pair].exp().sum() + others) / positive).log())
    torch.testing.assert_close(mil_nce_loss(matrix, group=group), torch.stack(expected).mean())


# --- decorrelation ----------------------------------------------------------------------------


def pairs(seed: int = 0, *, weight_layers: int = 1):
    generator = torch.Generator().manual_seed(seed)
    words, frames = (
        torch.randn(4, 5, 6, generator=generator),
        torch.randn(4, 3, 6, generator=generator),
    )
    said = torch.arange(5) < torch.tensor([[5], [2], [3], [1]])
    seen = torch.arange(3) < torch.tensor([[3], [1], [2], [3]])
    torch.manual_seed(seed)
    header = TokenWiseHeader(TokenWiseHeaderConfig(weight_layers=weight_layers), 6)
    return header, words, said, frames, seen


def correlation(first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean product of standardised channels of matched rows, by torch's deviation."""
    first, second = ((x - x.mean(0)) / x.std(0) for x in (first, second))
    return (first * weights[:, None]).T @ second / weights.sum()


@pytest.mark.parametrize("kind", ["nearest", "weighted"])
def test_words_correlate_with_their_nearest_frames_and_frames_with_words(kind):
    header, words, said, frames, seen = pairs()
    found = header(words, said, frames, seen)
    w, f = F.normalize(words, dim=-1), F.normalize(frames, dim=-1)
    rows = {"word": [], "its frame": [], "weight": []}, {"frame": [], "its word": [], "weight": []}
    for number in range(4):
        for word in range(5):
            if said[number, word]:
                near = f[number][seen[number]] @ w[number, word]
                rows[0]["word"].append(w[number, word])
                rows[0]["its frame"].append(f[number, int(near.argmax())])
                rows[0]["weight"].append(found.word_weights[number, word])
        for frame in range(3):
            if seen[number, frame]:
                near = w[number][said[number]] @ f[number, frame]
                rows[1]["frame"].append(f[number, frame])
                rows[1]["its word"].append(w[number, int(near.argmax())])
                rows[1]["weight"].append(found.frame_weights[number, frame])
    matrix = torch.zeros(6, 6)
    for table in rows:
        first, second, weights = (torch.stack(column) for column in table.values())
        matrix += correlation(
            first, second, weights if kind == "weighted" else torch.ones_like(weights)
        )
    matrix /= 2
    away = matrix - torch.diag(matrix.diagonal())
    expected = 0.16 * (matrix.diagonal() - 1).square().sum() + 0.3 * away.square().sum()
    loss = decorrelation_loss(kind, header, words, said, frames, seen, off_diagonal=0.3)
    torch.testing.assert_close(loss, expected)


def test_random_matches_are_of_real_tokens():
    header, words, said, frames, seen = pairs()
    torch.manual_seed(3)
    first = decorrelation_loss("random", header, words, said, frames, seen)
    torch.manual_seed(3)
    spoilt = words.masked_fill(~said[..., None], 1e3), frames.masked_fill(~seen[..., None], 1e3)
    assert first == decorrelation_loss("random", header, spoilt[0], said, spoilt[1], seen)
    assert first != decorrelation_loss("random", header, words, said, frames, seen)
