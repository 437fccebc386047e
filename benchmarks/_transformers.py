"""The peers of `forward.py` and `pretrain_step.py`: transformers' models with our weights.

transformers keeps query, key and value apart and has no key bias; some releases lost the biases of
query and value when they loaded a checkpoint. Both scripts draw biases that are not zero and
compare the outputs, so that a lost one would be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from internvideo.models.layers import Block, SplitBiasAttention
from internvideo.models.videomae import VideoMAE
from internvideo.models.vit import VideoViT, VideoViTConfig


def draw_biases(model: nn.Module) -> None:
    """Give all queries and values a bias, which is zero in a fresh model."""
    for layer in model.modules():
        if isinstance(layer, SplitBiasAttention):
            nn.init.normal_(layer.q_bias, std=0.2)
            nn.init.normal_(layer.v_bias, std=0.2)


def encoder_peer(model: VideoViT, attention: str) -> nn.Module:
    """Return transformers' `VideoMAEModel` with the weights of `model`, for inference.

    Args:
        model: ours.
        attention: transformers' implementation of attention, "eager" or "sdpa".
    """
    from transformers import VideoMAEConfig, VideoMAEModel

    peer = VideoMAEModel(VideoMAEConfig(**_shape(model.config), attn_implementation=attention))
    peer.load_state_dict(_encoder_weights(model), strict=True)
    return peer.eval()


def pretraining_peer(model: VideoMAE, attention: str) -> nn.Module:
    """Return transformers' `VideoMAEForPreTraining` with the weights of `model`, for training.

    Raises:
        RuntimeError: a bias of query or value did not arrive.
    """
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    config = model.config
    peer = VideoMAEForPreTraining(
        VideoMAEConfig(
            **_shape(config.encoder),
            decoder_hidden_size=config.decoder_width,
            decoder_num_attention_heads=config.decoder_num_heads,
            decoder_num_hidden_layers=config.decoder_depth,
            decoder_intermediate_size=int(config.decoder_width * config.encoder.mlp_ratio),
            norm_pix_loss=config.target == "normalized",
            attn_implementation=attention,
        )
    )
    weights = {f"videomae.{name}": value for name, value in _encoder_weights(model.encoder).items()}
    weights |= _block_weights(model.decoder.blocks, "decoder.decoder_layers")
    for name in ("mask_token", "encoder_to_decoder.weight"):
        weights[name] = model.get_parameter(name)
    for name in ("norm.weight", "norm.bias", "head.weight", "head.bias"):
        weights[f"decoder.{name}"] = model.decoder.get_parameter(name)
    peer.load_state_dict(weights, strict=True)
    peer.decoder.norm.eps = config.encoder.norm_eps  # transformers has 1e-5 here, the paper 1e-6
    _check_biases(model, peer)
    return peer.train()


def _shape(config: VideoViTConfig) -> dict[str, Any]:
    return {
        "image_size": config.image_size,
        "num_frames": config.num_frames,
        "patch_size": config.patch_size,
        "tubelet_size": config.tubelet_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_hidden,
        "layer_norm_eps": config.norm_eps,
        "use_mean_pooling": False,
    }


def _encoder_weights(model: VideoViT) -> dict[str, Tensor]:
    embedding = "embeddings.patch_embeddings.projection"
    return {
        f"{embedding}.weight": model.patch_embed.proj.weight,
        f"{embedding}.bias": model.patch_embed.proj.bias,
        "layernorm.weight": model.norm.weight,
        "layernorm.bias": model.norm.bias,
        **_block_weights(model.blocks, "encoder.layer"),
    }


def _block_weights(blocks: Iterable[Block], prefix: str) -> dict[str, Tensor]:
    """Return the weights of blocks under transformers' names, our one projection cut in three."""
    renamed = {
        "layernorm_before": "norm1",
        "attention.output.dense": "attn.proj",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    weights: dict[str, Tensor] = {}
    for index, block in enumerate(blocks):
        for theirs, ours in renamed.items():
            for kind in ("weight", "bias"):
                weights[f"{prefix}.{index}.{theirs}.{kind}"] = block.get_parameter(f"{ours}.{kind}")
        inner = f"{prefix}.{index}.attention.attention"
        parts = zip(("query", "key", "value"), block.attn.qkv.weight.chunk(3), strict=True)
        weights.update({f"{inner}.{name}.weight": part for name, part in parts})
        weights[f"{inner}.query.bias"] = block.attn.q_bias
        weights[f"{inner}.value.bias"] = block.attn.v_bias
    return weights


def _check_biases(model: VideoMAE, peer: nn.Module) -> None:
    loaded = dict(peer.named_parameters())
    for blocks, prefix in (
        (model.encoder.blocks, "videomae.encoder.layer"),
        (model.decoder.blocks, "decoder.decoder_layers"),
    ):
        for index, block in enumerate(blocks):
            for name, bias in (("query", block.attn.q_bias), ("value", block.attn.v_bias)):
                theirs = loaded[f"{prefix}.{index}.attention.attention.{name}.bias"]
                if not bias.any() or not theirs.equal(bias):
                    raise RuntimeError(f"transformers lost the {name} bias of {prefix}.{index}")
