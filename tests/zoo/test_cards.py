"""The cards are data: every one must be whole, and true to what the library can do."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import registry
from internvideo.zoo.architectures import find_architecture
from internvideo.zoo.card import Card, Source
from internvideo.zoo.labels import label_names
from internvideo.zoo.resolve import card_config, card_labels, card_preprocessing

RELEASED = [card for card in registry.all_cards() if not card.embedded and not card.packages]
AVAILABLE = [card for card in RELEASED if card.is_available]


def by_name(cards):
    return pytest.mark.parametrize("card", cards, ids=[card.name for card in cards])


def test_every_released_file_has_a_card():
    assert len(RELEASED) == 167
    assert Counter(card.kind for card in RELEASED) == {
        "checkpoint": 152,
        "features": 9,
        "initialiser": 4,
        "group": 1,
        "bundle": 1,
    }
    assert Counter(card.family for card in RELEASED) == {
        "InternVideo-MM": 2,
        "VideoMAE": 14,
        "InternVideo-MM retrieval": 6,
        "InternVideo-MM VQA": 3,
        "VideoMAE detection (STAL)": 1,
        "ViCLIP": 8,
        "UniFormerV2": 49,
        "VideoMAE V2": 11,
        "Unmasked Teacher": 21,
        "Unmasked Teacher multimodal": 26,
        "InternVideo-Ego4D": 7,
        "Visual-Language Navigation": 5,
        "Open-set": 1,
        "TAL features": 6,
        "Ego4D features": 3,
        "OpenAI CLIP (initialiser)": 4,
    }
    # the Chinese model zoo lists 26 weight files
    assert sum(card.in_chinese_zoo for card in RELEASED) == 26


def test_what_is_available():
    assert Counter(card.family for card in AVAILABLE) == {
        "VideoMAE": 14,
        "VideoMAE V2": 10,
        "ViCLIP": 8,
        "OpenAI CLIP (initialiser)": 4,
        "InternVideo-Ego4D": 6,
        "InternVideo-MM": 2,
        "InternVideo-MM retrieval": 6,
        "InternVideo-MM VQA": 3,
        "UniFormerV2": 49,
        "Unmasked Teacher": 19,
        "Unmasked Teacher multimodal": 20,
        "VideoMAE detection (STAL)": 1,
        "Visual-Language Navigation": 4,
    }


@by_name(RELEASED)
def test_a_card_is_whole(card):
    assert card.description
    assert card.licence
    assert registry.bibtex(card).startswith("@")
    assert card.listed_in
    assert card.labels or card.labels_note or card.num_classes is None
    assert card.preprocessing in {None, *PRESETS}
    protocol = card_preprocessing(card)
    if protocol is not None and card.num_frames is not None and card.kind == "checkpoint":
        assert protocol.num_frames == card.num_frames
    if protocol is not None and card.resolution is not None:
        assert protocol.crop_size == card.resolution
    for metric in card.metrics:
        assert metric.dataset
        assert metric.metric
        assert metric.source
        assert isinstance(metric.value, float | str)
    for source in card.sources:
        assert re.fullmatch(r"https://\S+", source.url)
        assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", source.sha256)
    if card.files:
        assert card.file_name


@by_name(AVAILABLE)
def test_an_available_card_builds_its_model(card):
    architecture = find_architecture(card.architecture)
    config = card_config(card)
    shapes = architecture.shapes(config)
    assert shapes
    if card.num_classes is not None:
        heads = (
            "head.weight",
            "transformer.proj.2.weight",
            "vqa_classifier.5.weight",
            "bbox_head.cls_branches.0.weight",
        )
        head = next(shapes[name] for name in heads if name in shapes)
        assert head[0] == card.num_classes
    names = card_labels(card)
    assert names is None or len(names) == card.num_classes
    assert card_preprocessing(card) is not None


@by_name([card for card in RELEASED if card.labels])
def test_labels_have_one_name_an_output(card):
    assert len(label_names(card.labels)) == card.num_classes


def test_the_authors_order_goes_with_the_classifiers_trained_on_it():
    orders = {card.name: card.labels for card in RELEASED}
    assert orders["uniformerv2-l14-k400-8f"] == "kinetics-400/authors"
    assert orders["umt-b16-k700-8f"] == "kinetics-700/authors"
    assert orders["videomae-b16-k400"] == "kinetics-400/alphabetical"
    assert orders["videomae-b16-k710"] == "kinetics-710/authors"
    # either order is possible for these two: the card says so and names no labels
    for name in ("videomae-h16-384-k400-32f", "videomae-l16-k700"):
        assert orders[name] is None
        assert "authors" in registry.find_card(name).labels_note


def test_a_published_number_is_cited():
    (best,) = registry.find_card("videomae-h16-384-k400-32f").metrics
    assert (best.dataset, best.metric, best.value) == ("K400", "top-1", 89.54)
    views = [m.views for m in registry.find_card("videomae-b16-ssv2").metrics]
    assert views == ["16x2x3", "16x2x3"]
    assert registry.find_card("videomae-b16-ssv2").views_order == "frames x clips x crops"
    assert registry.find_card("umt-b16-k400-8f").views_order == "frames x crops x clips"


def test_the_checksum_of_openai_files_is_the_one_in_their_link():
    for name in ("b-32", "b-16", "l-14", "l-14-336"):
        (source,) = registry.find_card(f"openai-clip-vit-{name}").sources
        assert source.sha256 in source.url


def test_the_dead_bucket_is_never_tried_first():
    for card in RELEASED:
        statuses = [source.status for source in card.files]
        assert statuses == sorted(statuses, key=["live", "unchecked", "gone"].index)
        for source in card.sources:
            assert (source.status == "gone") is ("aliyuncs.com" in source.url)


def test_cards_speak_of_nothing_outside_the_repository():
    for path in (Path(registry.__file__).parent / "cards").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "keys/" not in text
        assert "/shared/" not in text


def test_a_wrong_card_is_refused():
    with pytest.raises(ValueError, match="unknown fields \\['colour'\\]"):
        Card.from_dict({"name": "a", "colour": "red"})
    with pytest.raises(ValueError, match="names no architecture"):
        Card(name="a", family="F", status="available", description="")
    with pytest.raises(ValueError, match="kind 'thing'"):
        Card(name="a", family="F", status="planned", description="", kind="thing")
    with pytest.raises(ValueError, match="link status 'dead'"):
        Source(url="https://x", status="dead")


def test_cards_round_trip_through_json():
    for card in RELEASED[:20]:
        from internvideo.zoo.hub import _card_to_dict

        assert Card.from_dict(json.loads(json.dumps(_card_to_dict(card)))) == card
