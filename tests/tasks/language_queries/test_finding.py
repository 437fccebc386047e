"""Finding spans by training and by similarity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError
from internvideo.evaluation.stretches import similar_stretches
from internvideo.evaluation.text import embed_sentences
from internvideo.models.vslnet import VSLNet
from internvideo.tasks.language_queries.finding import (
    SimilarityFinder,
    SpanFinder,
    finder_for,
)
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.kinds.vslnet import VSLNET
from internvideo.zoo.load import load_model
from tiny import save_classifier, save_viclip

TINY = VSLNET.tiny


def sequence(rows, **changes):
    fields = {"fps": 10.0, "stride": 5.0, "window": 5.0, **changes}
    return FeatureSequence(features=rows, source="a.npy", **fields)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return load_model(save_viclip(tmp_path_factory.mktemp("towers") / "viclip"))


# --- similarity


@settings(deadline=None)
@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=12),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_stretches_are_all_that_reaches_the_threshold_and_nothing_more(values, threshold):
    cosines = torch.tensor(values, dtype=torch.float32)
    level = min(values) + threshold * (max(values) - min(values))
    stretches = similar_stretches(cosines, threshold)
    inside = {row for first, last, _ in stretches for row in range(first, last + 1)}
    assert inside == {row for row, value in enumerate(values) if value >= level}
    for first, last, score in stretches:
        assert first - 1 not in inside
        assert last + 1 not in inside
        assert score == pytest.approx(sum(values[first : last + 1]) - level * (last + 1 - first))
    scores = [score for *_, score in stretches]
    assert scores == sorted(scores, reverse=True)


def test_windows_like_the_sentence_are_found(towers):
    red, blue = embed_sentences(towers.two_towers, ["a red star", "a blue circle"])
    rows = torch.stack([blue, red, red, blue, blue, blue, red, blue])
    finder = SimilarityFinder(towers, top_k=5)
    one, other = finder.find(sequence(3 * rows), None, ["a red star", "A blue circle!"])
    assert one.times == ((0.5, 1.5), (3.0, 3.5))
    assert other.times == ((1.5, 3.0), (0.0, 0.5), (3.5, 4.0))


def test_a_stretch_of_overlapping_windows_is_counted_from_middle_to_middle(towers):
    red, blue = embed_sentences(towers.two_towers, ["a red star", "a blue circle"])
    rows = torch.stack([red, blue, red, red, blue])
    overlapping = sequence(rows, window=15.0, stride=5.0)
    [found] = SimilarityFinder(towers, top_k=1).find(overlapping, 3.2, ["a red star"])
    assert found.times == ((1.5, 2.5),)


def test_other_features_are_refused_with_both_widths(towers):
    with pytest.raises(ConfigError, match=r"7 channels.*have 16"):
        SimilarityFinder(towers, top_k=1).find(sequence(torch.randn(4, 7)), None, ["a red star"])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        SimilarityFinder(towers, top_k=1, threshold=2.0)


# --- a trained model


def span_finder(name="bert", **changes) -> SpanFinder:
    torch.manual_seed(0)
    model = LoadedModel(VSLNet(replace(TINY[name], **changes)))
    return SpanFinder(model, top_k=5)


@torch.no_grad()
def test_many_queries_about_a_video_are_those_one_by_one():
    finder = span_finder()
    features = sequence(torch.randn(40, 12))
    texts = ["a b", "c d e f", "g"] * 30
    together = finder.find(features, 20.0, texts)
    for text, found in zip(texts[:3], together[:3], strict=True):
        [alone] = finder.find(features, 20.0, [text])
        assert alone.times == found.times
        assert alone.scores == pytest.approx(found.scores, abs=1e-5)
    assert together[:3] == together[3:6]


@torch.no_grad()
def test_spans_lie_in_the_video_best_first():
    [found] = span_finder().find(sequence(torch.randn(9, 12)), 4.5, ["a"])
    assert len(found.times) == 5
    assert all(0 <= start < end <= 4.5 for start, end in found.times)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    [short] = span_finder().find(sequence(torch.randn(1, 12)), 0.5, ["a"])
    assert short.times == ((0.0, 0.5),)


@torch.no_grad()
def test_whole_rows_count_where_the_model_was_trained_so():
    rows = sequence(torch.randn(10, 12))
    [exact] = span_finder().find(rows, 4.9, ["a"])
    [whole] = span_finder(times="whole-rows").find(rows, 4.9, ["a"])
    ratios = np.array(whole.times) / np.maximum(np.array(exact.times), 1e-9)
    assert ratios[:, 1] == pytest.approx(4.5 / 4.9, abs=1e-5)


def test_features_of_another_width_are_refused():
    with pytest.raises(ConfigError, match="7 channels, the model takes 12"):
        span_finder().find(sequence(torch.randn(4, 7)), None, ["a"])


def test_a_model_without_words_finds_nothing(tmp_path):
    classifier = load_model(save_classifier(tmp_path / "classifier"))
    with pytest.raises(ConfigError, match="finds nothing by words"):
        finder_for(classifier, top_k=1, threshold=0.5)
