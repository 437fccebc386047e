"""Very small models of every architecture, with weights that no initialisation would give."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.open_set import OpenSetClassifier, OpenSetClassifierConfig
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.umt_multimodal import SIZES as UMT_MULTIMODAL_SIZES
from internvideo.models.umt_multimodal import UMTMultimodal
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import ConvStemConfig, VideoViT, VideoViTConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS

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


def open_set_classifier(num_classes: int = 5) -> OpenSetClassifier:
    config = OpenSetClassifierConfig(width=64, depth=2, num_heads=1, num_classes=num_classes)
    return randomised(OpenSetClassifier(config))


def umt_classifier(num_frames: int = 4) -> UMTClassifier:
    """With a stored position table, unless it is made for the 8 frames of pretraining."""
    config = UMTClassifierConfig(
        width=64, depth=2, num_heads=1, num_classes=5, num_frames=num_frames
    )
    return randomised(UMTClassifier(config))


def videomae(encoder: VideoViTConfig = ENCODER) -> VideoMAE:
    config = VideoMAEConfig(encoder=encoder, decoder_width=64, decoder_depth=1, decoder_num_heads=1)
    return randomised(VideoMAE(config))


def unmasked_teacher() -> UnmaskedTeacher:
    encoder = VideoViTConfig(width=64, depth=2, num_heads=1, num_frames=8, tubelet_size=1)
    config = UnmaskedTeacherConfig(encoder=encoder, target_width=16, num_targets=2)
    return randomised(UnmaskedTeacher(config))


def clip_teacher() -> CLIPTeacher:
    config = CLIPTeacherConfig(image_size=32, width=64, depth=2, num_heads=1, embed_dim=16)
    return randomised(CLIPTeacher(config))


def umt_multimodal(seed: int = 0) -> UMTMultimodal:
    """With all that a released file of pretraining holds, and with words."""
    base = UMT_MULTIMODAL_SIZES["b16"]
    encoder = replace(base.encoder, width=64, depth=2, num_heads=1)
    words = SPECIAL_TOKENS + WORDS
    config = replace(
        base,
        vision=replace(base.vision, encoder=encoder, target_width=16, num_targets=2),
        text=replace(
            base.text,
            vocab_size=len(words),
            max_positions=40,
            width=64,
            depth=2,
            num_heads=1,
            mlp_hidden=96,
            fusion_layer=1,
            vision_width=64,
        ),
        embed_dim=16,
        teacher=CLIPTeacherConfig(image_size=32, width=64, depth=2, num_heads=1, embed_dim=16),
        vocabulary=words,
    )
    return randomised(UMTMultimodal(config), seed)


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


def internvideo_mm() -> InternVideoMM:
    config = InternVideoMMConfig(
        vision=UniFormerV2Config(
            image_size=32, width=64, depth=3, num_heads=1, global_layers=(1, 2)
        ),
        text=CLIPTextConfig(
            vocab_size=99, context_length=8, width=64, depth=2, num_heads=1, embed_dim=16
        ),
        embed_dim=16,
        decoder_depth=2,
        decoder_queries=5,
    )
    return randomised(InternVideoMM(config))


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
    "unmasked-teacher/pretraining": unmasked_teacher,
    "unmasked-teacher/teacher": clip_teacher,
    "unmasked-teacher/multimodal": umt_multimodal,
    "videomae/classifier": classifier,
    "videomae/pretraining": videomae,
    "videomae/encoder": encoder,
    "unmasked-teacher/classifier": umt_classifier,
    "viclip": viclip,
    "internvideo-mm": internvideo_mm,
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
