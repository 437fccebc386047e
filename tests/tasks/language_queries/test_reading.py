"""How sentences become what a model reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.errors import ConfigError
from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import GivenTextConfig
from internvideo.tasks.language_queries.reading import QueryReader
from internvideo.zoo.kinds.vslnet import VSLNET
from internvideo.zoo.load import load_model
from tiny import save_viclip

TINY = VSLNET.tiny


def reader(name, **changes):
    torch.manual_seed(0)
    return QueryReader(VSLNet(replace(TINY[name], **changes)).eval())


def test_pieces_of_words_stand_between_start_and_end():
    ids = reader("bert").read(["A b?"])[0]["ids"]
    vocabulary = TINY["bert"].text.vocabulary
    assert [vocabulary[each] for each in ids] == ["[CLS]", "a", "b", "[UNK]", "[SEP]"]


def test_a_sentence_keeps_its_form_where_the_model_wants_it():
    assert len(reader("bert", wording="sentence").read(["A b"])[0]["ids"]) == 4
    assert len(reader("bert", wording="question").read(["A b"])[0]["ids"]) == 5


def test_words_and_their_letters_are_numbered_from_two():
    [reading] = reader("words", wording="sentence").read(["B zebra abc a"])
    assert reading["ids"].tolist() == [3, 1, 1, 2]  # the vocabulary is a, b, c, d
    assert reading["letters"][2].tolist() == [2, 3, 4, 0, 0]  # the letters are a, b, c
    assert reading["letters"][1].tolist() == [1, 1, 3, 1, 2]


def test_longer_words_in_a_batch_do_not_change_what_is_read_of_a_short_one():
    reading = reader("words")
    alone = reading.model.embed_query(reading.padded(reading.read(["a b"])))
    with torch.no_grad():
        both = reading.model.embed_query(reading.padded(reading.read(["a b", "abcabcabcabc"])))
    torch.testing.assert_close(both[0, : alone.shape[1]], alone[0])


def test_a_frozen_encoder_can_be_asked_once_and_for_all():
    reading = reader("bert")
    reading.model.train()
    texts = ["a b", "c d e", "f"]
    kept = reading.padded(reading.read_vectors(texts))
    assert reading.model.training
    reading.model.eval()
    tokens = reading.padded(reading.read(texts))
    shown = tokens.shown
    assert torch.equal(kept.shown, shown)
    ours, theirs = reading.model.embed_query(kept), reading.model.embed_query(tokens)
    torch.testing.assert_close(ours[shown], theirs[shown])


def test_a_text_tower_gives_a_vector_a_sentence(tmp_path):
    folder = str(save_viclip(tmp_path / "towers"))
    config = replace(TINY["given"], text=GivenTextConfig(width=16, model=folder))
    reading = QueryReader(VSLNet(config))
    red, blue, again = (
        each["vectors"] for each in reading.read(["A red star.", "blue", "a red star"])
    )
    assert red.shape == (1, 16)
    assert torch.equal(red, again)  # cleaned as by its own evaluation
    assert not torch.equal(red, blue)
    given = QueryReader(VSLNet(TINY["given"]), load_model(folder))
    assert torch.equal(given.read(["a red star"])[0]["vectors"], red)
    with pytest.raises(ConfigError, match=r"16 numbers, text\.width is 8"):
        QueryReader(VSLNet(replace(config, text=GivenTextConfig(width=8, model=folder))))


def test_what_a_model_does_not_bring_is_named():
    bert, words = TINY["bert"].text, TINY["words"].text
    for text, named in (
        (replace(bert, vocabulary=None), r"text\.vocabulary"),
        (replace(words, vocabulary=None), r"text\.letters"),
        (GivenTextConfig(width=8), r"text\.model"),
    ):
        with pytest.raises(ConfigError, match=named):
            QueryReader(VSLNet(replace(TINY["bert"], text=text)))
    with pytest.raises(ConfigError, match="no words"):
        reader("bert").read(["a", "?"])
