"""VideoMAE and VideoMAE V2: pretraining, classifier, bare encoder, and probes on it."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from internvideo.errors import CheckpointError
from internvideo.models import classifier, probe, videomae, vit
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import (
    Shapes,
    below,
    depth_of,
    heads_of,
    mlp_ratio,
    most_common,
    required,
    with_fields,
)
from internvideo.zoo.tables import (
    HF_VIDEOMAE_CLASSIFIER,
    HF_VIDEOMAE_ENCODER,
    HF_VIDEOMAE_PRETRAINING,
    MMACTION_VIDEOMAE,
)

__all__ = [
    "CLASSIFIER",
    "ENCODER",
    "PRETRAINING",
    "PROBE",
    "TINY",
    "TINY_STEM",
    "classifier_fields",
    "classifier_traits",
    "unseen_of_vit",
    "vit_fields",
    "vit_traits",
]


def _vit_size(width: int) -> vit.VideoViTConfig | None:
    return next((size for size in vit.SIZES.values() if size.width == width), None)


def vit_fields(shapes: Shapes, base: Any) -> dict[str, Any]:
    """Return the fields of a `VideoViTConfig` that the shapes of an encoder tell."""
    width = required(shapes, r"blocks\.\d+\.(norm1|norm2)\.weight", 0, "width")
    hidden = required(shapes, r"blocks\.\d+\.mlp\.fc1\.weight", 0, "width of the MLP")
    size = _vit_size(width)
    if size is None and base is not None and base.width == width:
        size = base
    size = size or vit.VideoViTConfig(width=width, num_heads=heads_of(width, {}))
    base = base or size
    kernel = shapes.get("patch_embed.proj.weight", ())
    _, channels, frames, patch, _ = (
        kernel
        if len(kernel) == 5 and min(kernel) > 0
        else (0, base.num_channels, base.tubelet_size, base.patch_size, 0)
    )
    if any(name.startswith("stem.") for name in shapes):
        raise CheckpointError(
            "an encoder with a convolutional stem needs its config.json: strides are not visible in"
            " the shapes"
        )
    fields = {
        "image_size": base.image_size // patch * patch or patch
        if isinstance(base.image_size, int)
        else base.image_size,
        "num_frames": base.num_frames // frames * frames or frames,
        "width": width,
        "depth": depth_of(shapes, "blocks"),
        "num_heads": base.num_heads if base.width == width else size.num_heads,
        "mlp_ratio": mlp_ratio(width, hidden, size.mlp_ratio),
        "num_channels": channels,
        "tubelet_size": frames,
        "patch_size": patch,
        "init_values": (base.init_values or 1e-5)
        if most_common(shapes, r"blocks\.\d+\.gamma_1", 0)
        else 0.0,
        "cosine_attention": most_common(shapes, r"blocks\.\d+\.attn\.scale", 0) is not None,
    }
    if "pos_embed" in shapes:
        fields |= {
            "positions": "learnable",
            **_learnable_grid(shapes["pos_embed"], frames, patch, base),
        }
    return fields


def _learnable_grid(table: tuple[int, ...], frames: int, patch: int, base: Any) -> dict[str, Any]:
    """Return frames and pixels that a learnt position table is made for."""
    tokens = table[1] if len(table) == 3 else 0
    if not isinstance(base.image_size, int) and tokens == prod(base.grid):
        return {"image_size": base.image_size, "num_frames": base.num_frames}
    side = round((tokens * frames / base.num_frames) ** 0.5)
    if not side or side * side * base.num_frames != tokens * frames:
        raise CheckpointError(
            f"pos_embed {table} does not tell the grid for {base.num_frames} frames; give"
            " num_frames (--set num_frames=…), or a folder with config.json"
        )
    return {"image_size": side * patch, "num_frames": base.num_frames}


def _infer_encoder(shapes: Shapes, base: Any) -> vit.VideoViTConfig:
    fields = vit_fields(shapes, base)
    fields["final_norm"] = any(name.startswith("norm.") for name in shapes)
    return with_fields(base or _vit_size(fields["width"]) or vit.VideoViTConfig(), fields)


def classifier_fields(shapes: Shapes, base: Any) -> dict[str, Any]:
    """Return the fields of a `VideoClassifierConfig` that shapes tell."""
    fields = vit_fields(shapes, base)
    fields["num_classes"] = most_common(shapes, r"head\.(weight|bias)", 0) or 0
    has_norm = any(name.startswith("norm.") for name in shapes)
    mean = any(name.startswith("fc_norm.") for name in shapes) or not has_norm
    usual = base.pooling if base is not None and base.pooling != "first" else "mean"
    return fields | {"pooling": usual if mean else "first", "final_norm": not mean}


def _infer_classifier(shapes: Shapes, base: Any) -> classifier.VideoClassifierConfig:
    default = classifier.VideoClassifierConfig(num_classes=1)
    return with_fields(base or default, classifier_fields(shapes, base))


def _infer_probe(shapes: Shapes, base: Any) -> probe.ProbeClassifierConfig:
    encoder = below(shapes, "encoder.")
    fields = {
        "encoder": _infer_encoder(encoder, base.encoder if base is not None else None),
        "num_classes": required(shapes, r"head\.(weight|bias)", 0, "number of classes"),
        "head": "attentive" if any(name.startswith("pool.") for name in shapes) else "linear",
        "batch_norm": any(name.startswith("norm.") for name in shapes),
    }
    return with_fields(base, fields) if base is not None else probe.ProbeClassifierConfig(**fields)


def _infer_videomae(shapes: Shapes, base: Any) -> videomae.VideoMAEConfig:
    decoder = below(shapes, "decoder.")
    encoder_base = base.encoder if base is not None else None
    encoder = with_fields(
        encoder_base or vit.VideoViTConfig(),
        {**vit_fields(below(shapes, "encoder."), encoder_base), "final_norm": True},
    )
    width = required(decoder, r"blocks\.\d+\.(norm1|norm2)\.weight", 0, "decoder's width")
    known = {size.decoder_width: size.decoder_num_heads for size in videomae.SIZES.values()}
    fields = {
        "encoder": encoder,
        "decoder_width": width,
        "decoder_depth": depth_of(decoder, "blocks"),
        "decoder_num_heads": base.decoder_num_heads
        if base is not None and base.decoder_width == width
        else heads_of(width, known),
    }
    return with_fields(base, fields) if base is not None else videomae.VideoMAEConfig(**fields)


def unseen_of_vit(shapes: Shapes) -> tuple[str, ...]:
    """Return what a file does not tell whose positions are a table that is made, not stored."""
    told = {"image_size", "num_frames", "positions"} if "pos_embed" in shapes else set()
    width = most_common(shapes, r"blocks\.\d+\.(norm1|norm2)\.weight", 0) or 0
    if _vit_size(width) is not None:
        told.add("num_heads")
    names = ("image_size", "num_frames", "positions", "num_heads")
    return tuple(name for name in names if name not in told)


def _unseen_of_encoder(shapes: Shapes) -> tuple[str, ...]:
    return tuple(f"encoder.{name}" for name in unseen_of_vit(below(shapes, "encoder.")))


def vit_traits(config: Any) -> dict[str, Any]:
    """Return the values that tell two video transformers apart."""
    names = ("width", "depth", "patch_size", "tubelet_size", "num_channels", "mlp_hidden")
    return {name: getattr(config, name) for name in names}


def classifier_traits(config: Any) -> dict[str, Any]:
    """Return the values that tell two fine-tuned video transformers apart."""
    return {**vit_traits(config), "num_classes": config.num_classes}


def _probe_traits(config: Any) -> dict[str, Any]:
    return {**vit_traits(config.encoder), "num_classes": config.num_classes, "head": config.head}


def _videomae_traits(config: Any) -> dict[str, Any]:
    names = ("decoder_width", "decoder_depth")
    return {**vit_traits(config.encoder), **{name: getattr(config, name) for name in names}}


TINY = vit.VideoViTConfig(image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2)
"""A miniature of the encoder."""

TINY_STEM = replace(
    TINY, patch_size=16, tubelet_size=1, stem=vit.ConvStemConfig(channels=(4, 6), strides=(2, 2))
)
"""With a convolutional stem, and one token a frame."""

_TINY_OPTIONS = replace(TINY, cosine_attention=True, init_values=0.5, positions="learnable")
_TINY_PRETRAINING = videomae.VideoMAEConfig(
    encoder=TINY, decoder_width=8, decoder_depth=1, decoder_num_heads=2
)
_TINY_CLASSIFIER = classifier.VideoClassifierConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, num_classes=5
)
_TINY_PROBE = probe.ProbeClassifierConfig(encoder=TINY, num_classes=5, num_heads=2)

PRETRAINING = Architecture(
    id="videomae/pretraining",
    model=videomae.VideoMAE,
    config=videomae.VideoMAEConfig,
    sizes=videomae.SIZES,
    tiny={
        "released": _TINY_PRETRAINING,
        "options": replace(_TINY_PRETRAINING, encoder=_TINY_OPTIONS, target="pixels"),
        "stem": replace(_TINY_PRETRAINING, encoder=TINY_STEM, target="motion", target_size=8),
        "fine": replace(_TINY_PRETRAINING, mask_patch_size=4),
        "wide": replace(_TINY_PRETRAINING, encoder=replace(TINY, image_size=(16, 24))),
    },
    tables={"official": SAME_NAMES, "hf": HF_VIDEOMAE_PRETRAINING},
    unseen=_unseen_of_encoder,
    infer=_infer_videomae,
    traits=_videomae_traits,
    preset="videomae-validation",
)

CLASSIFIER = Architecture(
    id="videomae/classifier",
    model=classifier.VideoClassifier,
    config=classifier.VideoClassifierConfig,
    sizes=classifier.SIZES,
    tiny={
        "released": _TINY_CLASSIFIER,
        "first": replace(_TINY_CLASSIFIER, pooling="first", final_norm=True),
        "concat": replace(_TINY_CLASSIFIER, pooling="concat"),
    },
    tables={
        "official": SAME_NAMES,
        "hf": HF_VIDEOMAE_CLASSIFIER,
        "mmaction2": MMACTION_VIDEOMAE,
    },
    unseen=unseen_of_vit,
    infer=_infer_classifier,
    traits=classifier_traits,
    preset="videomae-kinetics",
)

ENCODER = Architecture(
    id="videomae/encoder",
    model=vit.VideoViT,
    config=vit.VideoViTConfig,
    sizes=vit.SIZES,
    tiny={"released": TINY, "options": _TINY_OPTIONS, "stem": TINY_STEM},
    tables={"official": SAME_NAMES, "hf": HF_VIDEOMAE_ENCODER},
    unseen=unseen_of_vit,
    infer=_infer_encoder,
    traits=vit_traits,
    preset="videomae-validation",
)

PROBE = Architecture(
    id="videomae/probe",
    model=probe.ProbeClassifier,
    config=probe.ProbeClassifierConfig,
    sizes=probe.SIZES,
    tiny={"linear": _TINY_PROBE, "attentive": replace(_TINY_PROBE, head="attentive")},
    tables={"official": SAME_NAMES},
    infer=_infer_probe,
    traits=_probe_traits,
    preset="videomae-kinetics",
)
