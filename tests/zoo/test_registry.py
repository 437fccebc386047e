from __future__ import annotations

import json
import subprocess
import sys

import pytest

from internvideo.errors import UnknownNameError
from internvideo.zoo import registry
from internvideo.zoo.registry import find_card, find_cards, list_models


def test_patterns_are_those_of_the_shell():
    assert list_models("videomae-b16-*") == [
        "videomae-b16-hybrid-pt",
        "videomae-b16-k400",
        "videomae-b16-k710",
        "videomae-b16-ssv2",
    ]
    assert list_models("VIDEOMAE-?16-K700") == ["videomae-l16-k700"]
    assert list_models("nothing*") == []
    assert len(list_models()) >= 162


def test_filters_combine():
    assert all(card.is_available for card in find_cards(available=True))
    assert not any(card.is_available for card in find_cards(available=False))
    assert list_models("*200m", family="viclip", available=True) == [
        "viclip-l14-internvid-200m",
        "viclip-b16-internvid-200m",
    ]
    with pytest.raises(UnknownNameError, match=r"unknown family 'ViCLP'.*'ViCLIP'"):
        list_models(family="ViCLP")


def test_an_alias_finds_the_card_and_is_matched_by_patterns():
    assert find_card("viclip-l14").name == "viclip-l14-internvid-10m-flt"
    assert find_card("ViCLIP-L14") is find_card("viclip-l14-internvid-10m-flt")
    assert "viclip-l14-internvid-10m-flt" in list_models("viclip-l14")


def test_a_card_shows_itself_in_a_line():
    assert repr(find_card("videomae-b16-k400")) == (
        "Card('videomae-b16-k400', VideoMAE, available, videomae/classifier B)"
    )
    assert all("\n" not in repr(card) for card in find_cards())


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"unknown model 'videomae-b16-k40'.*'videomae-b16-k400'"
    ):
        find_card("videomae-b16-k40")


def test_folders_with_weights_become_embedded_cards(tmp_path):
    card = {
        "name": "tiny",
        "family": "Nano",
        "status": "available",
        "architecture": "viclip",
        "description": "small",
        "embedded": True,
        "provenance": {"recipe": "world_viclip-nano"},
    }
    for folder in ("tiny", "unfinished"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "card.json").write_text(json.dumps({**card, "name": folder}))
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"")
    (found,) = registry._embedded_cards(tmp_path)
    assert found.name == "tiny"
    assert found.directory == tmp_path / "tiny"
    assert found.provenance["recipe"] == "world_viclip-nano"


def test_embedded_models_are_there_and_come_first():
    embedded = [card for card in find_cards() if card.embedded]
    assert find_cards()[: len(embedded)] == embedded
    for card in embedded:
        assert (card.directory / "model.safetensors").is_file()
        assert (card.directory / "config.json").is_file()
        assert card.is_available
        assert card.provenance


def test_the_list_needs_no_torch_and_costs_little():
    code = (
        "import sys, internvideo.zoo as zoo; n = len(zoo.list_models());"
        "print(n, 'torch' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, torch, hub = run.stdout.split()
    assert int(count) >= 162
    assert (torch, hub) == ("False", "False")


def test_the_package_gives_its_names_and_no_others():
    from internvideo import zoo

    for name in zoo.__all__:
        assert callable(getattr(zoo, name))
    assert set(dir(zoo)) >= {"verify", "find_card"}
    with pytest.raises(AttributeError, match="nothing"):
        zoo.nothing  # noqa: B018
