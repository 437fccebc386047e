from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import ConfigError, DataError
from internvideo.models.tokenizer import (
    CLIPTokenizer,
    WordTokenizer,
    clean_caption,
    padding_mask,
    trim_padding,
)

WORDS = ("a", "red", "star", "moves", "left", "don't")


@pytest.fixture
def words() -> WordTokenizer:
    return WordTokenizer(WORDS, 8)


def test_word_ids_have_a_known_layout(words):
    assert words("A red star, moves LEFT!").tolist() == [[2, 3, 4, 5, 6, 7, 9, 0]]
    assert words.vocab_size == 10
    assert words.end_id == 9
    assert words("a").dtype == torch.int64


def test_unknown_words_become_one_id_and_are_named(words):
    assert words.encode("a blue star") == [3, 1, 5]
    assert words.unknown_words("a blue star, a green star, blue sky") == ("blue", "green", "sky")
    assert words.unknown_words("Don't a-red_star") == ()
    assert words.suggestion("stars") == " Did you mean 'star'?"


def test_a_long_text_keeps_its_end(words):
    (row,) = words("a red star moves left a red star moves left").tolist()
    assert row == [2, 3, 4, 5, 6, 7, 3, 9]


def test_one_text_or_several(words):
    assert words(["a", "red star"]).tolist() == [
        words("a")[0].tolist(),
        words("red star")[0].tolist(),
    ]
    assert words([]).shape == (0, 8)
    assert words.decode(words("a red blue star")[0].tolist()) == "a red <unknown> star"


@given(st.text(max_size=60))
def test_every_row_has_exactly_one_largest_id(text):
    tokenizer = WordTokenizer(WORDS, 6)
    (row,) = tokenizer(text)
    assert (row == tokenizer.end_id).sum() == 1
    assert row.max() == tokenizer.end_id
    assert (row[row.argmax() + 1 :] == 0).all()
    assert (row >= 0).all()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (("a", "a"), "repeated words a"),
        (("Red",), "'Red' is not a single lower-case word"),
        (("red star",), "'red star' is not a single"),
        (("",), "'' is not"),
    ],
)
def test_a_bad_vocabulary_is_refused(vocabulary, message):
    with pytest.raises(ConfigError, match=message):
        WordTokenizer(vocabulary, 8)


@pytest.mark.parametrize("make", [lambda n: WordTokenizer(WORDS, n), CLIPTokenizer])
def test_a_context_needs_room_for_start_and_end(make):
    with pytest.raises(ConfigError, match="at least 2"):
        make(1)


def test_clip_ids():
    assert CLIPTokenizer(8)("a diagram").tolist() == [[49406, 320, 22697, 49407, 0, 0, 0, 0]]


def test_clip_decodes_what_it_encodes():
    tokenizer = CLIPTokenizer()
    assert (
        tokenizer.decode(tokenizer.encode("A  playful   Dog &amp; café")) == "a playful dog & café "
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a<|endoftext|>", [320, 49407]),
        ("<|StartOfText|> a", [49406, 320]),
        ("<<|endoftext|>", [24588, 347, 40786, 4160, 91, 285]),  # behind a mark it is text
    ],
)
def test_clip_knows_its_special_tokens_in_a_text(text, ids):
    assert CLIPTokenizer().encode(text) == ids


def test_clip_is_read_without_importing_open_clip():
    code = (
        "import sys; from internvideo.models.tokenizer import CLIPTokenizer; "
        "CLIPTokenizer()('a dog'); print('open_clip' in sys.modules, 'timm' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_clip_cuts_or_refuses_long_texts():
    text = "dog " * 20
    (row,) = CLIPTokenizer(8)(text).tolist()
    assert row[0] == 49406
    assert row[-1] == 49407
    assert len(set(row[1:-1])) == 1
    with pytest.raises(DataError, match="22 tokens exceeds the context of 8"):
        CLIPTokenizer(8, truncate=False)(text)


def test_tokenizers_travel_to_workers(words):
    for tokenizer in (words, CLIPTokenizer(8)):
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert torch.equal(copy("a red star"), tokenizer("a red star"))


def test_padding_is_what_follows_the_last_end_token():
    ids = torch.tensor([[2, 9, 3, 9, 0], [2, 9, 0, 0, 0]])
    assert padding_mask(ids).tolist() == [
        [False, False, False, False, True],
        [False, False, True, True, True],
    ]


def test_trimming_keeps_every_end_token():
    ids = torch.tensor([[2, 3, 9, 0, 0], [2, 9, 0, 0, 0]])
    assert trim_padding(ids).tolist() == [[2, 3, 9], [2, 9, 0]]
    assert trim_padding(ids[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Human action of {}, an ACTION.", "human action of {} an action"),
        ("semi-final / re-match", "semi final re match"),
        ("<person> is cooking", "person is cooking"),
        ("...", ""),
    ],
)
def test_clean_caption(raw, cleaned):
    assert clean_caption(raw) == cleaned


@given(st.text(max_size=40))
def test_cleaning_twice_is_cleaning_once_for_simple_text(text):
    simple = text.replace("<", "").replace("\n", " ").replace("\r", " ")
    once = clean_caption(simple)
    assert clean_caption(once) == once
