from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import CheckpointError
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.layouts import Layout, Rename
from zoo.keylists import KEY_LISTS, read

TABLE = Layout(
    (
        Rename("stage{stage}.block{block}.{rest}", "blocks.{stage}.{block}.{rest}"),
        Rename("fc.{rest}", "head.{rest}"),
    )
)


def test_lines_rename_and_the_rest_stays():
    official = {"stage1.block12.w": 1, "fc.weight": 2, "norm": 3}
    ours = TABLE.to_ours(official)
    assert ours == {"blocks.1.12.w": 1, "head.weight": 2, "norm": 3}
    assert TABLE.to_official(ours) == official


def test_numbers_and_dots_are_taken_literally():
    table = Layout((Rename("a.{layer}.b", "c{layer}"),))
    assert table.name_to_ours("a.1.b") == "c1"
    assert table.name_to_ours("a.x.b") == "a.x.b"
    assert table.name_to_ours("axb") == "axb"


def test_names_must_not_become_one():
    with pytest.raises(CheckpointError, match=r"both 'fc\.weight' and 'head\.weight'"):
        TABLE.to_ours({"fc.weight": 1, "head.weight": 2})


def test_a_line_has_the_same_placeholders_on_both_sides():
    with pytest.raises(ValueError, match="differ in their placeholders"):
        Rename("a.{layer}", "b.{rest}")


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), unique=True))
def test_going_there_and_back_is_lossless(blocks):
    official = {f"stage{a}.block{b}.weight": (a, b) for a, b in blocks}
    assert TABLE.to_official(TABLE.to_ours(official)) == official


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.id)
def test_the_names_of_every_model_survive_the_round_trip(architecture):
    config = next(iter(architecture.sizes.values()))
    ours = architecture.shapes(config)
    for table in architecture.tables.values():
        assert table.to_ours(table.to_official(ours)) == ours


@pytest.mark.parametrize("path", KEY_LISTS, ids=lambda path: path.stem)
def test_the_names_of_every_key_list_survive_the_round_trip(path):
    shapes = read(path)
    tables = [OPENAI_CLIP] if path.stem.startswith("openai") else []
    for table in [*tables, *(t for a in ARCHITECTURES[:4] for t in a.tables.values())]:
        if path.stem.startswith("openset") is any("cls_head" in x.official for x in table.lines):
            there = table.to_ours(shapes)
            assert list(table.to_official(there).items()) == list(shapes.items())
