"""How a model of the library `open_clip` is built, looked into and asked.

The functions are those of `external_transformers`; its towers take images.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.external_transformers import blocks_of

__all__ = ["build", "image_vectors", "text_vectors", "vision_tower", "volumes"]


def build(network: str, settings: Mapping[str, Any], num_classes: int | None) -> nn.Module:
    """Build a model, or its image tower alone, with fresh weights.

    Args:
        network: "CLIP", "CustomTextCLIP" or "CoCa"; with ".visual" behind it for the tower.
        settings: its arguments: `embed_dim`, `vision_cfg`, `text_cfg` and so on.
        num_classes: None, there are no classifiers.

    Raises:
        CheckpointError: no such class, or arguments that it does not take.
    """
    name, _, part = network.partition(".")
    if name not in ("CLIP", "CustomTextCLIP", "CoCa") or part not in ("", "visual"):
        raise CheckpointError(f"open_clip {open_clip.__version__} has no model {network!r}")
    fields = copy.deepcopy(dict(settings))
    try:
        model = getattr(open_clip, name)(**fields)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"open_clip cannot build a {network}: {error}") from error
    return model.visual if part else model


def vision_tower(network: nn.Module) -> Any:
    """Return the image tower."""
    return getattr(network, "visual", network)


def volumes(
    network: nn.Module, pixels: Float[Tensor, "b c y x"], layers: Sequence[int]
) -> list[tuple[Float[Tensor, "b t h w d"], Float[Tensor, "b d"] | None]]:
    """Encode images, see `external_transformers.volumes`; the last tokens have the final norm."""
    tower = vision_tower(network)
    count = len(blocks_of(tower))
    numbers = [range(count)[number] for number in layers]
    ordered = sorted(set(numbers))
    placed = dict(zip(ordered, _intermediates(tower, pixels, ordered), strict=True))
    return [placed[n] for n in numbers] + _intermediates(tower, pixels, 1, norm=True)


def image_vectors(network: Any, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b e"]:
    """Embed images into the joint space."""
    return network.encode_image(images)


def text_vectors(network: Any, ids: Int[Tensor, "b l"], pad_id: int) -> Float[Tensor, "b e"]:
    """Embed texts, each padded to the whole context, into the joint space."""
    return network.encode_text(ids)


def _intermediates(
    tower: Any, pixels: Tensor, indices: int | list[int], *, norm: bool = False
) -> list[tuple[Tensor, Tensor | None]]:
    """Return the tokens after some blocks at their places, and the class tokens."""
    if not indices:
        return []
    inner = getattr(tower, "trunk", None)  # of timm: convolutional ones have no class token
    extra = inner is None or (
        "return_prefix_tokens" in inspect.signature(inner.forward_intermediates).parameters
    )
    found = tower.forward_intermediates(
        pixels,
        indices=indices,
        normalize_intermediates=norm,
        intermediates_only=True,
        output_extra_tokens=extra,
    )
    maps = [rearrange(each, "b d h w -> b 1 h w d") for each in found["image_intermediates"]]
    first = found.get("image_intermediates_prefix") or [None] * len(maps)
    return [
        (volume, None if token is None or token.shape[1] == 0 else token[:, 0])
        for volume, token in zip(maps, first, strict=True)
    ]
