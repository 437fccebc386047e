"""Files of the second stage of the unmasked teacher, and what starts from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models.umt_multimodal import UMTMultimodal
from internvideo.models.unmasked_teacher import UnmaskedTeacher
from internvideo.zoo import load_model, official_state, save_pretrained
from internvideo.zoo.registry import find_card
from internvideo.zoo.resolve import card_config, card_preprocessing
from internvideo.zoo.starts import load_multimodal_start, load_text_start
from internvideo.zoo.verification import verify
from zoo import tiny
from zoo.keylists import HERE, read

PRETRAINED = read(HERE / "umt-mm-b16-pretrain.txt")
FINETUNED = read(HERE / "umt-mm-b16-retrieval-finetune.txt")
IDS = torch.tensor([[2, 5, 6, 3, 0], [2, 7, 3, 0, 0]])


def match(model: UMTMultimodal) -> torch.Tensor:
    size = model.config.encoder.image_size
    video = torch.randn(2, 3, 2, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval().match_logits(model.forward_features(video).tokens, model.read(IDS))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> tuple[UMTMultimodal, Path]:
    """A model with all its parts, as an official file."""
    model = tiny.umt_multimodal()
    path = tmp_path_factory.mktemp("umt") / "pretrained.pth"
    torch.save({"model": official_state(model), "epoch": 9}, path)
    return model, path


def finetuned(model: UMTMultimodal) -> dict[str, torch.Tensor]:
    """The state as fine-tuned files have it: nothing of the training, and no `bert.` in names."""
    dropped = ("clip_teacher.", "vision_encoder.clip_decoder.", "text_encoder.cls.")
    return {
        name.replace("text_encoder.bert.", "text_encoder."): tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(dropped)
    }


def test_a_released_file_of_pretraining_brings_its_teacher(pretrained):
    model, path = pretrained
    loaded = load_model(path).model
    assert loaded.config == replace(model.config, vocabulary=None)
    tiny.assert_same_weights(loaded, model)
    loaded.drop_teacher()
    torch.testing.assert_close(match(loaded), match(model))


def test_a_fine_tuned_file_has_no_bert_in_its_names(pretrained, tmp_path):
    model, _ = pretrained
    torch.save({"model": finetuned(model)}, tmp_path / "ret.pth")
    loaded = load_model(tmp_path / "ret.pth").model
    assert (loaded.config.teacher, loaded.config.alignment) == (None, False)
    assert not loaded.config.text.masked_lm
    torch.testing.assert_close(match(loaded), match(model))


def test_it_is_saved_with_its_words_and_without_its_teacher(pretrained, tmp_path):
    model = tiny.umt_multimodal()
    model.drop_teacher()
    save_pretrained(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m").model
    assert loaded.config == model.config
    assert torch.equal(loaded.tokenizer("a dog"), model.tokenizer("a dog"))
    tiny.assert_same_weights(loaded, model)


@pytest.mark.parametrize("shapes", [PRETRAINED, FINETUNED], ids=["pretrained", "finetuned"])
def test_what_the_shapes_tell(shapes):
    config = verify(shapes).config
    assert config["text"]["fusion_layer"] == 9
    assert config["text"]["num_heads"] == 12
    assert config["vision"]["encoder"]["tubelet_size"] == 1
    assert config["vision"]["decoder_norm_eps"] == 1e-5
    assert (config["teacher"] is not None) is (shapes is PRETRAINED)
    later = {name: shape for name, shape in shapes.items() if ".layer.9.crossattention" not in name}
    assert verify(later).config["text"]["fusion_layer"] == 10


def test_a_wrong_tensor_is_named():
    answer = verify({n: s for n, s in FINETUNED.items() if n != "itm_head.weight"})
    assert answer.missing == ("itm_head.weight",)
    answer = verify({**PRETRAINED, "text_decoder.bert.embeddings.word_embeddings.weight": (9, 9)})
    assert "Unmasked Teacher that answers, which is planned" in answer.message


def test_cards_know_frames_and_words():
    card = find_card("umt-mm-l16-ret-anet")
    assert (card_config(card).encoder.num_frames, card_config(card).context_length) == (12, 150)
    assert card_preprocessing(card).num_frames == 12
    assert card_preprocessing(find_card("umt-mm-b16-25m")).num_frames == 4
    assert not find_card("umt-mm-b16-qa-msvd").is_available


def test_fine_tuning_starts_from_pretraining(pretrained):
    model, path = pretrained
    text = replace(model.config.text, masked_lm=False)
    fresh = UMTMultimodal(replace(model.config, teacher=None, alignment=False, text=text))
    given = load_multimodal_start(fresh, path)
    assert given.fresh == ()
    assert {".".join(name.split(".")[:2]) for name in given.left} > {
        "vision_encoder.clip_decoder",
        "text_encoder.cls",
    }
    torch.testing.assert_close(match(fresh), match(model))


def test_pretraining_starts_from_a_student(pretrained, tmp_path):
    model, _ = pretrained
    student = tiny.randomised(UnmaskedTeacher(model.config.vision), seed=5)
    torch.save(student.state_dict(), tmp_path / "student.pth")
    other = tiny.umt_multimodal()
    given = load_multimodal_start(other, tmp_path / "student.pth")
    assert given.loaded == len(student.state_dict())
    own = other.vision_encoder.state_dict()
    for name, tensor in student.state_dict().items():
        assert torch.equal(own[name], tensor), name
    assert torch.equal(other.itm_head.weight, model.itm_head.weight)


@pytest.mark.parametrize("folder", [False, True])
def test_the_text_tower_starts_from_a_bert(pretrained, tmp_path, folder):
    other = tiny.umt_multimodal(seed=3)
    state = {
        name.removeprefix("text_encoder."): tensor
        for name, tensor in other.state_dict().items()
        if name.startswith("text_encoder.") and "crossattention" not in name
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    fresh = tiny.umt_multimodal()
    load_text_start(fresh, tmp_path if folder else tmp_path / "pytorch_model.bin")
    shown = IDS != 0
    torch.testing.assert_close(
        fresh.text_encoder.encode(IDS, shown), other.text_encoder.encode(IDS, shown)
    )
    cross = "text_encoder.bert.encoder.layer.1.crossattention.self.key.weight"
    assert torch.equal(fresh.get_parameter(cross), pretrained[0].get_parameter(cross))


def test_starts_that_do_not_fit_are_explained(pretrained, tmp_path):
    model, path = pretrained
    other = UMTMultimodal(replace(model.config, embed_dim=7))
    with pytest.raises(CheckpointError, match=r"does not fit the UMTMultimodal: .*vision_proj"):
        load_multimodal_start(other, path)
    with pytest.raises(CheckpointError, match=r"has none of model\.safetensors"):
        load_text_start(other, tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_text_start(other, tmp_path / "bert.bin")
