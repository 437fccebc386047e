from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from internvideo.models.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from internvideo.tasks.unmasked_teacher.losses import (
    IGNORED,
    Negatives,
    draw_negatives,
    hide_words,
    matching_labels,
    negative_weights,
    word_loss,
)

WORDS = tuple(f"w{number}" for number in range(95))
TOKENIZER = WordPieceTokenizer(SPECIAL_TOKENS + WORDS, 32)
PAD, _, CLS, SEP, MASK = range(5)


def test_equal_ids_are_never_negatives():
    similarity = torch.tensor([[9.0, 1.0, 2.0], [8.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    ids = torch.tensor([7, 7, 5])
    weights = negative_weights(similarity, ids)
    assert ((weights == 0) == torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()).all()
    assert weights[0, 2] == pytest.approx(math.exp(2) / (math.exp(9) + math.exp(1) + math.exp(2)))


def test_the_alike_are_drawn_in_proportion():
    similarity = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    ids = torch.tensor([0, 1, 2])
    generator = torch.Generator().manual_seed(0)
    draws = [draw_negatives(similarity, ids, generator=generator) for _ in range(4000)]
    texts = torch.stack([draw.text for draw in draws])
    videos = torch.stack([draw.video for draw in draws])
    share = (texts[:, 0] == 2).float().mean()
    assert share == pytest.approx(math.exp(2) / (math.exp(1) + math.exp(2)), abs=0.03)
    # Of the videos for the text 2, the column (2, 0, 0): video 0 is the hard one.
    share = (videos[:, 2] == 0).float().mean()
    assert share == pytest.approx(math.exp(2) / (math.exp(2) + 1), abs=0.03)
    for drawn in (texts, videos):
        assert not (drawn == torch.arange(3)).any()


def test_labels_are_one_for_pairs_and_zero_for_what_was_drawn():
    negatives = Negatives(video=torch.tensor([1, 0]), text=torch.tensor([1, 0]))
    assert matching_labels(torch.tensor([4, 5]), negatives).tolist() == [1, 1, 0, 0, 0, 0]


def test_a_batch_of_one_caption_has_no_negatives():
    ids = torch.tensor([4, 4])
    negatives = draw_negatives(torch.zeros(2, 2), ids)
    assert matching_labels(ids, negatives).tolist() == [1, 1, *[IGNORED] * 4]


def test_words_are_hidden_in_the_stated_shares():
    rng = np.random.default_rng(0)
    text = TOKENIZER(" ".join(WORDS[:20]))[0]
    counts = dict.fromkeys(("shown", "masked", "changed", "same"), 0)
    for _ in range(1000):
        hidden = hide_words(text, TOKENIZER, probability=0.5, rng=rng)
        assert (hidden.tokens[0], hidden.words[0]) == (CLS, IGNORED)
        assert (hidden.tokens[22:] == PAD).all()
        assert (hidden.words[22:] == IGNORED).all()
        asked = hidden.words[1:22] != IGNORED
        read, given = hidden.tokens[1:22], text[1:22]
        assert torch.equal(hidden.words[1:22][asked], given[asked])
        assert torch.equal(read[~asked], given[~asked])
        counts["shown"] += int((~asked).sum())
        counts["masked"] += int((asked & (read == MASK)).sum())
        counts["same"] += int((asked & (read == given)).sum())
        counts["changed"] += int((asked & (read != given) & (read != MASK)).sum())
    total = 21 * 1000
    for name, share in (("shown", 0.5), ("masked", 0.4), ("changed", 0.05), ("same", 0.05)):
        assert counts[name] / total == pytest.approx(share, abs=0.012), name


def test_the_draw_is_that_of_the_generator():
    text = TOKENIZER("w1 w2 w3 w4")[0]
    first, second = (
        hide_words(text, TOKENIZER, probability=0.5, rng=np.random.default_rng(3)) for _ in "ab"
    )
    assert torch.equal(first.tokens, second.tokens)
    assert text.tolist() == TOKENIZER("w1 w2 w3 w4")[0].tolist()  # not changed in place


def test_the_word_loss_is_the_mean_over_hidden_words():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    words = torch.tensor([[IGNORED, 4, IGNORED], [2, IGNORED, 6]])
    log_probability = logits.log_softmax(dim=-1)
    picked = (log_probability[0, 1, 4], log_probability[1, 0, 2], log_probability[1, 2, 6])
    torch.testing.assert_close(word_loss(logits, words), -sum(picked) / 3)


def test_a_batch_without_hidden_words_costs_nothing():
    logits = torch.randn(1, 2, 7, requires_grad=True)
    loss = word_loss(logits, torch.full((1, 2), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
