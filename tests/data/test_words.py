"""Tables of word vectors."""

from __future__ import annotations

import pytest
import torch

from internvideo.cli.application import run
from internvideo.data.words import read_words, restrict_words, words_of
from internvideo.errors import DataError


def test_a_table_gives_words_and_vectors(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("3 2\nthe 1 2\ncup 0.5 -1\n? 3e-1 4\nthe 9 9\n")
    found = read_words(path)
    assert found.words == ("the", "cup", "?")
    assert found.vectors is not None
    torch.testing.assert_close(found.vectors, torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.3, 4.0]]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't i?", ["do", "n't", "i", "?"]),
        ("the cat's toy, red-hot", ["the", "cat", "'s", "toy", ",", "red", "-", "hot"]),
    ],
)
def test_sentences_are_cut_as_tables_have_their_words(text, words):
    assert words_of(text) == words


def test_words_may_stand_alone(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("the\ncup\n")
    found = read_words(path)
    assert (found.words, found.vectors) == (("the", "cup"), None)


@pytest.mark.parametrize(
    ("content", "named"),
    [("", "empty"), ("a 1 2\nb 1\n", "'b'.*1 numbers"), ("a 1 x\n", ":1: expected a word")],
)
def test_a_broken_table_is_refused(tmp_path, content, named):
    path = tmp_path / "glove.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=named):
        read_words(path)


def test_a_large_table_is_restricted_to_the_words_that_are_wanted(tmp_path):
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("the 1 2\ncup 0.5 -1\nhouse 3 4\n")
    assert restrict_words(large, ["cup", "the", "unicorn"], small) == 2
    assert read_words(small).words == ("the", "cup")
    with pytest.raises(DataError, match="none of the 1 words"):
        restrict_words(large, ["unicorn"], tmp_path / "none.txt")
    assert not (tmp_path / "none.txt").exists()


def test_the_command_copies_the_vectors_of_the_words_of_annotations(tmp_path, capsys):
    queries = tmp_path / "charades_sta_train.txt"
    queries.write_text("A 1.0 2.0##Person doesn't move.\nB 1 3##a cat sits.\n")
    vectors = tmp_path / "glove.txt"
    vectors.write_text("cat 1 2\ndog 3 4\nn't 5 6\n. 7 8\nPerson 9 9\n")
    out = tmp_path / "small.txt"
    assert run(["data", "words", str(vectors), str(queries), "--out", str(out)]) == 0
    assert "3 of 8 words" in capsys.readouterr().out
    assert read_words(out).words == ("cat", "n't", ".")
