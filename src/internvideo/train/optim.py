"""Parameter groups and the optimiser."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from internvideo.train.config import OptimConfig

__all__ = ["build_optimizer", "parameter_groups", "scaled_lr"]

# Embedding tables that are more than one-dimensional and still must not decay (videomae, viclip).
UNDECAYED_NAMES = frozenset(
    {
        "cls_token",
        "class_embedding",
        "mask_token",
        "pos_embed",
        "positional_embedding",
        "temporal_positional_embedding",
        "temp",
    }
)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float
) -> list[dict]:
    """Split trainable parameters into a decayed and an undecayed group.

    Vectors (biases, norms, scales), and the embedding tables of the official recipes, do not decay.
    """
    decayed, undecayed = [], []
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        is_table = name.rsplit(".", 1)[-1] in UNDECAYED_NAMES
        (undecayed if parameter.ndim <= 1 or is_table else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def scaled_lr(config: OptimConfig, *, global_batch_size: int) -> float:
    """Return the peak learning rate for this global batch (linear scaling rule, if asked for)."""
    if config.lr_batch_size is None:
        return config.lr
    return config.lr * global_batch_size / config.lr_batch_size


def build_optimizer(model: nn.Module, config: OptimConfig, *, lr: float) -> torch.optim.AdamW:
    """Return AdamW over the two groups of `parameter_groups`, with peak learning rate `lr`."""
    groups = parameter_groups(model.named_parameters(), weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps)
