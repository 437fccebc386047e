"""Tiny models that `transformers` and `open_clip` build, in folders as they write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers as tf
from safetensors.torch import save_file

SIZE = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
IMAGE = {"image_size": 32, "patch_size": 16, **SIZE}
VIDEO = {"num_frames": 4, **IMAGE}
LENGTH, EOS, WORDS = 16, 98, ("[PAD]", "[UNK]", "dog", "plays", "snow", "a", "in", "the", "man")
TEXT = {
    "vocab_size": 99, "max_position_embeddings": LENGTH, "bos_token_id": None,
    "eos_token_id": EOS, "pad_token_id": 0, **SIZE,
}  # fmt: skip
NAMES = {f"{n}": f"action {n}" for n in range(5)}
_VJEPA2 = tf.VJEPA2Config(
    crop_size=32, patch_size=16, frames_per_clip=4, tubelet_size=2, hidden_size=24, mlp_ratio=2,
    num_hidden_layers=3, num_attention_heads=2, pred_hidden_size=24, pred_num_attention_heads=2,
    pred_num_hidden_layers=2, num_pooler_layers=1, id2label=NAMES,
)  # fmt: skip
_VIDEOMAE = tf.VideoMAEConfig(tubelet_size=2, id2label=NAMES, **VIDEO)
_DINO = {"image_size": 32, "patch_size": 16, "mlp_ratio": 2}
_DINO |= {name: SIZE[name] for name in SIZE if name != "intermediate_size"}
_PAIR = {"vision_config": IMAGE, "text_config": TEXT}

VIDEO_TOWERS: dict[str, Any] = {
    "vjepa2": lambda: tf.VJEPA2Model(_VJEPA2),
    "videomae": lambda: tf.VideoMAEModel(_VIDEOMAE),
    "timesformer": lambda: tf.TimesformerModel(tf.TimesformerConfig(**VIDEO)),
    "vivit": lambda: tf.VivitModel(tf.VivitConfig(**{**VIDEO, "tubelet_size": [2, 16, 16]})),
}
IMAGE_TOWERS: dict[str, Any] = {
    "vit": lambda: tf.ViTModel(tf.ViTConfig(**IMAGE)),
    "dinov2": lambda: tf.Dinov2Model(tf.Dinov2Config(**_DINO)),
    "dinov3": lambda: tf.DINOv3ViTModel(tf.DINOv3ViTConfig(num_register_tokens=4, **IMAGE)),
    "clip-vision": lambda: tf.CLIPVisionModel(tf.CLIPVisionConfig(**IMAGE)),
    "convnext": lambda: tf.ConvNextModel(
        tf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
    ),
    "swin": lambda: tf.SwinModel(
        tf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
        )
    ),
}
CLASSIFIERS: dict[str, Any] = {
    "videomae-classifier": lambda: tf.VideoMAEForVideoClassification(_VIDEOMAE),
    "vjepa2-classifier": lambda: tf.VJEPA2ForVideoClassification(_VJEPA2),
    "vit-classifier": lambda: tf.ViTForImageClassification(tf.ViTConfig(id2label=NAMES, **IMAGE)),
}
PAIRS: dict[str, Any] = {
    "clip": lambda: tf.CLIPModel(tf.CLIPConfig(projection_dim=12, **_PAIR)),
    "siglip": lambda: tf.SiglipModel(tf.SiglipConfig(**_PAIR)),
    "siglip2": lambda: tf.Siglip2Model(
        tf.Siglip2Config(
            vision_config={"num_patches": 4, "patch_size": 16, **SIZE}, text_config=TEXT
        )
    ),
    "metaclip2": lambda: tf.MetaClip2Model(tf.MetaClip2Config(projection_dim=12, **_PAIR)),
    "chinese-clip": lambda: tf.ChineseCLIPModel(tf.ChineseCLIPConfig(projection_dim=12, **_PAIR)),
}
MODELS: dict[str, Any] = {**VIDEO_TOWERS, **IMAGE_TOWERS, **CLASSIFIERS, **PAIRS}

OPEN_CLIP: dict[str, Any] = {
    "clip": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "width": 64, "heads": 2, "layers": 2},
    },
    "timm": {
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map",
                       "timm_proj": "none"},
        "text_cfg": {"context_length": LENGTH, "vocab_size": 99, "width": 64, "heads": 2,
                     "layers": 2, "no_causal_mask": True, "pool_type": "last",
                     "hf_tokenizer_name": "somewhere/else",
                     "tokenizer_kwargs": {"clean": "canonicalize"}},
    },
}  # fmt: skip


def tokenizer() -> Any:
    """Return a word-level tokenizer with an end token."""
    vocabulary = {word: number for number, word in enumerate(WORDS)} | {"[EOS]": EOS}
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A [EOS]", special_tokens=[("[EOS]", EOS)]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=engine,
        pad_token="[PAD]",
        eos_token="[EOS]",
        unk_token="[UNK]",
        model_max_length=LENGTH,
    )


def lively(model: Any) -> Any:
    """Return a model in evaluation mode in which nothing hides behind small weights."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def save(name: str, folder: Path) -> Any:
    """Write a tiny model of `transformers` to a folder; return it."""
    model = lively(MODELS[name]())
    model.save_pretrained(folder)
    if name in PAIRS:
        tokenizer().save_pretrained(folder)
    return model


def save_open_clip(name: str, folder: Path) -> Any:
    """Write a tiny model of `open_clip` as it lies on the hub; return it."""
    import open_clip

    values = dict(OPEN_CLIP[name])
    cls = open_clip.CustomTextCLIP if values.pop("custom_text", False) else open_clip.CLIP
    torch.manual_seed(0)
    model = lively(cls(**values))
    folder.mkdir(parents=True)
    save_file(
        {n: t.contiguous() for n, t in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    content = {"model_cfg": OPEN_CLIP[name], "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if name == "timm":
        tokenizer().save_pretrained(folder)
    return model
