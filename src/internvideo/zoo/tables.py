"""The layouts of files: under which names, and in which form, they hold the tensors of our models.

| layout     | files                                                                        |
|------------|------------------------------------------------------------------------------|
| official   | of the authors: VideoMAE, V2, UMT, UniFormerV2, ViCLIP, InternVideo-MM, CLIP |
| open-set   | VideoMAE classifiers of InternVideo's open-set code (an mmaction recogniser) |
| mmaction2  | VideoMAE and UniFormerV2 of mmaction2                                        |
| hf         | VideoMAE and CLIP of transformers                                            |
| open-clip  | open_clip's `CLIP`: OpenAI's names; its `CustomTextCLIP`: "open-clip-custom" |

The official files of ActionFormer have linear layers and norms as convolutions over time.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.zoo.layouts import Layout, Line, OnlyOurs, OnlyTheirs, Rename, Reshape, Stack

__all__ = [
    "HF_CLIP",
    "HF_VIDEOMAE_CLASSIFIER",
    "HF_VIDEOMAE_ENCODER",
    "HF_VIDEOMAE_PRETRAINING",
    "IMAGE_TEACHER",
    "MMACTION_UNIFORMERV2",
    "MMACTION_VIDEOMAE",
    "OFFICIAL_ACTIONFORMER",
    "OFFICIAL_UNIFORMERV2",
    "OPENAI_CLIP",
    "OPEN_CLIP_CUSTOM",
    "OPEN_SET_CLASSIFIER",
]

OPEN_SET_CLASSIFIER = Layout(
    (
        Rename("cls_head.fc_cls.{rest}", "head.{rest}"),
        Rename("cls_head.bnn_cls.bnn_layer.{rest}", "head.{rest}"),
        Rename("cls_head.fc_centers.{rest}", "head.{rest}"),
        Rename("backbone.{rest}", "{rest}"),
    )
)


# VideoMAE


def _hf_vit(embeddings: str, layers: str, blocks: str) -> tuple[Line, ...]:
    """Return the lines of a stack of blocks, behind a patch embedding where there is one."""
    theirs, ours = f"{layers}.{{layer}}", f"{blocks}.{{layer}}"
    attention = f"{theirs}.attention.attention"
    patches = f"{embeddings}.patch_embeddings.projection.{{rest}}"
    prefix = blocks.removesuffix("blocks")
    return (
        *((Rename(patches, f"{prefix}patch_embed.proj.{{rest}}"),) if embeddings else ()),
        Rename(f"{theirs}.layernorm_before.{{rest}}", f"{ours}.norm1.{{rest}}"),
        Rename(f"{theirs}.layernorm_after.{{rest}}", f"{ours}.norm2.{{rest}}"),
        Stack(
            tuple(f"{attention}.{part}.weight" for part in ("query", "key", "value")),
            f"{ours}.attn.qkv.weight",
        ),
        Rename(f"{attention}.q_bias", f"{ours}.attn.q_bias"),
        Rename(f"{attention}.v_bias", f"{ours}.attn.v_bias"),
        # the names that transformers 5 gives them in memory
        Rename(f"{attention}.query.bias", f"{ours}.attn.q_bias"),
        Rename(f"{attention}.value.bias", f"{ours}.attn.v_bias"),
        Rename(f"{theirs}.attention.output.dense.{{rest}}", f"{ours}.attn.proj.{{rest}}"),
        Rename(f"{theirs}.intermediate.dense.{{rest}}", f"{ours}.mlp.fc1.{{rest}}"),
        Rename(f"{theirs}.output.dense.{{rest}}", f"{ours}.mlp.fc2.{{rest}}"),
    )


HF_VIDEOMAE_ENCODER = Layout(
    (
        *_hf_vit("embeddings", "encoder.layer", "blocks"),
        Rename("layernorm.{rest}", "norm.{rest}"),
    )
)

HF_VIDEOMAE_CLASSIFIER = Layout(
    (
        *_hf_vit("videomae.embeddings", "videomae.encoder.layer", "blocks"),
        Rename("videomae.layernorm.{rest}", "norm.{rest}"),
        Rename("classifier.{rest}", "head.{rest}"),
    )
)

HF_VIDEOMAE_PRETRAINING = Layout(
    (
        *_hf_vit("videomae.embeddings", "videomae.encoder.layer", "encoder.blocks"),
        Rename("videomae.layernorm.{rest}", "encoder.norm.{rest}"),
        *_hf_vit("", "decoder.decoder_layers", "decoder.blocks"),
    )
)


def _positions(config: Any) -> Tensor:
    """Return the fixed position table of a `VideoViT`."""
    table = sinusoid_table(prod(config.position_grid), config.width)
    return resample_positions(table, config.position_grid, config.grid)


def _sinusoid(shape: tuple[int, ...]) -> Tensor:
    return sinusoid_table(shape[1], shape[2]) if len(shape) == 3 else torch.empty(0)


MMACTION_VIDEOMAE = Layout(
    (
        OnlyTheirs(
            "backbone.pos_embed",
            _sinusoid,
            _positions,
            means={"positions": "direct"},
            kept={"positions": "learnable"},
        ),
        OnlyTheirs("data_preprocessor.{rest}"),
        Rename("backbone.patch_embed.projection.{rest}", "patch_embed.proj.{rest}"),
        Rename(
            "backbone.blocks.{layer}.mlp.layers.0.0.{rest}",
            "blocks.{layer}.mlp.fc1.{rest}",
        ),
        Rename("backbone.blocks.{layer}.mlp.layers.1.{rest}", "blocks.{layer}.mlp.fc2.{rest}"),
        Rename("cls_head.fc_cls.{rest}", "head.{rest}"),
        Rename("cls_head.bnn_cls.bnn_layer.{rest}", "head.{rest}"),
        Rename("cls_head.fc_centers.{rest}", "head.{rest}"),
        Rename("backbone.{rest}", "{rest}"),
    )
)


# UniFormerV2

OFFICIAL_UNIFORMERV2 = Layout((Rename("backbone.{rest}", "{rest}"),))

MMACTION_UNIFORMERV2 = Layout(
    (
        OnlyTheirs("data_preprocessor.{rest}"),
        Rename("backbone.transformer.norm.{rest}", "transformer.proj.0.{rest}"),
        Rename("cls_head.fc_cls.{rest}", "transformer.proj.2.{rest}"),
        Rename("backbone.{rest}", "{rest}"),
    )
)


# CLIP


def _inflate(kernel: Tensor) -> Tensor:
    return kernel.unsqueeze(2)


def _flatten(kernel: Tensor) -> Tensor:
    return kernel.squeeze(2)


def _temperature(logit_scale: Tensor) -> Tensor:
    """Return what cosines are divided by; CLIP multiplies them by exp(logit_scale)."""
    return torch.exp(-logit_scale.double()).float()


def _logit_scale(temperature: Tensor) -> Tensor:
    """Return CLIP's scale, in double precision where single would not lead back exactly."""
    exact = -torch.log(temperature.double())
    if temperature.is_meta or torch.equal(_temperature(exact.float()), temperature):
        return exact.float()
    return exact


def _no_time(ours: Mapping[str, Tensor]) -> Tensor | None:
    """Return the positions in time of a still, which are zero."""
    space = ours.get("vision_encoder.positional_embedding")
    return None if space is None else space.new_zeros(1, _CLIP_STEPS, space.shape[-1])


_CLIP_STEPS = 8  # frames of a ViCLIP, as which an image CLIP is read
_ONLY_IN_VICLIP = OnlyOurs(
    "vision_encoder.temporal_positional_embedding",
    _no_time,
    "only a model that equals image CLIP on a still (8 steps, all zero) can be written as one",
)
_SCALE = Reshape("logit_scale", "temp", _temperature, _logit_scale)


def _openai_clip(text: str) -> Layout:
    """Return the layout with the text tower below a prefix."""
    return Layout(
        (
            _ONLY_IN_VICLIP,
            _SCALE,
            *(OnlyTheirs(n) for n in ("input_resolution", "context_length", "vocab_size")),
            Reshape("visual.conv1.weight", "vision_encoder.conv1.weight", _inflate, _flatten),
            Rename("visual.{rest}", "vision_encoder.{rest}"),
            *(
                Rename(f"{text}{name}", f"text_encoder.{name}")
                for name in (
                    "transformer.{rest}",
                    "token_embedding.{rest}",
                    "ln_final.{rest}",
                    "positional_embedding",
                    "text_projection",
                )
            ),
        )
    )


OPENAI_CLIP = _openai_clip("")
"""Image CLIP, the start of every ViCLIP; open_clip's files have these names too."""

OPEN_CLIP_CUSTOM = _openai_clip("text.")


def _hf_tower(theirs: str, ours: str) -> tuple[Line, ...]:
    layer, block = f"{theirs}.encoder.layers.{{layer}}", f"{ours}.transformer.resblocks.{{layer}}"
    return (
        OnlyTheirs(f"{theirs}.embeddings.position_ids"),
        Rename(f"{theirs}.embeddings.position_embedding.weight", f"{ours}.positional_embedding"),
        *(
            Stack(
                tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv"),
                f"{block}.attn.in_proj_{kind}",
            )
            for kind in ("weight", "bias")
        ),
        Rename(f"{layer}.self_attn.out_proj.{{rest}}", f"{block}.attn.out_proj.{{rest}}"),
        Rename(f"{layer}.layer_norm1.{{rest}}", f"{block}.ln_1.{{rest}}"),
        Rename(f"{layer}.layer_norm2.{{rest}}", f"{block}.ln_2.{{rest}}"),
        Rename(f"{layer}.mlp.fc1.{{rest}}", f"{block}.mlp.c_fc.{{rest}}"),
        Rename(f"{layer}.mlp.fc2.{{rest}}", f"{block}.mlp.c_proj.{{rest}}"),
    )


def _transposed(matrix: Tensor) -> Tensor:
    return matrix.t().contiguous()


HF_CLIP = Layout(
    (
        _ONLY_IN_VICLIP,
        _SCALE,
        *_hf_tower("vision_model", "vision_encoder"),
        Rename("vision_model.embeddings.class_embedding", "vision_encoder.class_embedding"),
        Reshape(
            "vision_model.embeddings.patch_embedding.weight",
            "vision_encoder.conv1.weight",
            _inflate,
            _flatten,
        ),
        Rename("vision_model.pre_layrnorm.{rest}", "vision_encoder.ln_pre.{rest}"),
        Rename("vision_model.post_layernorm.{rest}", "vision_encoder.ln_post.{rest}"),
        Reshape("visual_projection.weight", "vision_encoder.proj", _transposed, _transposed),
        *_hf_tower("text_model", "text_encoder"),
        Rename(
            "text_model.embeddings.token_embedding.{rest}", "text_encoder.token_embedding.{rest}"
        ),
        Rename("text_model.final_layer_norm.{rest}", "text_encoder.ln_final.{rest}"),
        Reshape("text_projection.weight", "text_encoder.text_projection", _transposed, _transposed),
    )
)

IMAGE_TEACHER = Layout((Reshape("conv1.weight", "conv1.weight", _inflate, _flatten),))
"""The image tower of a CLIP alone: the released teachers' patch kernel has a time axis of 1."""


# ActionFormer


def _last_axis(linear: Tensor) -> Tensor:
    return linear[..., None]


def _no_last_axis(kernel: Tensor) -> Tensor:
    return kernel.squeeze(-1)


def _flat(per_channel: Tensor) -> Tensor:
    return per_channel.reshape(-1)


def _over_time(per_channel: Tensor) -> Tensor:
    return per_channel.reshape(1, -1, 1)


_PER_CHANNEL = (
    *(
        f"backbone.{{rest}}.{norm}.{kind}"
        for norm in ("ln1", "ln2", "attn.query_norm", "attn.key_norm", "attn.value_norm")
        for kind in ("weight", "bias")
    ),
    *(f"backbone.{{rest}}.drop_path_{branch}.scale" for branch in ("attn", "mlp")),
    *(
        f"{norms}.{{layer}}.{kind}"
        for norms in ("backbone.embd_norm", "neck.fpn_norms", "cls_head.norm", "reg_head.norm")
        for kind in ("weight", "bias")
    ),
)
_LINEAR = ("attn.query", "attn.key", "attn.value", "attn.proj", "mlp.0", "mlp.3")

OFFICIAL_ACTIONFORMER = Layout(
    (
        *(Reshape(name, name, _flat, _over_time) for name in _PER_CHANNEL),
        *(
            Reshape(name, name, _no_last_axis, _last_axis)
            for name in (f"backbone.{{rest}}.{layer}.weight" for layer in _LINEAR)
        ),
    )
)
"""Those of InternVideo's detectors and of ActionFormer's own release."""
