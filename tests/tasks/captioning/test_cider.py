from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.tasks.captioning.cider import cider, exact_match

WORDS = ("a", "red", "blue", "star", "ring", "moves", "left", "up")
words = st.lists(st.sampled_from(WORDS), min_size=1)
sentences = words.map(" ".join)


def test_the_value_of_a_worked_example():
    captions = ["a b c d", "e f"]
    references = [["a b c d"], ["e g"]]
    # First: every order agrees. Second: the word "e" of two rare words, no pair.
    score, each = cider(captions, references)
    assert each[0] == pytest.approx(10)
    assert each[1] == pytest.approx(10 * (1 / 2) / 4)
    assert score == pytest.approx(sum(each) / 2)


def test_what_every_video_has_counts_nothing():
    score, _ = cider(["a star", "a ring"], [["a moon"], ["a heart"]])
    assert score == 0


def test_repetition_and_length_cost():
    references = [["a red star moves left"], ["the ring grows slowly here"]]
    good, _ = cider(["a red star moves left", "x"], references)
    repeated, _ = cider(["a red star moves left left left left", "x"], references)
    short, _ = cider(["a red star", "x"], references)
    assert short < repeated < good


def test_more_videos_make_common_words_cheap():
    def first_score(others: list[str]) -> float:
        return cider(["red star", *others], [["red ring"], *([text] for text in others)])[1][0]

    assert first_score(["red moon", "blue heart"]) < first_score(["old moon", "blue heart"])


@given(st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=1))
def test_scores_are_bounded_and_independent_of_order(pairs):
    captions, references = zip(*pairs, strict=True)
    score, each = cider(captions, references)
    assert all(0 <= value <= 10 + 1e-9 for value in each)
    assert math.isclose(score, sum(each) / len(each), abs_tol=1e-12)
    backwards, each_backwards = cider(captions[::-1], references[::-1])
    assert math.isclose(score, backwards, abs_tol=1e-9)
    assert each_backwards == pytest.approx(each[::-1])


@given(st.lists(sentences, min_size=1))
def test_a_caption_matches_itself(captions):
    assert exact_match(captions, [[caption] for caption in captions]) == 100


def test_one_of_several_references_is_enough():
    assert exact_match(["a", "b"], [["x", "a"], ["c"]]) == 50


@pytest.mark.parametrize(
    ("captions", "references"), [([], []), (["a"], []), (["a"], [[]]), (["a"], [["a"], ["b"]])]
)
def test_wrong_input_is_refused(captions, references):
    with pytest.raises(ValueError, match="reference"):
        cider(captions, references)
