"""Tiny models with random weights, saved where `load` finds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from internvideo.models.bert import BertConfig
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.internvideo_qa import InternVideoQA, InternVideoQAConfig
from internvideo.models.umt_multimodal import UMTMultimodal, UMTMultimodalConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import all_answers, vocabulary
from internvideo.zoo import save_pretrained
from internvideo.zoo.load import LoadedModel

PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32
)
MULTI_VIEW = Preprocessing(
    num_frames=4,
    sampling="dense",
    frame_stride=2,
    num_clips=2,
    num_crops=3,
    resize_size=32,
    crop_size=32,
)
CLASSES = ("archery", "bowling", "juggling", "yoga")

_ENCODER = {
    "image_size": 32,
    "num_frames": 4,
    "patch_size": 16,
    "tubelet_size": 2,
    "width": 32,
    "depth": 1,
    "num_heads": 2,
}


def _text(words: tuple[str, ...]) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words) + 4, context_length=32, width=32, depth=1, num_heads=2, embed_dim=16
    )


def _internvideo_mm(decoder_depth: int) -> InternVideoMMConfig:
    words = vocabulary()
    return InternVideoMMConfig(
        vision=VideoViTConfig(**_ENCODER),
        text=_text(words),
        embed_dim=16,
        decoder_depth=decoder_depth,
        decoder_queries=4,
        vocabulary=words,
    )


def save_viclip(directory: Path) -> Path:
    """Save a two-tower model that knows the words of the world."""
    words = vocabulary()
    torch.manual_seed(0)
    config = ViCLIPConfig(
        vision=VideoViTConfig(**_ENCODER),
        text=_text(words),
        embed_dim=16,
        vocabulary=words,
        temp_init=0.1,
    )
    return save_pretrained(ViCLIP(config), directory, preprocessing=PROTOCOL)


def save_internvideo_mm(directory: Path, *, decoder_depth: int = 1) -> Path:
    """Save a two-tower model with a caption decoder that knows the words of the world."""
    torch.manual_seed(3)
    config = _internvideo_mm(decoder_depth)
    return save_pretrained(InternVideoMM(config), directory, preprocessing=PROTOCOL)


def save_umt(directory: Path) -> Path:
    """Save a two-tower model with a matching head that knows the words of the world."""
    words = SPECIAL_TOKENS + vocabulary()
    torch.manual_seed(4)
    config = UMTMultimodalConfig(
        vision=UnmaskedTeacherConfig(
            encoder=VideoViTConfig(**{**_ENCODER, "tubelet_size": 1}), num_targets=1
        ),
        text=BertConfig(
            vocab_size=len(words),
            max_positions=32,
            width=32,
            depth=2,
            num_heads=2,
            mlp_hidden=64,
            fusion_layer=1,
            vision_width=32,
            masked_lm=False,
        ),
        embed_dim=16,
        alignment=False,
        vocabulary=words,
    )
    return save_pretrained(UMTMultimodal(config), directory, preprocessing=PROTOCOL)


ANSWERS = (*all_answers(), "")


def save_internvideo_qa(
    directory: Path, *, labels: tuple[str, ...] | None = ANSWERS, num_classes: int = len(ANSWERS)
) -> Path:
    """Save a model that answers questions, with the words and the answers of the world."""
    torch.manual_seed(4)
    model = InternVideoQA(InternVideoQAConfig(towers=_internvideo_mm(1), num_classes=num_classes))
    with torch.no_grad():  # answers that depend on clip and question
        for module in (model.vqa_classifier[1], model.vqa_classifier[5]):
            module.weight.mul_(10)
    return save_pretrained(model, directory, preprocessing=PROTOCOL, labels=labels)


def save_classifier(directory: Path) -> Path:
    """Save a classifier of four classes that looks at six views."""
    torch.manual_seed(1)
    config = VideoClassifierConfig(num_classes=len(CLASSES), init_scale=1.0, **_ENCODER)
    model = VideoClassifier(config)
    return save_pretrained(model, directory, preprocessing=MULTI_VIEW, labels=CLASSES)


def save_videomae(directory: Path) -> Path:
    """Save a masked autoencoder, which has neither text nor classes."""
    torch.manual_seed(2)
    config = VideoMAEConfig(
        encoder=VideoViTConfig(**_ENCODER), decoder_width=32, decoder_depth=1, decoder_num_heads=2
    )
    return save_pretrained(VideoMAE(config), directory, preprocessing=PROTOCOL)


def with_protocol(model: LoadedModel, protocol: Preprocessing) -> LoadedModel:
    """Return the same network under another input protocol."""
    return LoadedModel(model.model, replace(model.record, preprocessing=protocol))
