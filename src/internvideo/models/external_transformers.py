"""How a model of the library `transformers` is built, looked into and asked.

`external_open_clip` has the same functions; `external` makes a `VideoEncoder` of either.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of a clip; n tokens, (h, w) their
grid in space, d width, e joint dimension, l text length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.errors import CheckpointError, require

__all__ = [
    "FIXED_LENGTH",
    "IMAGE_TEXT_KINDS",
    "VIDEO_KINDS",
    "blocks_of",
    "build",
    "image_vectors",
    "text_vectors",
    "vision_tower",
    "volumes",
]

VIDEO_KINDS = ("timesformer", "videomae", "vivit", "vjepa2")
"""The `model_type` of the towers that take whole clips; any other takes images."""

IMAGE_TEXT_KINDS = ("altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2")
"""The `model_type` of the models with a tower for texts."""

FIXED_LENGTH = ("siglip", "siglip2")
"""Those whose texts are padded to the whole context, as in their training."""

# Where the class token is not what the tower gives as the vector of an image.
_POOLED = ("clip_vision_model", "siglip_vision_model", "siglip2_vision_model")
_MASKED = ("altclip", "chinese_clip")  # text towers that look both ways, and not at padding


def build(network: str, settings: Mapping[str, Any], num_classes: int | None) -> nn.Module:
    """Build a model with fresh weights.

    Args:
        network: name of its class.
        settings: its configuration, with `model_type`.
        num_classes: outputs of a classifier.

    Raises:
        MissingExtraError: `transformers` is not installed.
        CheckpointError: no such class, or a configuration that it does not take.
    """
    library = require("transformers", extra="transformers")
    fields = dict(settings)
    kind = fields.pop("model_type", None)
    if num_classes is not None:
        fields["num_labels"] = num_classes
    cls = getattr(library, network, None)
    if not (isinstance(cls, type) and issubclass(cls, library.PreTrainedModel)):
        raise CheckpointError(f"transformers {library.__version__} has no model {network!r}")
    try:
        return cls(library.AutoConfig.for_model(kind, **fields))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"transformers cannot build a {network}: {error}") from error


def vision_tower(network: nn.Module) -> Any:
    """Return the part that encodes pixels: of two towers that of images, of a classifier its base.

    A model of `transformers` has its own configuration, and so have its parts.
    """
    if hasattr(network, "vision_model"):
        return network.vision_model
    if isinstance(getattr(network, "classifier", None), nn.Module):
        return next(part for part in network.children() if hasattr(part, "main_input_name"))
    return network


def blocks_of(tower: nn.Module) -> list[nn.Module]:
    """Return the blocks of a tower: its longest list of modules of one kind."""
    lists = [
        list(each.children())
        for each in tower.modules()
        if isinstance(each, nn.ModuleList | nn.Sequential)
        and len({type(part) for part in each.children()}) == 1
    ]
    return max(lists, key=len, default=[])


def volumes(
    network: nn.Module, pixels: Float[Tensor, "b c t y x"] | Float[Tensor, "b c y x"], layers: Any
) -> list[tuple[Float[Tensor, "b t h w d"], Float[Tensor, "b d"] | None]]:
    """Encode clips or images.

    Args:
        network: as `build` makes it.
        pixels: normalised; clips for a tower of `VIDEO_KINDS`, else images (whose t is 1).
        layers: numbers of blocks.

    Returns:
        For each of the blocks, and at last for the whole tower: the tokens at their places, and
        the class token where there is one.

    Raises:
        IndexError: a block that there is not.
        CheckpointError: the tower gives no tokens in a grid.
    """
    tower = vision_tower(network)
    blocks, found = blocks_of(tower), {}
    with ExitStack() as hooks:
        for number in layers:
            hooks.enter_context(_kept(blocks[number], number, found))
        output = tower(**_inputs(tower.config, pixels))
    last = getattr(output, "last_hidden_state", None)
    if not isinstance(last, Tensor):
        raise CheckpointError(f"a {type(tower).__name__} gives no tokens (no last_hidden_state)")
    states = [*(found[number] for number in layers), last]
    placed = [_placed(tower.config, state, tuple(pixels.shape)) for state in states]
    if tower.config.model_type in _POOLED:
        placed[-1] = (placed[-1][0], output.pooler_output)
    return placed


def image_vectors(network: Any, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b e"]:
    """Embed images into the joint space."""
    return _vectors(network.get_image_features(**_inputs(network.vision_model.config, images)))


def text_vectors(network: Any, ids: Int[Tensor, "b l"], pad_id: int) -> Float[Tensor, "b e"]:
    """Embed texts into the joint space."""
    mask = (ids != pad_id).long() if network.config.model_type in _MASKED else None
    return _vectors(network.get_text_features(input_ids=ids, attention_mask=mask))


def _vectors(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output


def _kept(block: nn.Module, number: int, found: dict[int, Tensor]) -> Any:
    """Keep what a block gives, until the handle that is returned is closed."""

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found[number] = output[0] if isinstance(output, tuple) else output

    return block.register_forward_hook(keep)


def _inputs(config: Any, pixels: Tensor) -> dict[str, Any]:
    """Return pixels as the arguments of a tower."""
    match config.model_type:
        case "vjepa2":
            clips = rearrange(pixels, "b c t y x -> b t c y x")
            return {"pixel_values_videos": clips, "skip_predictor": True}
        case "siglip2_vision_model":
            side = config.patch_size
            h, w = pixels.shape[-2] // side, pixels.shape[-1] // side
            patches = rearrange(pixels, "b c (h p) (w q) -> b (h w) (p q c)", p=side, q=side)
            ones = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
            shapes = torch.tensor([[h, w]] * len(pixels), device=pixels.device)
            names = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
            return dict(zip(names, (patches, ones, shapes), strict=True))
        case kind if kind in VIDEO_KINDS:
            return {"pixel_values": rearrange(pixels, "b c t y x -> b t c y x")}
    return {"pixel_values": pixels}


def _placed(
    config: Any, tokens: Tensor, shape: Sequence[int]
) -> tuple[Float[Tensor, "b t h w d"], Float[Tensor, "b d"] | None]:
    """Set tokens to their places in a clip or an image of that shape; part off the first one."""
    if tokens.ndim == 4:  # of a convolutional tower
        return rearrange(tokens, "b d h w -> b 1 h w d"), None
    t, h, w = _grid(config, shape, tokens.shape[1])
    extra = tokens.shape[1] - t * h * w
    if extra < 0:
        raise CheckpointError(
            f"a {config.model_type} gives {tokens.shape[1]} tokens for {tuple(shape)}, which fill"
            f" no grid {t}x{h}x{w}"
        )
    # The class token comes first, then registers.
    cls, tokens = (tokens[:, 0] if extra else None), tokens[:, extra:]
    order = "b (h w t) d" if config.model_type == "timesformer" else "b (t h w) d"
    return rearrange(tokens, f"{order} -> b t h w d", t=t, h=h, w=w), cls


def _grid(config: Any, shape: Sequence[int], num_tokens: int) -> tuple[int, int, int]:
    """Return the tokens in time, rows and columns."""
    y, x = shape[-2:]
    frames = shape[2] if len(shape) == 5 else 1
    tubelet = getattr(config, "tubelet_size", 1)
    patch = getattr(config, "patch_size", 1)
    depth, *sides = tubelet if isinstance(tubelet, list | tuple) else (tubelet,)
    p, q = sides or (patch if isinstance(patch, list | tuple) else (patch, patch))
    if len(shape) == 4 and (y // p) * (x // q) > num_tokens:  # patches that are merged on the way
        p = q = max(round((y * x / num_tokens) ** 0.5), 1)
    return max(frames // depth, 1), y // p, x // q
