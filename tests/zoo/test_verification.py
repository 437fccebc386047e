from __future__ import annotations

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from internvideo.errors import CheckpointError, UnknownNameError
from internvideo.zoo.architectures import find_architecture
from internvideo.zoo.hub import save_pretrained
from internvideo.zoo.identify import block_of, convert, identify, strip_prefixes
from internvideo.zoo.registry import find_cards
from internvideo.zoo.verification import read_key_list, verify
from zoo import tiny
from zoo.keylists import EXPECTED, HERE, KEY_LISTS, PLANNED_LISTS, read

CLASSIFIER = read(HERE / "videomae-b-k400.txt")
PRETRAINING = read(HERE / "videomae-pretrain-b.txt")
VICLIP = read(HERE / "viclip-b16.txt")


@pytest.mark.parametrize("path", KEY_LISTS, ids=lambda path: path.stem)
def test_every_official_key_list_converts_without_rest(path):
    architecture, size, traits = EXPECTED[path.stem]
    answer = verify(path)
    assert answer.ok, answer.message
    assert (answer.architecture, answer.size) == (architecture, size)
    assert (answer.missing, answer.unexpected, answer.mismatched) == ((), {}, {})
    assert {name: answer.config[name] for name in traits} == traits
    assert answer.num_tensors == len(read(path))


@pytest.mark.parametrize("path", KEY_LISTS, ids=lambda path: path.stem)
def test_the_converted_state_is_that_of_the_model(path):
    state = {name: torch.empty(shape, device="meta") for name, shape in read(path).items()}
    fit = identify(read(path))
    ours = {name: tuple(tensor.shape) for name, tensor in convert(state, fit)[1].items()}
    assert ours == fit.architecture.shapes(fit.config)


@pytest.mark.parametrize("path", PLANNED_LISTS, ids=lambda path: path.stem)
def test_a_file_of_a_planned_family_is_recognised_but_does_not_fit(path):
    answer = verify(path)
    assert not answer.ok
    assert "planned" in answer.message


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (
            ("vision_encoder.encoder.blocks.0.norm1.bias", "text_decoder.cls.predictions.bias"),
            "Unmasked Teacher that answers",
        ),
    ],
)
def test_planned_families_are_told_by_a_few_names(names, family):
    answer = verify({name: (8,) for name in names})
    assert not answer.ok
    assert re.search(rf"It looks like {family}.*, which is planned", answer.message)


def test_a_file_is_told_by_name():
    assert verify(HERE / "videomae-b-k400.txt").cards == ("videomae-b16-k400",)
    assert set(verify(HERE / "viclip-b16.txt").cards) == {
        "viclip-b16-internvid-10m-flt",
        "viclip-b16-internvid-200m",
    }
    assert verify(HERE / "viclip-b16.txt").num_parameters == pytest.approx(149.60e6, rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("shapes", [CLASSIFIER, PRETRAINING, VICLIP], ids=["cls", "mae", "clip"])
def test_a_missing_tensor_is_named(shapes, data):
    name = data.draw(st.sampled_from(sorted(shapes)))
    answer = verify({key: shape for key, shape in shapes.items() if key != name})
    assert not answer.ok
    assert answer.missing == (name,)
    assert not answer.unexpected
    assert not answer.mismatched


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("shapes", [CLASSIFIER, PRETRAINING, VICLIP], ids=["cls", "mae", "clip"])
def test_an_unexpected_tensor_is_named(shapes, data):
    name = data.draw(st.text("abcdefgh.", min_size=3).filter(lambda t: t not in shapes))
    answer = verify({**shapes, name: (3, 4)})
    assert not answer.ok
    assert list(answer.unexpected) == [name]
    assert not answer.missing


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("shapes", [CLASSIFIER, PRETRAINING, VICLIP], ids=["cls", "mae", "clip"])
def test_another_shape_is_seen(shapes, data):
    name = data.draw(st.sampled_from(sorted(shapes)))
    shape = (*shapes[name][:-1], (shapes[name] or (0,))[-1] + 1)
    answer = verify({**shapes, name: shape})
    assert not answer.ok
    assert answer.mismatched or answer.message


def test_a_misspelt_name_gets_its_nearest():
    shapes = dict(CLASSIFIER)
    shapes["blocks.3.norm_1.weight"] = shapes.pop("blocks.3.norm1.weight")
    answer = verify(shapes)
    assert answer.missing == ("blocks.3.norm1.weight",)
    assert answer.unexpected == {"blocks.3.norm_1.weight": "blocks.3.norm1.weight"}
    assert list(answer.problems()) == ["blocks.3", "blocks.3.norm_1"] or list(
        answer.problems()
    ) == ["blocks.3"]
    assert "nearest known name blocks.3.norm1.weight" in str(answer.problems())


def test_problems_are_grouped_by_block():
    shapes = {n: s for n, s in CLASSIFIER.items() if not n.startswith("blocks.5.")}
    answer = verify(shapes)
    assert list(answer.problems()) == ["blocks.5"]
    assert len(answer.problems()["blocks.5"]) == 13
    assert "13 missing: blocks.5: " in answer.message


def test_names_of_blocks():
    assert block_of("encoder.blocks.11.attn.qkv.weight") == "encoder.blocks.11"
    assert block_of("text_encoder.transformer.resblocks.3.ln_1.bias") == (
        "text_encoder.transformer.resblocks.3"
    )
    assert block_of("head.weight") == "head"
    assert block_of("temp") == "temp"


def test_an_own_model_of_a_known_architecture_is_fine_without_a_card():
    shapes = {**CLASSIFIER, "head.weight": (37, 768), "head.bias": (37,)}
    answer = verify(shapes)
    assert answer.ok
    assert answer.cards == ()
    assert answer.config["num_classes"] == 37


def test_an_encoder_alone_is_an_encoder():
    shapes = {
        name.removeprefix("encoder."): shape
        for name, shape in PRETRAINING.items()
        if name.startswith("encoder.")
    }
    answer = verify(shapes)
    assert (answer.ok, answer.architecture, answer.size) == (True, "videomae/encoder", "B")


def test_decoders_are_read_off_the_shapes():
    shapes = {n: s for n, s in PRETRAINING.items() if not n.startswith("decoder.blocks.3.")}
    answer = verify(shapes)
    assert answer.ok
    assert answer.config["decoder_depth"] == 3


def test_learnable_positions_give_the_grid():
    answer = verify({**CLASSIFIER, "pos_embed": (1, 8 * 24 * 24, 768)})
    assert answer.ok
    assert (answer.config["image_size"], answer.config["positions"]) == (384, "learnable")


@pytest.mark.parametrize(
    "prefixes",
    [("module.",), ("backbone.",), ("encoder.",), ("module.", "model."), ("_forward_module.",)],
)
def test_prefixes_are_taken_off_and_reported(prefixes):
    shapes = {f"{''.join(prefixes)}{name}": shape for name, shape in CLASSIFIER.items()}
    answer = verify(shapes)
    assert answer.ok, answer.message
    assert answer.stripped == prefixes
    assert answer.architecture == "videomae/classifier"


def test_compiled_models_have_a_prefix_anywhere():
    shapes = {name.replace("blocks.", "_orig_mod.blocks."): s for name, s in CLASSIFIER.items()}
    answer = verify({f"_orig_mod.{name}": shape for name, shape in shapes.items()})
    assert answer.ok
    assert answer.stripped == ("_orig_mod.",)


def test_a_prefix_that_belongs_to_the_model_stays():
    answer = verify(PRETRAINING)
    assert answer.ok
    assert answer.stripped == ()
    wrapped = verify({f"module.{name}": shape for name, shape in PRETRAINING.items()})
    assert wrapped.ok
    assert wrapped.stripped == ("module.",)


def test_names_that_become_one_are_refused():
    with pytest.raises(CheckpointError, match=r"two tensors are named 'head\.bias'"):
        strip_prefixes(
            {"module.head.bias": 1, "module.head.weight": 2, "head.bias": 3},
            find_architecture("videomae/classifier"),
        )


def test_both_ways_to_write_a_shape(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("# a comment\na\t[2, 3]\n\nb\t(4,)\nc\t()\nd\t[]\ne\t(5, 6)\tfloat32\n")
    assert read_key_list(path) == {"a": (2, 3), "b": (4,), "c": (), "d": (), "e": (5, 6)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\t[2]\nb [3]\n", r"keys\.txt:2: expected name<TAB>\[shape\], got 'b \[3\]'"),
        ("a\t[2]\na\t[2]\n", "keys.txt:2: a is listed twice"),
        ("a\t[-2]\n", "keys.txt:1: expected name"),
        ("a\t[99999999999999999999999]\n", "keys.txt:1: a has an absurd shape"),
        ("\n# nothing\n", "lists no tensors"),
    ],
)
def test_a_broken_key_list_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "keys.txt"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        verify(path)


def test_a_missing_file_and_an_unknown_architecture():
    with pytest.raises(CheckpointError, match="no such file"):
        verify("missing.pth")
    with pytest.raises(UnknownNameError, match="Did you mean 'videomae/classifier'"):
        verify(CLASSIFIER, architecture="videomae/classifer")


def test_a_stated_architecture_is_compared_with():
    assert verify(PRETRAINING, architecture="videomae/pretraining").ok
    answer = verify(CLASSIFIER, architecture="videomae/encoder")
    assert not answer.ok
    assert sorted(answer.unexpected) == [
        "fc_norm.bias",
        "fc_norm.weight",
        "head.bias",
        "head.weight",
    ]


@pytest.mark.parametrize(
    "shapes",
    [
        {"a": (1,)},
        {"blocks.999999999.norm1.weight": (64,), "patch_embed.proj.weight": (64, 3, 2, 16, 16)},
        {**CLASSIFIER, "blocks.0.norm1.weight": (0,), "patch_embed.proj.weight": (0, 0, 0, 0, 0)},
        {**CLASSIFIER, "head.weight": (1 << 39, 1 << 39)},
        {n: tuple(1 << 20 if e == 768 else e for e in s) for n, s in CLASSIFIER.items()},
        {name: (7,) for name in CLASSIFIER},
        {name: () for name in CLASSIFIER},
        {f"blocks.{i}.norm1.weight": (768,) for i in range(2000)},
    ],
)
def test_nonsense_does_not_fit_and_does_no_harm(shapes):
    answer = verify(shapes)
    assert not answer.ok
    assert answer.message


def test_a_checkpoint_and_a_saved_folder_are_read(tmp_path):
    path = tmp_path / "file.pth"
    shapes = {n: s for n, s in CLASSIFIER.items() if "blocks." not in n or ".0." in n}
    small = {name: tuple(min(extent, 64) for extent in shape) for name, shape in shapes.items()}
    small["blocks.0.attn.qkv.weight"] = (192, 64)
    small["head.weight"], small["head.bias"] = (5, 64), (5,)
    small["patch_embed.proj.weight"] = (64, 3, 2, 16, 16)
    torch.save({"module": {f"module.{n}": torch.zeros(s) for n, s in small.items()}}, path)
    answer = verify(path)
    assert answer.ok, answer.message
    assert (answer.wrapper, answer.stripped) == ("module", ("module.",))
    assert answer.config["num_heads"] == 1


def test_a_folder_of_this_library_is_compared_with_its_own_configuration(tmp_path):
    folder = save_pretrained(tiny.viclip_nano(), tmp_path / "m")
    for source in (folder, folder / "model.safetensors"):
        answer = verify(source)
        assert answer.ok, answer.message
        assert answer.architecture == "viclip"
        assert answer.config["vision"]["stem"]["strides"] == [2, 2, 1]
    config = (folder / "config.json").read_text().replace('"depth": 2', '"depth": 3')
    (folder / "config.json").write_text(config)
    answer = verify(folder)
    assert not answer.ok
    assert "vision_encoder.encoder.blocks.2" in answer.problems()


def test_the_directory_of_a_run_stands_for_its_model(tmp_path):
    save_pretrained(tiny.viclip_nano(), tmp_path / "run/model")
    answer = verify(tmp_path / "run")
    assert answer.ok
    assert answer.source == str(tmp_path / "run/model")


def test_the_embedded_models_verify():
    for card in find_cards(available=True):
        if card.directory is not None:
            assert verify(card.directory).ok


def test_the_answer_as_json_and_as_a_table():
    answer = verify({n: s for n, s in CLASSIFIER.items() if n != "head.bias"})
    values = json.loads(answer.to_json())
    assert values["ok"] is False
    assert values["missing"] == ["head.bias"]
    assert values["config"]["depth"] == 12
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(answer)
    text = console.export_text()
    assert "videomae/classifier B" in text
    assert "missing head.bias" in text
