from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.generation import Limits, beam_search, greedy, nucleus

CPU = torch.device("cpu")
VOCABULARY, END, START = 4, 3, 0
LIMITS = Limits(start_id=START, end_id=END, max_length=4)


class Oracle:
    """A writer whose logits are a fixed random function of all that was written so far."""

    def __init__(self, seeds: list[int], *, spread: float = 1.5, vocabulary: int = VOCABULARY):
        self.texts: list[tuple[int, ...]] = [(seed,) for seed in seeds]
        self.spread = spread
        self.vocabulary = vocabulary
        self.steps = 0
        self.known: dict[tuple[int, ...], torch.Tensor] = {}

    def logits(self, text: tuple[int, ...]) -> torch.Tensor:
        if text not in self.known:
            generator = torch.Generator().manual_seed(hash(text) % 2**31)
            self.known[text] = torch.randn(self.vocabulary, generator=generator) * self.spread
        return self.known[text].clone()

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        self.texts = [(*text, id_) for text, id_ in zip(self.texts, ids.tolist(), strict=True)]
        return torch.stack([self.logits(text) for text in self.texts])

    def reorder(self, rows: torch.Tensor) -> None:
        self.texts = [self.texts[row] for row in rows.tolist()]

    def log_prob(self, seed: int, ids: tuple[int, ...], banned: tuple[int, ...] = ()) -> float:
        """Return the log-probability of a text, token by token."""
        total = 0.0
        for place, id_ in enumerate(ids):
            logits = self.logits((seed, START, *ids[:place]))
            logits[list(banned)] = -math.inf
            total += float(logits.log_softmax(0)[id_])
        return total


class Table:
    """A writer that looks logits up by what was written; what is not listed ends the text."""

    def __init__(self, rows: dict[tuple[int, ...], list[float]]):
        self.rows = rows
        self.texts: list[tuple[int, ...]] = [()]

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        self.texts = [(*text, id_) for text, id_ in zip(self.texts, ids.tolist(), strict=True)]
        default = [1e-6, 1e-6, 1e-6, 1.0]
        return torch.tensor([self.rows.get(text[1:], default) for text in self.texts]).log()

    def reorder(self, rows: torch.Tensor) -> None:
        self.texts = [self.texts[row] for row in rows.tolist()]


def whole(text) -> tuple[int, ...]:
    return (*text.ids, END) if text.ended else text.ids


def all_texts(max_length: int, vocabulary: int = VOCABULARY) -> list[tuple[int, ...]]:
    words = [word for word in range(vocabulary) if word != END]
    ended = [
        (*text, END)
        for length in range(max_length)
        for text in itertools.product(words, repeat=length)
    ]
    return ended + list(itertools.product(words, repeat=max_length))


def test_greedy_takes_the_most_probable_token_each_time():
    seeds = list(range(20))
    oracle = Oracle(seeds)
    written = greedy(oracle, LIMITS, batch=20, device=CPU)
    for seed, text in zip(seeds, written, strict=True):
        expected: list[int] = []
        while len(expected) < LIMITS.max_length and END not in expected:
            expected.append(int(oracle.logits((seed, START, *expected)).argmax()))
        assert whole(text) == tuple(expected)
        assert text.log_prob == pytest.approx(oracle.log_prob(seed, whole(text)), abs=1e-5)
    assert {text.ended for text in written} == {True, False}
    assert max(len(text.ids) for text in written) == LIMITS.max_length


def test_writing_stops_when_all_texts_have_ended():
    oracle = Oracle(list(range(3)), vocabulary=2)
    limits = Limits(start_id=0, end_id=1, max_length=50)
    written = greedy(oracle, limits, batch=3, device=CPU)
    assert all(text.ended for text in written)
    assert oracle.steps == max(len(text.ids) for text in written) + 1 < 50


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_one_beam_is_greedy(length_penalty):
    seeds = list(range(30))
    one = beam_search(
        Oracle(seeds),
        LIMITS,
        batch=30,
        device=CPU,
        num_beams=1,
        length_penalty=length_penalty,
    )
    plain = greedy(Oracle(seeds), LIMITS, batch=30, device=CPU)
    assert [whole(text) for text in one] == [whole(text) for text in plain]
    assert [t.log_prob for t in one] == pytest.approx([t.log_prob for t in plain], abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    first=st.integers(0, 10**6),
    length_penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    spread=st.sampled_from([0.2, 1.5, 4.0]),
)
def test_with_enough_beams_no_text_is_better(first, length_penalty, spread):
    seeds = [first, first + 1]
    oracle = Oracle(seeds, spread=spread)
    written = beam_search(
        oracle,
        LIMITS,
        batch=2,
        device=CPU,
        num_beams=VOCABULARY**LIMITS.max_length,
        length_penalty=length_penalty,
    )
    for seed, text in zip(seeds, written, strict=True):
        scores = {
            each: oracle.log_prob(seed, each) / len(each) ** length_penalty
            for each in all_texts(LIMITS.max_length)
        }
        best = max(scores.values())
        assert scores[whole(text)] == pytest.approx(best, abs=1e-5)
        assert text.log_prob == pytest.approx(oracle.log_prob(seed, whole(text)), abs=1e-5)


def test_more_beams_find_more_probable_texts():
    seeds = list(range(100))
    runs = {
        beams: beam_search(Oracle(seeds), LIMITS, batch=100, device=CPU, num_beams=beams)
        for beams in (1, 2, 4, 64)
    }
    mean = {beams: sum(text.log_prob for text in run) / 100 for beams, run in runs.items()}
    assert mean[1] < mean[2] < mean[4] <= mean[64]
    gains = [a.log_prob - b.log_prob for a, b in zip(runs[4], runs[1], strict=True)]
    assert min(gains) > -1e-5
    assert sum(gain > 1e-3 for gain in gains) > 10


def test_an_ended_text_is_not_lost_to_beginnings_that_end_worse():
    # By the mean over tokens, "1 end" is better than what takes its beam in the end.
    rows = {
        (): [1e-6, 0.4, 0.6, 1e-6],
        (1,): [0.01, 0.01, 0.01, 0.97],
        (2,): [0.006, 0.98, 0.007, 0.007],
        (2, 1): [0.5, 0.49, 0.005, 0.005],
        (2, 1, 0): [0.25, 0.25, 0.25, 0.25],
        (2, 1, 1): [0.25, 0.25, 0.25, 0.25],
    }
    limits = Limits(start_id=0, end_id=END, max_length=4)
    (text,) = beam_search(Table(rows), limits, batch=1, device=CPU, num_beams=2, length_penalty=1.0)
    assert (text.ids, text.ended) == ((1,), True)
    assert math.exp(text.log_prob) == pytest.approx(0.4 * 0.97, rel=1e-4)


def test_the_length_penalty_favours_longer_texts():
    seeds = list(range(100))
    lengths = [
        sum(
            len(text.ids)
            for text in beam_search(
                Oracle(seeds),
                LIMITS,
                batch=100,
                device=CPU,
                num_beams=8,
                length_penalty=penalty,
            )
        )
        for penalty in (0.0, 1.0, 3.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_a_tiny_nucleus_is_greedy():
    seeds = list(range(30))
    drawn = nucleus(
        Oracle(seeds),
        LIMITS,
        batch=30,
        device=CPU,
        top_p=1e-9,
        generator=torch.Generator().manual_seed(0),
    )
    assert drawn == greedy(Oracle(seeds), LIMITS, batch=30, device=CPU)


@pytest.mark.parametrize(("top_p", "temperature"), [(1.0, 1.0), (0.7, 1.0), (0.9, 2.0)])
def test_draws_have_the_probabilities_of_the_nucleus(top_p, temperature):
    oracle, many = Oracle([7]), 20_000
    probabilities = (oracle.logits((7, START)) / temperature).softmax(0).tolist()
    inside, reached = {}, 0.0
    for token in sorted(range(VOCABULARY), key=lambda token: -probabilities[token]):
        if reached < top_p:
            inside[token] = probabilities[token]
        reached += probabilities[token]
    expected = {token: share / sum(inside.values()) for token, share in inside.items()}
    assert len(expected) < VOCABULARY or top_p > 0.85
    drawn = nucleus(
        Oracle([7] * many),
        Limits(start_id=START, end_id=END, max_length=1),
        batch=many,
        device=CPU,
        top_p=top_p,
        temperature=temperature,
        generator=torch.Generator().manual_seed(1),
    )
    counts = Counter(whole(text)[0] for text in drawn)
    assert counts.keys() == expected.keys()
    for token, share in expected.items():
        assert counts[token] / many == pytest.approx(share, abs=0.015)


def test_draws_repeat_with_their_generator():
    def draw(seed: int):
        generator = torch.Generator().manual_seed(seed)
        oracle = Oracle(list(range(40)))
        return nucleus(oracle, LIMITS, batch=40, device=CPU, top_p=1.0, generator=generator)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


@pytest.mark.parametrize("strategy", [greedy, beam_search])
def test_banned_tokens_are_never_written(strategy):
    limits = Limits(start_id=START, end_id=END, max_length=4, banned=(0, 2))
    oracle = Oracle(list(range(40)))
    written = strategy(oracle, limits, batch=40, device=CPU)
    assert {token for text in written for token in text.ids} == {1}
    for seed, text in enumerate(written):
        expected = oracle.log_prob(seed, whole(text), limits.banned)
        assert text.log_prob == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("strategy", [greedy, beam_search])
def test_texts_of_a_batch_do_not_depend_on_each_other(strategy):
    together = strategy(Oracle(list(range(12))), LIMITS, batch=12, device=CPU)
    alone = [strategy(Oracle([seed]), LIMITS, batch=1, device=CPU)[0] for seed in range(12)]
    assert [whole(text) for text in together] == [whole(text) for text in alone]


def test_options_are_checked():
    oracle = Oracle([0])
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        Limits(start_id=0, end_id=1, max_length=0)
    with pytest.raises(ValueError, match="the end token 1 is banned"):
        Limits(start_id=0, end_id=1, max_length=3, banned=(1,))
    with pytest.raises(ValueError, match="num_beams"):
        beam_search(oracle, LIMITS, batch=1, device=CPU, num_beams=0)
    with pytest.raises(ValueError, match="length_penalty must not be negative"):
        beam_search(oracle, LIMITS, batch=1, device=CPU, length_penalty=-1)
    with pytest.raises(ValueError, match="top_p"):
        nucleus(oracle, LIMITS, batch=1, device=CPU, top_p=0.0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        nucleus(oracle, LIMITS, batch=1, device=CPU, temperature=0.0)
