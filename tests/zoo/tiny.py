"""Very small models of every architecture, with weights that no initialisation would give."""

from __future__ import annotations

import torch
from torch import nn

from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig, ViCLIPVisionConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import ConvStemConfig, VideoViT, VideoViTConfig

# 64 channels a head is what shapes alone are read as
ENCODER = VideoViTConfig(width=64, depth=2, num_heads=1)
STEM = VideoViTConfig(
    image_size=32, num_frames=8, patch_size=8, width=64, depth=2, num_heads=2, stem=ConvStemConfig()
)
WORDS = ("a", "dog", "runs")


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.01)
    return model.eval()


def classifier(num_classes: int = 5) -> VideoClassifier:
    config = VideoClassifierConfig(width=64, depth=2, num_heads=1, num_classes=num_classes)
    return randomised(VideoClassifier(config))


def videomae(encoder: VideoViTConfig = ENCODER) -> VideoMAE:
    config = VideoMAEConfig(encoder=encoder, decoder_width=64, decoder_depth=1, decoder_num_heads=1)
    return randomised(VideoMAE(config))


def encoder() -> VideoViT:
    return randomised(VideoViT(ENCODER))


def viclip() -> ViCLIP:
    config = ViCLIPConfig(
        vision=ViCLIPVisionConfig(image_size=32, width=64, depth=1, num_heads=1, embed_dim=16),
        text=CLIPTextConfig(
            vocab_size=99, context_length=8, width=64, depth=1, num_heads=1, embed_dim=16
        ),
        embed_dim=16,
    )
    return randomised(ViCLIP(config))


def viclip_nano() -> ViCLIP:
    config = ViCLIPConfig(
        vision=STEM,
        text=CLIPTextConfig(
            vocab_size=len(WORDS) + 4,
            context_length=8,
            width=64,
            depth=1,
            num_heads=1,
            embed_dim=16,
        ),
        embed_dim=16,
        vocabulary=WORDS,
        projection_norm="batch",
    )
    return randomised(ViCLIP(config))


MODELS = {
    "videomae/classifier": classifier,
    "videomae/pretraining": videomae,
    "videomae/encoder": encoder,
    "viclip": viclip,
    "viclip on a VideoViT": viclip_nano,
}


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    for (name, tensor), (_, twin) in zip(
        first.named_buffers(), second.named_buffers(), strict=True
    ):
        assert torch.equal(tensor, twin), name
