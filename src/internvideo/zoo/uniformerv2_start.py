"""Which weights a `UniFormerV2` starts from: another one, InternVideo-MM's, or image CLIP's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.models.clip_init import inflate_patch_kernel, resize_spatial_positions
from internvideo.models.uniformerv2 import UniFormerV2

__all__ = ["fit_to_encoder", "new_to_clip", "uniformerv2_part"]

_CLASS_TOKEN = "class_embedding"
_VIDEO_TOKEN = "transformer.temporal_cls_token"
_TEMPORAL = "temporal_positional_embedding"
# Alone, in InternVideo-MM, in image CLIP and in a ViCLIP.
_PREFIXES = ("", "visual.", "vision_encoder.")
_NOT_IN_CLIP = (_VIDEO_TOKEN, "transformer.balance", "transformer.dpe.", "transformer.dec.")


def uniformerv2_part(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that a `UniFormerV2` has a place for, under its names.

    Raises:
        CheckpointError: the file has none, or they are those of a ViCLIP, which has learnt temporal
            positions that would be lost.
    """
    for prefix in _PREFIXES:
        if f"{prefix}{_CLASS_TOKEN}" in state:
            part = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            break
    else:
        raise CheckpointError(
            f"{path} holds neither a UniFormerV2 nor an image CLIP (no {_CLASS_TOKEN})"
        )
    if _VIDEO_TOKEN in part:
        return part
    if _TEMPORAL in part and part[_TEMPORAL].count_nonzero():
        raise CheckpointError(
            f"{path} is a ViCLIP: UniFormerV2 has no place for its temporal positions; start from"
            " image CLIP or from a UniFormerV2"
        )
    left = ("proj", _TEMPORAL)
    return {n: t for n, t in part.items() if n not in left and not n.startswith("ln_post.")}


def fit_to_encoder(part: dict[str, Tensor], encoder: UniFormerV2) -> None:
    """Fit patch kernel and positions to the clips of the encoder, in place.

    A kernel that sees one frame goes to the middle of one that sees three; positions of another
    resolution are resampled.
    """
    own, kernel = encoder.conv1.weight, part.get("conv1.weight")
    if kernel is not None and kernel.ndim == 5 and kernel.shape[2] == 1 < own.shape[2]:
        part["conv1.weight"] = inflate_patch_kernel(kernel[:, :, 0], own.shape[2])
    table = part.get("positional_embedding")
    if table is not None and table.shape[0] != encoder.positional_embedding.shape[0]:
        grid = encoder.config.grid[1:]
        part["positional_embedding"] = resize_spatial_positions(table.float(), grid)


def new_to_clip(part: Mapping[str, Tensor], encoder: UniFormerV2) -> tuple[str, ...]:
    """Return the names of what stays as initialised when the file is an image CLIP."""
    if _VIDEO_TOKEN in part:
        return ()
    return tuple(
        name for name in encoder.state_dict() if name.startswith(_NOT_IN_CLIP) or ".lmhra" in name
    )
