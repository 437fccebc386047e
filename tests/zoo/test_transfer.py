from __future__ import annotations

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models.action_detector import ActionDetector, ActionDetectorConfig
from internvideo.models.vit import VideoViT
from internvideo.zoo import load_encoder_weights, save_pretrained
from zoo import tiny


def official_file(path, model):
    torch.save({"model": model.state_dict()}, path)
    return path


def test_a_pretrained_encoder_goes_into_a_classifier(tmp_path):
    source = tiny.videomae()
    model = tiny.randomised(tiny.classifier(), seed=9)
    head, norm = model.head.weight.clone(), model.fc_norm.weight.clone()
    report = load_encoder_weights(model, official_file(tmp_path / "pt.pth", source))
    for name, tensor in source.encoder.state_dict().items():
        if not name.startswith("norm."):
            assert torch.equal(model.state_dict()[name], tensor), name
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.fc_norm.weight, norm)
    assert report.head == "fresh"
    assert set(report.fresh) == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert {name.partition(".")[0] for name in report.left} == {
        "mask_token", "encoder_to_decoder", "decoder", "encoder",
    }  # fmt: skip
    assert {name for name in report.left if name.startswith("encoder.")} == {
        "encoder.norm.weight", "encoder.norm.bias",
    }  # fmt: skip


def test_a_head_is_kept_remapped_or_left_fresh(tmp_path):
    source = tiny.classifier(5)
    path = official_file(tmp_path / "ft.pth", source)
    same = tiny.randomised(tiny.classifier(5), seed=9)
    assert load_encoder_weights(same, path).head == "kept"
    tiny.assert_same_weights(same, source)
    other = tiny.randomised(tiny.classifier(3), seed=9)
    before = other.head.weight.clone()
    assert load_encoder_weights(other, path).head == "fresh"
    assert torch.equal(other.head.weight, before)
    assert torch.equal(other.fc_norm.weight, source.fc_norm.weight)
    assert load_encoder_weights(other, path, head_rows=[4, 0, 2]).head == "remapped"
    assert torch.equal(other.head.weight, source.head.weight[[4, 0, 2]])


def test_a_saved_nano_encoder_goes_into_a_viclip(tmp_path):
    source = tiny.videomae(tiny.STEM)
    folder = save_pretrained(source, tmp_path / "mae")
    model = tiny.randomised(tiny.viclip_nano(), seed=9)
    text = model.text_encoder.text_projection.clone()
    report = load_encoder_weights(model, folder)
    encoder: VideoViT = model.vision_encoder.encoder
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    assert torch.equal(model.text_encoder.text_projection, text)
    assert (report.head, report.fresh) == ("none", ())
    again = tiny.randomised(tiny.videomae(tiny.STEM), seed=5)
    load_encoder_weights(again, save_pretrained(model, tmp_path / "clip"))
    tiny.assert_same_weights(again.encoder, source.encoder)


def test_an_encoder_of_another_shape_is_refused_and_nothing_is_loaded(tmp_path):
    folder = save_pretrained(tiny.videomae(tiny.STEM), tmp_path / "mae")
    model = tiny.videomae()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"does not fit the encoder: .*of another shape"):
        load_encoder_weights(model, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_models_and_files_without_such_an_encoder_are_refused(tmp_path):
    path = official_file(tmp_path / "v.pth", tiny.viclip())
    with pytest.raises(CheckpointError, match="holds no VideoViT encoder"):
        load_encoder_weights(tiny.classifier(), path)
    with pytest.raises(CheckpointError, match="a ViCLIP like this has no VideoViT encoder"):
        load_encoder_weights(tiny.viclip(), path)


def test_a_detector_starts_from_a_classifier_without_its_norm(tmp_path):
    source = tiny.classifier(5)
    path = official_file(tmp_path / "a.pth", source)
    shape = {name: getattr(source.config, name) for name in ("width", "depth", "num_heads")}
    model = ActionDetector(
        ActionDetectorConfig(
            **shape, num_frames=source.config.num_frames, patch_size=source.config.patch_size,
            image_size=2 * source.config.image_size, positions="learnable", num_classes=80,
        )
    )  # fmt: skip
    found = load_encoder_weights(model, path)
    assert found.head == "fresh"
    assert set(found.fresh) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert torch.equal(model.norm.weight, torch.ones_like(model.norm.weight))
    assert torch.equal(model.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)
    table = source.positions(model.config.grid)
    torch.testing.assert_close(model.pos_embed, table)
