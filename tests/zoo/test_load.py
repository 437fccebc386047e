from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from internvideo.errors import CheckpointError, UnknownNameError
from internvideo.models.action_detector import ActionDetector, ActionDetectorConfig
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.zoo import load as loading
from internvideo.zoo import resolve
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture
from internvideo.zoo.card import Card, Source
from internvideo.zoo.hub import LoadedModel, save_pretrained
from internvideo.zoo.labels import index_map, label_names
from internvideo.zoo.layouts import Layout, Rename
from internvideo.zoo.load import load_model, official_state, reorder_outputs
from zoo import tiny

CLIP = torch.rand(2, 3, 16, 224, 224, generator=torch.Generator().manual_seed(3))


def official_file(path, model, **around):
    torch.save({"model": model.state_dict(), **around}, path)
    return path


def a_card(monkeypatch, **fields) -> Card:
    """Let a card of a tiny model be found under "tiny-card"."""
    values = {
        "name": "tiny-card",
        "family": "Test",
        "status": "available",
        "architecture": "videomae/classifier",
        "size": "S",
        "description": "tiny",
        "config": {"width": 64, "depth": 2, "num_heads": 1, "num_classes": 5},
        **fields,
    }
    card = Card(**values)
    original = resolve.find_card
    find = lambda name: card if name == card.name else original(name)  # noqa: E731
    monkeypatch.setattr(resolve, "find_card", find)
    monkeypatch.setattr(loading, "find_card", find)
    monkeypatch.setattr(resolve, "all_cards", lambda: (card,))
    return card


@pytest.mark.parametrize(
    "kind",
    [
        "videomae/classifier",
        "videomae/pretraining",
        "videomae/encoder",
        "viclip",
        "unmasked-teacher/pretraining",
        "unmasked-teacher/teacher",
    ],
)
def test_an_official_file_is_told_by_its_shapes(tmp_path, kind):
    model = tiny.MODELS[kind]()
    loaded = load_model(official_file(tmp_path / "any name.pth", model))
    assert loaded.architecture == kind
    tiny.assert_same_weights(loaded.model, model)
    assert loaded.card is None
    assert loaded.preprocessing is not None
    assert loaded.record.provenance["wrapper"] == "model"


def test_half_precision_weights_become_single(tmp_path):
    model = tiny.classifier().half()
    path = tmp_path / "deepspeed.pt"
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"module": state, "args": argparse.Namespace(lr=1)}, path)
    loaded = load_model(path)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].float()), name
    assert load_model(path, dtype=torch.float16).model.head.weight.dtype == torch.float16


def test_the_loader_says_what_it_took_off(tmp_path, caplog):
    state = {f"backbone.{name}": t for name, t in tiny.encoder().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    with caplog.at_level(logging.INFO):
        loaded = load_model(tmp_path / "a.pth")
    assert "wrapper 'state_dict', prefixes taken off: backbone." in caplog.text
    assert loaded.record.provenance["stripped"] == ["backbone."]


@torch.no_grad()
def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path):
    model = tiny.classifier()
    loaded = load_model(official_file(tmp_path / "a.pth", model))
    assert torch.equal(loaded.model(CLIP[:1]), model(CLIP[:1]))


def test_names_of_the_open_set_code(tmp_path):
    model = tiny.open_set_classifier(101)
    official = official_state(model)
    assert "cls_head.fc_cls.weight" in official
    assert "backbone.blocks.0.attn.qkv.weight" in official
    torch.save({"state_dict": official}, tmp_path / "edl.pth")
    loaded = load_model(tmp_path / "edl.pth")
    assert loaded.architecture == "open-set/classifier"
    assert loaded.model.config.score == "evidential"
    tiny.assert_same_weights(loaded.model, model)
    with pytest.raises(CheckpointError, match="no layout 'other'; it has official"):
        official_state(model, layout="other")


def test_a_wrong_file_is_explained_by_blocks(tmp_path):
    state = tiny.classifier().state_dict()
    for name in [name for name in state if name.startswith("blocks.1.mlp")]:
        del state[name]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"nearest to videomae/classifier.*missing: blocks\.1: "
    ):
        load_model(tmp_path / "a.pth")
    torch.save({"x": torch.ones(2)}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b\.pth: no known architecture has these 1 tensors"):
        load_model(tmp_path / "b.pth")


def test_a_planned_family_is_named(tmp_path):
    names = ("vision_encoder.encoder.blocks.0.x", "text_decoder.y")
    torch.save({name: torch.ones(2) for name in names}, tmp_path / "answers.pth")
    with pytest.raises(CheckpointError, match=r"Teacher that answers.* which is planned"):
        load_model(tmp_path / "answers.pth")


def test_a_detector_of_ava_is_no_classifier_of_the_first_token(tmp_path):
    config = ActionDetectorConfig(image_size=32, num_frames=2, width=384, depth=1, num_heads=6)
    model = ActionDetector(config)
    torch.save({"module": model.half().state_dict(), "optimizer": {}}, tmp_path / "vit.sh")
    found = load_model(tmp_path / "vit.sh").model
    assert isinstance(found, ActionDetector)
    assert found.config.num_classes == 80


def test_heads_that_shapes_do_not_tell_are_not_guessed(tmp_path):
    config = VideoClassifierConfig(width=48, depth=1, num_heads=3, num_classes=2)
    path = official_file(tmp_path / "a.pth", VideoClassifier(config))
    with pytest.raises(CheckpointError, match="number of attention heads"):
        load_model(path)


def test_a_folder_of_this_library_and_its_weight_file(tmp_path):
    folder = save_pretrained(tiny.viclip_nano(), tmp_path / "m")
    for source in (folder, str(folder), folder / "model.safetensors"):
        tiny.assert_same_weights(load_model(source).model, tiny.viclip_nano())


def test_a_folder_of_another_library_with_official_names(tmp_path):
    from safetensors.torch import save_file

    save_file(tiny.viclip().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"size": "b"}')
    loaded = load_model(tmp_path)
    assert loaded.architecture == "viclip"
    tiny.assert_same_weights(loaded.model, tiny.viclip())


def test_a_card_is_downloaded_and_brings_protocol_and_labels(tmp_path, monkeypatch, server):
    model = tiny.classifier(400)
    path = official_file(tmp_path / "file.pth", model)
    a_card(
        monkeypatch,
        config={"width": 64, "depth": 2, "num_heads": 1, "num_classes": 400, "num_frames": 32},
        sources=(Source(url=server.add("/file.pth", path.read_bytes()), status="live"),),
        labels="kinetics-400/authors",
        preprocessing="videomae-kinetics",
        preprocessing_options={"num_frames": 32, "num_clips": 7},
        num_classes=400,
    )
    loaded = load_model("tiny-card")
    assert loaded.name == "tiny-card"
    assert loaded.labels[0] == "riding a bike"
    assert (loaded.preprocessing.num_frames, loaded.preprocessing.num_clips) == (32, 7)
    assert loaded.model.config.num_frames == 32
    assert torch.equal(loaded.model.head.weight, model.head.weight)


def test_a_file_is_given_its_card_by_name_or_by_the_user(tmp_path, monkeypatch):
    a_card(monkeypatch, file_name="released.pth", preprocessing="videomae-ssv2")
    model = tiny.classifier()
    assert load_model(official_file(tmp_path / "released.pth", model)).name == "tiny-card"
    path = official_file(tmp_path / "mine.pth", model)
    assert load_model(path).card is None
    assert load_model(path, card="tiny-card").preprocessing.sampling == "sparse"


def test_a_file_that_is_not_its_card_is_refused(tmp_path, monkeypatch):
    a_card(monkeypatch)
    path = official_file(tmp_path / "a.pth", tiny.classifier(7))
    with pytest.raises(CheckpointError, match="is not tiny-card: num_classes 7 instead of 5"):
        load_model(path, card="tiny-card")
    path = official_file(tmp_path / "b.pth", tiny.viclip())
    with pytest.raises(CheckpointError, match=r"b\.pth is not tiny-card"):
        load_model(path, card="tiny-card")


def test_planned_models_are_refused_before_any_download():
    with pytest.raises(CheckpointError, match="does not implement it yet"):
        load_model("videomae-l16-ego4d-mq")
    with pytest.raises(CheckpointError, match="does not implement it yet"):
        load_model("features-tal-thumos14-videomae-h")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("viclip-nan", UnknownNameError, "unknown model 'viclip-nan'"),
        ("videomae-b16-k4000", UnknownNameError, "Did you mean 'videomae-b16-k400'"),
        ("./missing", CheckpointError, "no such file or folder: missing"),
        ("missing.pth", CheckpointError, "no such file or folder: missing.pth"),
        ("/no/where", CheckpointError, "no such file or folder: /no/where"),
        ("some/where/else", CheckpointError, "no such file or folder.*: some/where/else"),
        ("runs/mine/model", CheckpointError, "`internvideo train RECIPE --out runs/mine`"),
        ("runs/mine", CheckpointError, "no such file or folder: runs/mine; a training run"),
        ("", UnknownNameError, "a model is the name of one .* not ''"),
        (None, UnknownNameError, "a model is the name of one .* not None"),
    ],
)
def test_an_unknown_source_is_told(source, error, message):
    with pytest.raises(error, match=message):
        load_model(source)


def clip_state() -> dict[str, torch.Tensor]:
    """Return a tiny image CLIP under its official names."""
    model = tiny.viclip()
    table = find_architecture("openai-clip").tables["official"]
    with torch.no_grad():
        model.vision_encoder.temporal_positional_embedding.zero_()
    state = table.to_official(model.state_dict())
    state["logit_scale"] = torch.tensor(4.6052)
    return state | {
        name: torch.tensor(9) for name in ("input_resolution", "context_length", "vocab_size")
    }


@torch.no_grad()
def test_image_clip_becomes_a_video_model(tmp_path):
    torch.save(clip_state(), tmp_path / "clip.pt")
    loaded = load_model(tmp_path / "clip.pt")
    assert loaded.architecture == "viclip"
    state, source = loaded.model.state_dict(), tiny.viclip().state_dict()
    assert torch.count_nonzero(state["vision_encoder.temporal_positional_embedding"]) == 0
    assert state["temp"].item() == pytest.approx(0.01, rel=1e-4)
    for name in source:
        if "temporal" not in name and name != "temp":
            assert torch.equal(state[name], source[name]), name


@pytest.fixture
def kinetics(monkeypatch, tmp_path):
    """A classifier of 710 classes whose outputs are the indices of the classes."""

    def load(labels="kinetics-710/authors"):
        count = len(label_names(labels))
        model = tiny.classifier(count)
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.copy_(torch.arange(float(count)))
        config = {"width": 64, "depth": 2, "num_heads": 1, "num_classes": count}
        a_card(monkeypatch, config=config, labels=labels, num_classes=count)
        return load_model(official_file(tmp_path / "k.pth", model), card="tiny-card")

    return load


@torch.no_grad()
def test_a_k710_head_becomes_a_k400_head_in_the_order_asked_for(kinetics):
    loaded = reorder_outputs(kinetics(), "kinetics-400/alphabetical")
    assert loaded.labels == label_names("kinetics-400/alphabetical")
    rows = index_map("kinetics-710/authors", "kinetics-400/alphabetical")
    assert loaded.model(CLIP[:1])[0].tolist() == list(map(float, rows))
    assert loaded.model.config.num_classes == 400


@torch.no_grad()
def test_an_alphabetical_class_list_is_detected_and_the_head_follows(kinetics):
    loaded = kinetics("kinetics-400/authors")
    mine = [name.replace(" ", "_") for name in label_names("kinetics-400/alphabetical")]
    reordered = reorder_outputs(loaded, mine)
    assert reordered.labels == tuple(mine)
    outputs = reordered.model(CLIP[:1])[0]
    assert outputs[0] == 341  # abseiling


def test_lists_that_cannot_be_put_on_the_outputs_are_refused(kinetics):
    loaded = kinetics("kinetics-400/authors")
    with pytest.raises(CheckpointError, match="the 400 given names are in no known order"):
        reorder_outputs(loaded, [f"class {i}" for i in range(400)])
    with pytest.raises(
        CheckpointError, match="231 classes of kinetics-600/authors have no counterpart"
    ):
        reorder_outputs(loaded, "kinetics-600/authors")
    assert loaded.model.config.num_classes == 400


def test_labels_of_a_model_without_names_are_taken_as_given(tmp_path):
    path = official_file(tmp_path / "a.pth", tiny.classifier())
    assert load_model(path, labels=list("abcde")).labels == tuple("abcde")
    with pytest.raises(CheckpointError, match="has 5 outputs, 2 labels given"):
        load_model(path, labels=["a", "b"])
    with pytest.raises(CheckpointError, match="viclip is not a classifier"):
        load_model(official_file(tmp_path / "v.pth", tiny.viclip()), labels=["a"])


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    image_size: int = 16
    width: int = 4


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.grey = nn.Linear(config.width, 1)


TOY = Architecture(
    id="toy",
    model=Toy,
    config=ToyConfig,
    sizes={"s": ToyConfig()},
    tables={"official": Layout((Rename("shade.{rest}", "grey.{rest}"),))},
    infer=lambda shapes, base: ToyConfig(width=shapes["grey.weight"][1]),
    traits=lambda config: {"width": config.width},
    preset="videomae-kinetics",
    tiny={},
)


def test_an_architecture_of_ones_own_is_stored_and_loaded(tmp_path):
    known = (*ARCHITECTURES, TOY)
    model = Toy(ToyConfig(width=6))
    with pytest.raises(CheckpointError, match="a Toy cannot be stored"):
        save_pretrained(model, tmp_path)
    folder = save_pretrained(model, tmp_path / "toy", architectures=known)
    with pytest.raises(CheckpointError, match="unknown architecture 'toy'"):
        load_model(folder)
    torch.save(official_state(model, architectures=known), tmp_path / "official.pth")
    for source in (folder, tmp_path / "official.pth"):
        loaded = load_model(source, architectures=known)
        assert (loaded.architecture, loaded.model.config.width) == ("toy", 6)
        tiny.assert_same_weights(loaded.model, model)
    again = loaded.with_record(labels=("dark", "light"))
    again.save_pretrained(tmp_path / "again")
    back = LoadedModel.from_pretrained(tmp_path / "again", architectures=known)
    assert (back.labels, back.architecture) == (("dark", "light"), "toy")
