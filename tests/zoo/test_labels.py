from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import UnknownNameError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.zoo import find_card, load_model
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.labels import detect_order, index_map, k710_rows, label_maps, label_names

SIZES = {
    "something-something-v1": 174,
    "something-something-v2": 174,
    "ucf101": 101,
    "hmdb51": 51,
    "moments-v1": 339,
    "moments-v2": 305,
    "activitynet": 200,
    "ava": 80,
}
SETS = ("kinetics-400", "kinetics-600", "kinetics-700")


@pytest.mark.parametrize("labels", label_maps())
def test_every_map_has_as_many_names_as_its_set_has_classes(labels):
    names = label_names(labels)
    family = labels.partition("/")[0]
    assert len(names) == SIZES.get(family) or len(names) == int(family.removeprefix("kinetics-"))
    assert len(set(names)) == len(names)
    assert all(name == name.strip() and name for name in names)


def test_the_authors_order_of_kinetics_400():
    authors = label_names("kinetics-400/authors")
    assert authors[:3] == ("riding a bike", "marching", "dodgeball")
    assert authors[341] == "abseiling"
    assert authors[399] == "playing badminton"
    alphabetical = label_names("kinetics-400/alphabetical")
    assert list(alphabetical) == sorted(alphabetical)
    assert set(authors) == set(alphabetical)


@pytest.mark.parametrize("dataset", SETS)
def test_going_to_the_alphabet_and_back(dataset):
    there = index_map(f"{dataset}/authors", f"{dataset}/alphabetical")
    back = index_map(f"{dataset}/alphabetical", f"{dataset}/authors")
    certain = [index for index in there if index is not None]
    assert len(set(certain)) == len(certain)
    for alphabetical, author in enumerate(there):
        if author is not None:
            assert back[author] == alphabetical
    missing = {"kinetics-400": 0, "kinetics-600": 2, "kinetics-700": 1}[dataset]
    assert there.count(None) == back.count(None) == missing


@pytest.mark.parametrize("dataset", SETS)
def test_a_map_leads_to_the_same_name(dataset):
    authors, names = label_names(f"{dataset}/authors"), label_names(f"{dataset}/alphabetical")
    there = index_map(f"{dataset}/authors", f"{dataset}/alphabetical")
    for name, index in zip(names, there, strict=True):
        assert index is None or authors[index].lower() == name.lower()


def test_rows_of_the_k710_head():
    assert k710_rows("kinetics-400/authors") == tuple(range(400))
    assert k710_rows("kinetics-400/alphabetical")[:3] == (341, 158, 189)
    assert k710_rows("kinetics-600/authors")[:3] == (121, 562, 518)
    assert k710_rows("kinetics-700/authors")[:3] == (363, 481, 594)
    names = label_names("kinetics-710/authors")
    rows = k710_rows("kinetics-700/authors")
    assert tuple(names[row] for row in rows) == label_names("kinetics-700/authors")


def test_a_head_with_uncertain_rows_is_refused():
    with pytest.raises(
        UnknownNameError, match=r"not every class has a certain row.*kinetics-600/authors"
    ):
        k710_rows("kinetics-600/alphabetical")
    with pytest.raises(UnknownNameError, match="unknown label map 'kinetics-400'"):
        k710_rows("kinetics-400")
    with pytest.raises(UnknownNameError, match="Did you mean 'kinetics-400/authors'"):
        label_names("kinetics-400/author")


def test_maps_between_sets_go_by_name():
    there = index_map("kinetics-600/authors", "kinetics-400/alphabetical")
    names = label_names("kinetics-600/authors")
    assert names[there[0]] == "abseiling"
    assert index_map("kinetics-400/authors", "kinetics-400/authors") == tuple(range(400))


@pytest.mark.parametrize("labels", label_maps())
def test_each_order_is_recognised(labels):
    names = label_names(labels)
    found = detect_order(names)
    assert (found.labels, found.agreement, found.differing) == (labels, 1.0, ())
    spelled = [name.upper().replace(" ", "_").replace("(", "") for name in names]
    assert detect_order(spelled).labels == labels


def test_a_few_other_spellings_are_told():
    names = list(label_names("kinetics-400/authors"))
    names[7] = "hand clapping"
    found = detect_order(names)
    assert found.labels == "kinetics-400/authors"
    assert found.differing == ((7, "hand clapping", "clapping"),)


@given(st.permutations(range(400)))
def test_another_order_is_not_taken_for_a_known_one(order):
    names = label_names("kinetics-400/alphabetical")
    found = detect_order([names[index] for index in order])
    assert found is None or found.agreement >= 0.9


def test_unknown_lists_are_in_no_order():
    assert detect_order([]) is None
    assert detect_order(["cat", "dog"]) is None
    assert detect_order([f"class {i}" for i in range(400)]) is None


def test_the_orders_of_the_other_data_sets():
    first = {labels: label_names(labels)[0] for labels in label_maps()}
    assert first["something-something-v1/mmaction2"] == "Holding something"
    assert first["something-something-v2/official"] == "Approaching something with your camera"
    assert set(label_names("something-something-v1/mmaction2")) == set(
        label_names("something-something-v2/official")
    )
    assert label_names("ucf101/official")[34:36] == ("Hammering", "HammerThrow")
    assert label_names("moments-v1/official")[:3] == ("clapping", "praying", "dropping")
    assert label_names("ava/official")[11] == "stand"  # id 12
    assert label_names("ava/official")[79] == "watch (a person)"
    assert sorted(label_names("activitynet/mmaction2")) == list(
        label_names("activitynet/alphabetical")
    )


@pytest.fixture
def unsure(tmp_path):
    """A classifier whose card has an order that is only likely."""
    config = VideoClassifierConfig(
        num_classes=174, image_size=16, num_frames=2, patch_size=8, width=8, depth=1, num_heads=1
    )
    card = find_card("videomae-h16-ssv1")
    record = Record(labels=label_names(card.labels), card=card)
    loaded = LoadedModel(VideoClassifier(config), record)
    loaded.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_an_order_that_is_only_likely_is_told_when_the_model_is_loaded(unsure, caplog):
    loaded = load_model(unsure)
    assert loaded.labels[0] == "Holding something"
    (warning,) = caplog.messages
    assert "not certain" in warning
    assert "something-something-v2/official" in warning


def test_an_order_that_is_only_likely_gives_way_to_the_one_that_is_passed(unsure, caplog):
    likely, passed = (
        load_model(unsure),
        load_model(unsure, labels="something-something-v2/official"),
    )
    assert len(caplog.messages) == 1, "of the first alone"
    assert passed.labels == label_names("something-something-v2/official")
    assert torch.equal(passed.model.head.weight, likely.model.head.weight)
