from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import ConfigError, DataError
from internvideo.models.wordpiece import (
    SPECIAL_TOKENS,
    WordPieceTokenizer,
    read_vocabulary,
)

PIECES = (
    "a", "un", "##aff", "##able", "run", "##s", "##ning", "runs", "!", "'", "naive", "狗", "##n",
    "##狗", "want", "##want", "##ed", "wa", "low", "##est", ",",
)  # fmt: skip
TOKENIZER = WordPieceTokenizer(SPECIAL_TOKENS + PIECES, 8)
PAD, UNK, CLS, SEP, MASK = range(5)


def pieces(text: str) -> list[str]:
    return [(SPECIAL_TOKENS + PIECES)[number] for number in TOKENIZER.encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unaffable", ["un", "##aff", "##able"]),
        ("unwanted running", ["un", "##want", "##ed", "run", "##ning"]),
        ("runs", ["runs"]),  # the longest piece, not run + ##s
        ("wanted", ["want", "##ed"]),  # want, not wa
        ("runx", ["[UNK]"]),  # a word is cut as a whole or not at all
        ("lowest, run!", ["low", "##est", ",", "run", "!"]),
        ("ed", ["[UNK]"]),  # only as the end of a word
        ("Naïve", ["naive"]),
        ("NAI\u0308VE", ["naive"]),  # the accent as a character of its own
        ("a狗a", ["a", "狗", "a"]),
        ("狗狗", ["狗", "狗"]),  # never ##狗
        ("a" * 101, ["[UNK]"]),
        ("run\u200bs\x00\ufffd", ["runs"]),  # invisible characters are deleted
        ("run\u00a0a\u3000a\ta\na", ["run", "a", "a", "a", "a"]),  # blanks of other kinds
        ("a [MASK] run[SEP]", ["a", "[MASK]", "run", "[SEP]"]),
        ("[mask]", ["[UNK]"] * 3),  # only in capitals; the brackets are unknown
        ("", []),
        (" \n ", []),
    ],
)
def test_texts_worked_by_hand(text, expected):
    assert pieces(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop.", ["don", "'", "t", "stop", "."]),
        ("cost: $5^2", ["cost", ":", "$", "5", "^", "2"]),
        ("¿qué?", ["¿", "que", "?"]),
        ("Çay Żółw", ["cay", "zołw"]),  # the stroke of ł is no accent
        ("İ", ["i"]),
        ("東京 2020年", ["東", "京", "2020", "年"]),
        ("한국어", ["한국어"]),  # as separate letters, all one word
        ("カタカナ", ["カタカナ"]),  # kana are no ideographs
        ("x—y…z", ["x", "—", "y", "…", "z"]),
        ("ΟΔΟΣ ΣΑΣ", ["οδος", "σας"]),  # a sigma at the end of a word
        ("a\U0002b820b", ["a", "\U0002b820", "b"]),  # of the block of ideographs E
    ],
)
def test_words_and_marks(text, expected):
    folded = [unicodedata.normalize("NFD", word) for word in expected]
    vocabulary = (*SPECIAL_TOKENS, *dict.fromkeys(folded))
    ids = WordPieceTokenizer(vocabulary, 32).encode(text)
    assert [vocabulary[number] for number in ids] == folded


def test_rows_begin_and_end_and_are_padded_and_cut():
    rows = TOKENIZER(["a run", "a a a a a a a a a"])
    a, run = TOKENIZER.encode("a run")
    assert rows.dtype == torch.int64
    assert rows.tolist() == [
        [CLS, a, run, SEP, PAD, PAD, PAD, PAD],
        [CLS, a, a, a, a, a, a, SEP],
    ]
    assert torch.equal(TOKENIZER("a run"), rows[:1])
    assert TOKENIZER([]).shape == (0, 8)


def test_words_come_back():
    row = TOKENIZER("unwanted xyz 狗")[0].tolist()
    assert TOKENIZER.decode(row) == "unwanted 狗"


@given(st.text(max_size=40))
def test_any_text_gives_a_row(text):
    row = TOKENIZER(text)[0]
    assert row[0] == CLS
    assert (row == SEP).any()
    assert row.max() < TOKENIZER.vocab_size


def test_a_vocabulary_is_read_line_by_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join((*SPECIAL_TOKENS, *PIECES, "")).encode())
    assert read_vocabulary(path) == SPECIAL_TOKENS + PIECES
    tokenizer = WordPieceTokenizer.from_file(path, 8)
    assert torch.equal(tokenizer("unaffable 狗"), TOKENIZER("unaffable 狗"))
    assert tokenizer.vocab_size == len(SPECIAL_TOKENS) + len(PIECES)


def test_a_line_may_hold_any_character_but_the_end_of_a_line(tmp_path):
    odd = ("\u2028", "\x85", "\xa0")
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join((*SPECIAL_TOKENS, *odd, "a")) + "\n", encoding="utf-8")
    assert WordPieceTokenizer.from_file(path, 4).encode("a") == [8]


def test_bad_vocabularies_are_explained(tmp_path):
    with pytest.raises(DataError, match=r"missing\.txt is not a readable vocabulary"):
        read_vocabulary(tmp_path / "missing.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_vocabulary(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not a readable vocabulary"):
        read_vocabulary(tmp_path / "latin.txt")
    with pytest.raises(ConfigError, match=r"special tokens \[MASK\] are missing"):
        WordPieceTokenizer(SPECIAL_TOKENS[:4], 8)
    with pytest.raises(ConfigError, match=r"first piece must be \[PAD\], not 'a'"):
        WordPieceTokenizer(("a", *SPECIAL_TOKENS), 8)
    with pytest.raises(ConfigError, match="repeated pieces a"):
        WordPieceTokenizer((*SPECIAL_TOKENS, "a", "a"), 8)
    with pytest.raises(ConfigError, match="context_length must be at least 2"):
        WordPieceTokenizer(SPECIAL_TOKENS, 1)


def test_without_a_vocabulary_the_way_out_is_told():
    tokenizer = WordPieceTokenizer(None, 8, vocab_size=30522)
    assert tokenizer.vocab_size == 30522
    for use in (
        lambda: tokenizer("a"),
        lambda: tokenizer.encode("a"),
        lambda: tokenizer.decode([]),
    ):
        with pytest.raises(ConfigError, match=r"model\.use_vocabulary"):
            use()


def test_a_tokenizer_travels_to_workers_and_is_copied_with_its_model():
    for copied in (pickle.loads(pickle.dumps(TOKENIZER)), copy.deepcopy(TOKENIZER)):
        assert torch.equal(copied("unaffable 狗"), TOKENIZER("unaffable 狗"))
