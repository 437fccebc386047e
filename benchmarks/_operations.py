"""How much arithmetic a masked pretraining step is: matrix products, by formula."""

from __future__ import annotations

from math import prod

from internvideo.models.videomae import VideoMAEConfig


def forward_operations(config: VideoMAEConfig, *, visible: int, reconstructed: int) -> float:
    """Return the floating-point operations of one clip's forward pass, 2 a multiply-add.

    Args:
        config: the masked autoencoder, its encoder without a stem.
        visible: tokens that the encoder sees.
        reconstructed: tokens that the decoder predicts; of its last block only these are counted.
    """
    encoder, width = config.encoder, config.decoder_width
    hidden, tokens = int(width * encoder.mlp_ratio), visible + reconstructed
    total = visible * _embedding(config)
    total += encoder.depth * _block(visible, visible, encoder.width, encoder.mlp_hidden)
    total += visible * encoder.width * width
    total += (config.decoder_depth - 1) * _block(tokens, tokens, width, hidden)
    total += _block(tokens, reconstructed, width, hidden)
    total += reconstructed * width * config.target_width
    return 2.0 * total


def step_operations(config: VideoMAEConfig, *, visible: int, reconstructed: int) -> float:
    """Return the operations of forward and backward pass, without any recomputing.

    The backward pass is two products for each of the forward pass; pixels need no gradient.
    """
    forward = forward_operations(config, visible=visible, reconstructed=reconstructed)
    return 3.0 * forward - 2.0 * visible * _embedding(config)


def utilisation(operations: float, seconds: float, peak: float) -> float:
    """Return the share of the peak (operations a second) that was reached."""
    return operations / seconds / peak


def num_tokens(config: VideoMAEConfig) -> int:
    """Return the tokens of one clip, seen or not."""
    return prod(config.encoder.grid)


def _embedding(config: VideoMAEConfig) -> int:
    encoder = config.encoder
    pixels = encoder.num_channels * encoder.tubelet_size * encoder.patch_size**2
    return pixels * encoder.width


def _block(tokens: int, queries: int, width: int, hidden: int) -> int:
    """Multiply-adds of one block whose last `queries` tokens go on."""
    projections = 2 * (tokens + queries) * width * width
    attention = 2 * tokens * queries * width
    return projections + attention + 2 * queries * width * hidden
