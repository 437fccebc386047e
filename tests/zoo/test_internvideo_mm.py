from __future__ import annotations

import argparse

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models.clip_text import CLIPTextEncoder
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig
from internvideo.zoo.load import load_model, official_state
from internvideo.zoo.starts import average_with_start, load_towers
from zoo import tiny


def lightning(state: dict[str, torch.Tensor]) -> dict:
    """Return what a Lightning file holds besides the weights."""
    return {
        "state_dict": state,
        "epoch": 3,
        "global_step": 400_000,
        "pytorch-lightning_version": "1.6.0",
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}}],
        "lr_schedulers": [{"last_epoch": 7}],
        "hyper_parameters": {"config": argparse.Namespace(clip="kc_new", loss_names={"itm": 0})},
    }


def test_a_lightning_file_loads(tmp_path):
    model = tiny.internvideo_mm()
    official = official_state(model)
    assert {name.partition(".")[0] for name in official} == {"clip", "caption_decoder"}
    assert {"clip.visual_proj", "clip.token_embedding.weight", "clip.logit_scale"} <= set(official)
    torch.save(lightning(official), tmp_path / "last.ckpt")
    loaded = load_model(tmp_path / "last.ckpt")
    assert isinstance(loaded.model, InternVideoMM)
    assert (loaded.model.config.decoder_depth, loaded.model.config.decoder_queries) == (2, 5)
    assert loaded.model.config.vision.global_layers == (1, 2)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], tensor, msg=name)
    assert loaded.record.preprocessing.crop_size == 32


def test_towers_alone_load_without_a_decoder(tmp_path):
    official = official_state(tiny.internvideo_mm())
    towers = {n: t for n, t in official.items() if not n.startswith("caption_decoder.")}
    torch.save(towers, tmp_path / "pytorch_model.bin")
    loaded = load_model(tmp_path / "pytorch_model.bin").model
    assert isinstance(loaded, InternVideoMM)
    assert loaded.caption_decoder is None
    torch.testing.assert_close(loaded.visual_proj.data, official["clip.visual_proj"])


def test_a_missing_tensor_of_the_decoder_is_named(tmp_path):
    official = official_state(tiny.internvideo_mm())
    del official["caption_decoder.text_norm.weight"]
    torch.save(lightning(official), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"caption_decoder\.text_norm\.weight"):
        load_model(tmp_path / "last.ckpt")


@pytest.fixture
def clip(tmp_path) -> str:
    """An image CLIP of the shape of `tiny.internvideo_mm`, as OpenAI's names have it."""
    config = tiny.internvideo_mm().config
    torch.manual_seed(0)
    vision = ViCLIPVision(
        ViCLIPVisionConfig(image_size=32, width=64, depth=3, num_heads=1, embed_dim=16)
    ).state_dict()
    vision.pop("temporal_positional_embedding")
    vision["conv1.weight"] = vision["conv1.weight"][:, :, 0]
    state = {f"visual.{name}": tensor for name, tensor in vision.items()}
    state |= CLIPTextEncoder(config.text).state_dict()
    state["logit_scale"] = torch.tensor(4.0)
    torch.save(state, tmp_path / "clip.pt")
    return str(tmp_path / "clip.pt")


def test_it_starts_from_image_clip(clip):
    state = torch.load(clip, weights_only=True)
    model = tiny.internvideo_mm()
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    transferred = load_towers(model, clip)
    now = model.state_dict()
    torch.testing.assert_close(now["visual_proj"], state["visual.proj"])
    torch.testing.assert_close(now["visual_ln_post.weight"], state["visual.ln_post.weight"])
    torch.testing.assert_close(now["visual.conv1.weight"][:, :, 0], state["visual.conv1.weight"])
    torch.testing.assert_close(now["text_encoder.text_projection"], state["text_projection"])
    torch.testing.assert_close(now["logit_scale"], torch.tensor(4.0))
    assert any(name.startswith("caption_decoder.") for name in transferred.fresh)
    for name in transferred.fresh:
        torch.testing.assert_close(now[name], fresh[name], msg=name)


def test_the_average_with_clip_leaves_what_clip_has_not(clip):
    start = tiny.internvideo_mm()
    load_towers(start, clip)
    model = tiny.internvideo_mm()
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average_with_start(model, clip, weight=0.25)
    kept = ("visual.transformer.dec.", "caption_decoder.", "logit_scale", "text_mask_embedding")
    for name, tensor in model.state_dict().items():
        expected = trained[name]
        if not name.startswith((*kept, "visual.transformer.dpe.")) and not name.endswith(
            ("temporal_cls_token", "balance")
        ):
            expected = 0.25 * trained[name] + 0.75 * start.state_dict()[name]
        torch.testing.assert_close(tensor, expected, msg=name)
