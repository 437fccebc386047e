"""What the shapes of CLIP's two towers tell, in whatever model they are.

Both are told by their own names; `shapes.below` takes the prefix of a model off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from internvideo.models.clip_text import CLIPTextConfig
from internvideo.zoo.shapes import Shapes, depth_of, heads_of, most_common, required, with_fields

__all__ = ["TINY_TEXT", "TINY_WORDS", "image_fields", "text_config", "tower_width"]

TINY_WORDS = tuple("abcdefghijklmnopqrst")
"""Of the miniature two-tower models; four special tokens join them."""

TINY_TEXT = CLIPTextConfig(
    vocab_size=24, context_length=8, width=16, depth=2, num_heads=2, embed_dim=8
)
"""The text tower of these models."""


def tower_width(shapes: Shapes, tower: str) -> int:
    """Return the width of the tokens.

    Raises:
        CheckpointError: nothing tells it.
    """
    return required(
        shapes, r"transformer\.resblocks\.\d+\.ln_[12]\.weight", 0, f"width of the {tower} tower"
    )


def _blocks(shapes: Shapes, base: Any, tower: str) -> dict[str, int]:
    width = tower_width(shapes, tower)
    return {
        "width": width,
        "depth": depth_of(shapes, r"transformer\.resblocks"),
        "num_heads": base.num_heads if base.width == width else heads_of(width, {}),
    }


def image_fields(shapes: Shapes, base: Any) -> dict[str, int]:
    """Return width, depth, heads, patches and resolution of an image tower, or a video tower on it.

    Args:
        shapes: of the tower.
        base: a configuration with these fields, for what shapes do not tell.
    """
    kernel = shapes.get("conv1.weight", ())
    patch = kernel[3] if len(kernel) == 5 and min(kernel) > 0 else base.patch_size
    rows = most_common(shapes, "positional_embedding", 0) or 0
    side = round((rows - 1) ** 0.5) if rows > 1 else base.image_size // patch or 1
    return {**_blocks(shapes, base, "video"), "patch_size": patch, "image_size": side * patch}


def text_config(shapes: Shapes, base: CLIPTextConfig, *, embed_dim: int) -> CLIPTextConfig:
    """Return the configuration of a text tower.

    Args:
        shapes: of the tower.
        base: for what shapes do not tell.
        embed_dim: dimension of the joint space.
    """
    tables: Mapping[str, str] = {
        "vocab_size": r"token_embedding\.weight",
        "context_length": "positional_embedding",
    }
    found = {field: most_common(shapes, name, 0) for field, name in tables.items()}
    fields = {field: extent for field, extent in found.items() if extent}
    return with_fields(base, {**_blocks(shapes, base, "text"), **fields, "embed_dim": embed_dim})
