"""Tiny models for retrieval that read a few words, and a batch of clips with captions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from internvideo.data.samples import Sample
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.retrieval.frames import FrameRetriever, FrameRetrieverConfig
from internvideo.tasks.retrieval.headers import (
    FramePoolingConfig,
    TightHeaderConfig,
    TokenWiseHeaderConfig,
)
from internvideo.tasks.retrieval.task import RetrievalConfig, RetrievalTraining
from internvideo.video.preprocessing import Preprocessing

WORDS = ("a", "dog", "red", "star", "moves", "left")
TEXT = CLIPTextConfig(
    vocab_size=len(WORDS) + 4, context_length=8, width=16, depth=2, num_heads=2, embed_dim=16
)
IMAGE_CLIP = ViCLIPConfig(
    vision=ViCLIPVisionConfig(
        image_size=16,
        num_frames=4,
        patch_size=8,
        width=16,
        depth=2,
        num_heads=2,
        embed_dim=16,
        drop_path_rate=0.0,
    ),
    text=TEXT,
    embed_dim=16,
    vocabulary=WORDS,
    temp_init=0.1,
)
TOWERS = {
    "image-clip": IMAGE_CLIP,
    "uniformer": InternVideoMMConfig(
        vision=UniFormerV2Config(
            image_size=16,
            num_frames=4,
            patch_size=8,
            width=16,
            depth=2,
            num_heads=2,
            global_layers=(1,),
            global_drop_rate=0.0,
        ),
        text=TEXT,
        embed_dim=16,
        decoder_depth=1,
        vocabulary=WORDS,
    ),
    "pooled": ViCLIPConfig(
        vision=VideoViTConfig(
            image_size=16,
            num_frames=4,
            patch_size=8,
            tubelet_size=2,
            width=16,
            depth=1,
            num_heads=2,
        ),
        text=TEXT,
        embed_dim=16,
        vocabulary=WORDS,
        projection_norm="batch",
        temp_init=0.1,
    ),
}
HEADERS = {
    "mean": FramePoolingConfig(),
    "seq-lstm": FramePoolingConfig(rule="seq-lstm"),
    "seq-transformer": FramePoolingConfig(rule="seq-transformer", depth=1),
    "tight": TightHeaderConfig(depth=1, drop_rate=0.0),
    "words": TokenWiseHeaderConfig(),
    "hidden": TokenWiseHeaderConfig(words="hidden", padding="zero", weight_layers=1),
}


def with_effect(model: nn.Module) -> nn.Module:
    """Draw what starts without an effect, so that it shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 0 and not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model


def towers(name: str = "uniformer") -> ViCLIP | InternVideoMM:
    torch.manual_seed(0)
    config = TOWERS[name]
    return with_effect(InternVideoMM(config) if name == "uniformer" else ViCLIP(config))


def retriever(
    towers: str = "image-clip", header: str = "mean", frames: str = "alone"
) -> FrameRetriever:
    torch.manual_seed(0)
    config = FrameRetrieverConfig(towers=TOWERS[towers], header=HEADERS[header], frames=frames)
    return with_effect(FrameRetriever(config))


PROTOCOL = Preprocessing(
    num_frames=4, sampling="per-second", resize_rule="squash", resize_size=16, crop_size=16
)
CAPTIONS = ("a red star", "a dog moves left", "a red star", "star", "a dog")
KEYS = ("v0.mp4", "v1.mp4", "v2.mp4", "v3.mp4", "v1.mp4")


def make(model, **options) -> RetrievalTraining:
    return RetrievalTraining(model, PROTOCOL, RetrievalConfig(**options))


def sample(number: int) -> Sample:
    frames = 4 if number % 2 else 3
    pixels = np.random.default_rng(number).integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)
    return Sample(frames=pixels, caption=CAPTIONS[number], key=KEYS[number])


def batch(task: RetrievalTraining) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return default_collate([task.prepare(sample(n), rng)[0] for n in range(len(CAPTIONS))])
