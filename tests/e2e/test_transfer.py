"""From an official checkpoint file to a classifier of other classes, frames and pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.zoo import load_encoder_weights, save_pretrained
from internvideo.zoo.labels import index_map, k710_rows, label_names

ENCODER = VideoViTConfig(width=64, depth=2, num_heads=1)  # 16 frames of 224 pixels
TARGET = VideoClassifierConfig(
    width=64, depth=2, num_heads=1, num_frames=8, image_size=64, num_classes=7, init_scale=1.0
)


def classifier(config: VideoClassifierConfig = TARGET, seed: int = 1) -> VideoClassifier:
    torch.manual_seed(seed)
    return VideoClassifier(config).eval()


def pretrained_file(path: Path, wrapper: str, prefix: str) -> VideoMAE:
    torch.manual_seed(0)
    model = VideoMAE(
        VideoMAEConfig(encoder=ENCODER, decoder_width=64, decoder_depth=1, decoder_num_heads=1)
    )
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"epoch": 800, wrapper: state} if wrapper else state
    torch.save(content, path)
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    ("wrapper", "prefix"), [("model", ""), ("module", ""), ("model", "_orig_mod."), ("", "")]
)
def test_a_pretraining_file_starts_a_classifier_of_another_clip_size(tmp_path, wrapper, prefix):
    source = pretrained_file(tmp_path / "pretrained.pth", wrapper, prefix)
    model = classifier()
    fresh = {name: model.state_dict()[name].clone() for name in ("head.weight", "fc_norm.weight")}
    report = load_encoder_weights(model, tmp_path / "pretrained.pth")
    assert set(report.fresh) == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert {name.split(".")[0] for name in report.left} == {
        "mask_token", "encoder_to_decoder", "decoder", "encoder",
    }  # fmt: skip
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in fresh.items())

    # The same blocks, run by hand on the table of 8 x 14 x 14 places resampled to 4 x 4 x 4.
    video = torch.randn(2, 3, 8, 64, 64)
    table = resample_positions(sinusoid_table(8 * 14 * 14, 64), (8, 14, 14), (4, 4, 4))
    tokens = source.encoder.patch_embed.proj(video).flatten(2).transpose(1, 2) + table
    for block in source.encoder.blocks:
        tokens = block(tokens)
    expected = model.head(model.fc_norm(tokens.mean(dim=1)))
    torch.testing.assert_close(model(video), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_k710_head_becomes_the_head_of_kinetics_400(tmp_path):
    old = classifier(replace(TARGET, num_classes=710), seed=2)
    torch.save({"module": old.state_dict()}, tmp_path / "k710.pth")
    names = label_names("kinetics-710/authors")
    video = torch.randn(2, 3, 8, 64, 64)
    logits = old(video)
    for labels in ("kinetics-400/authors", "kinetics-400/alphabetical"):
        model = classifier(replace(TARGET, num_classes=400))
        rows = k710_rows(labels)
        report = load_encoder_weights(model, tmp_path / "k710.pth", head_rows=rows)
        assert report.head == "remapped"
        assert (report.fresh, report.left) == ((), ())
        torch.testing.assert_close(model(video), logits[:, list(rows)])
        plain = [name.lower() for name in label_names(labels)]
        same = sum(names[row].lower() == name for row, name in zip(rows, plain, strict=True))
        assert same > 380  # a few are spelt otherwise
    assert index_map("kinetics-710/authors", "kinetics-400/authors")[:3] == (0, 1, 2)


@torch.no_grad()
def test_a_learnt_position_table_is_resampled(tmp_path):
    old = classifier(replace(TARGET, positions="learnable"))
    folder = save_pretrained(old, tmp_path / "old")
    larger = classifier(
        replace(TARGET, positions="learnable", num_frames=16, image_size=96, num_classes=3), seed=5
    )
    report = load_encoder_weights(larger, folder)
    assert set(report.left) == {"head.weight", "head.bias"}
    expected = resample_positions(old.pos_embed, (4, 4, 4), (8, 6, 6))
    torch.testing.assert_close(larger.pos_embed.data, expected)
    again = classifier(replace(TARGET, positions="learnable"), seed=6)
    load_encoder_weights(again, folder)
    assert torch.equal(again.pos_embed, old.pos_embed)
