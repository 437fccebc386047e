from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import CheckpointError
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture
from internvideo.zoo.layouts import Layout, OnlyOurs, OnlyTheirs, Rename, Stack
from internvideo.zoo.verification import verify
from zoo import tiny
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
def test_every_layout_of_every_model_survives_the_round_trip(architecture):
    """Tiny models with weights of their own go to each layout and come back bit for bit."""
    for config in architecture.tiny.values():
        ours = {
            name: torch.rand(shape) + 0.01 for name, shape in architecture.shapes(config).items()
        }
        if getattr(config, "positions", None) == "base-grid":
            config = replace(config, positions="direct")  # mmaction2 writes the table itself
        for name, layout in architecture.tables.items():
            state = dict(ours)
            for line in layout.lines:
                if isinstance(line, OnlyOurs) and (made := line.make(ours)) is not None:
                    state[line.ours] = made
            back = layout.to_ours(layout.to_official(state, config))
            assert back.keys() == state.keys(), name
            assert all(torch.equal(back[n], state[n]) for n in state), name


@pytest.mark.parametrize("path", KEY_LISTS, ids=lambda path: path.stem)
def test_the_names_of_every_key_list_survive_the_round_trip(path):
    """Where no line of a layout fits, or only those of its own files do."""
    shapes = read(path)
    layout = verify(shapes).layout
    table = find_architecture(verify(shapes).architecture).tables[layout]
    if path.stem.startswith(("openai", "clip-teacher")):
        return  # these are reshaped, see the test above
    assert list(table.to_official(table.to_ours(shapes)).items()) == list(shapes.items())


def test_parts_are_stacked_and_a_stack_that_is_not_complete_stays():
    table = Layout((Stack(("{layer}.q", "{layer}.k"), "blocks.{layer}.qk"),))
    q, k = torch.rand(2, 3), torch.rand(2, 3)
    ours = table.to_ours({"0.q": q, "x": q, "0.k": k, "1.q": q})
    assert list(ours) == ["blocks.0.qk", "x", "1.q"]
    assert torch.equal(ours["blocks.0.qk"], torch.cat([q, k]))
    there = table.to_official({"blocks.0.qk": ours["blocks.0.qk"]})
    assert torch.equal(there["0.k"], k)
    assert table.official_names("blocks.7.qk") == ("7.q", "7.k")


def test_a_table_that_is_made_is_left_out_and_a_learnt_one_is_kept():
    table = Layout((OnlyTheirs("pos", torch.zeros, lambda config: torch.zeros(config)),))
    assert table.to_ours({"pos": torch.zeros(3).half()}) == {}
    assert "pos" in table.to_ours({"pos": torch.ones(3)})
    assert table.to_official({}, 4)["pos"].shape == (4,)


def test_what_the_files_have_no_place_for_is_named():
    table = find_architecture("openai-clip").tables["hf"]
    with pytest.raises(CheckpointError, match="temporal_positional_embedding"):
        table.to_official(tiny.viclip().state_dict())


@pytest.mark.parametrize("temperature", [0.01, 0.0596, 0.07, 1 / 3, 0.9, 1.7])
def test_the_temperature_comes_back_exactly(temperature):
    table = find_architecture("openai-clip").tables["official"]
    ours = {"temp": torch.tensor(temperature)}
    assert torch.equal(table.to_ours(table.to_official(ours))["temp"], ours["temp"])
