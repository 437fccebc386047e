"""Files of temporal detectors: as their authors save them, and as this library does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import internvideo as iv
from internvideo.errors import CheckpointError
from internvideo.models.actionformer import SIZES, ActionFormer
from internvideo.zoo import load_model, save_pretrained
from internvideo.zoo.kinds.actionformer import ACTIONFORMER
from internvideo.zoo.load import official_state
from internvideo.zoo.verification import verify
from zoo import tiny


def detector(name: str = "reference") -> ActionFormer:
    return tiny.randomised(ActionFormer(ACTIONFORMER.tiny[name]))


def saved(model, path, **others):
    """Write a file as the published trainer does: in parallel's names, with an average beside."""
    state = {f"module.{name}": tensor for name, tensor in official_state(model).items()}
    torch.save({"epoch": 30, "state_dict": state, "scheduler": {}, **others}, path)
    return path


@pytest.mark.parametrize("name", ACTIONFORMER.tiny)
@torch.no_grad()
def test_an_official_file_finds_what_the_model_did(tmp_path, name):
    model = detector(name)
    hidden = {"max_length": 48, "positions": model.config.positions, "num_heads": 2}
    hidden |= {"padding": model.config.padding, "windows": model.config.windows}
    loaded = load_model(saved(model, tmp_path / "epoch_030.pth.tar"), config=hidden)
    assert loaded.model.config == model.config
    tiny.assert_same_weights(loaded.model, model)
    inputs = model.example_inputs()
    for one, other in zip(loaded.model(*inputs).logits, model(*inputs).logits, strict=True):
        assert torch.equal(one, other)


def test_the_averaged_weights_are_taken(tmp_path):
    model, average = detector(), tiny.randomised(ActionFormer(ACTIONFORMER.tiny["reference"]), 7)
    state = {f"module.{name}": tensor for name, tensor in official_state(average).items()}
    path = saved(model, tmp_path / "epoch_030.pth.tar", state_dict_ema=state)
    loaded = load_model(path, config={"positions": True, "max_length": 48})
    tiny.assert_same_weights(loaded.model, average)
    assert loaded.record.provenance["wrapper"] == "state_dict_ema"
    assert loaded.record.provenance["stripped"] == ["module."]


def test_what_shapes_do_not_tell_is_said(tmp_path):
    answer = verify(saved(detector(), tmp_path / "mine.pth.tar"))
    assert answer.ok, answer.message
    assert answer.assumed.keys() == {"windows", "num_heads", "max_length", "positions", "padding"}
    assert answer.assumed["padding"] == "reference"
    relative = verify(saved(detector("streams"), tmp_path / "relative.pth.tar"))
    assert relative.assumed.keys() == {"max_length", "positions", "padding"}
    assert relative.config["windows"] == [3, 5, -1]


def test_a_saved_detector_knows_its_classes_and_its_features(tmp_path):
    model, names = detector("window"), ("jump", "run", "fall")
    save_pretrained(model, tmp_path / "model", labels=names)
    loaded = iv.load(tmp_path / "model").loaded
    assert loaded.class_names == names
    assert loaded.model.config == model.config
    official = load_model(saved(model, tmp_path / "a.pth"))
    assert official.preprocessing is not None
    assert official.preprocessing.num_frames == 16


def test_a_damaged_file_is_refused(tmp_path):
    state = official_state(detector())
    del state["backbone.branch.1.attn.key.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"backbone\.branch\.1\.attn\.key\.weight"):
        load_model(tmp_path / "a.pth")


def test_all_sizes_but_our_own_have_the_padding_that_they_were_trained_with():
    assert {size.padding for size in SIZES.values()} == {"reference"}
    assert replace(SIZES["thumos-i3d"], padding="exact").strides == (1, 2, 4, 8, 16, 32)


def test_parameters_are_as_many_as_published():
    counts = {
        "thumos-videomae-h": 28.07,
        "thumos-videomaev2-g": 28.27,
        "thumos-i3d": 29.25,
        "anet-videomae-h": 7.53,
        "anet-tsp": 6.94,
        "ego4d-egovlp": 18.7,
        "ego4d-omnivore": 34.9,
        "ego4d-slowfast": 32.9,
        "ego4d-slowfast-egovlp": 78.9,
        "ego4d-omnivore-egovlp": 77.2,
        "ego4d-slowfast-omnivore-egovlp": 134.0,
    }
    for size, millions in counts.items():
        with torch.device("meta"):
            model = ActionFormer(SIZES[size])
        found = sum(parameter.numel() for parameter in model.parameters())
        assert found / 1e6 == pytest.approx(millions, abs=0.06), size
