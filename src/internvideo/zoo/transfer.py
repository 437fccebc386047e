"""Give the video encoder of a model the weights of another model's encoder.

| model              | starts from                             | what is fitted                    |
|--------------------|-----------------------------------------|-----------------------------------|
| on a `VideoViT`    | any other on a `VideoViT`               | a learnt table of positions       |
|                    | an image transformer (timm, MAE, DINO)  | patch kernel, biases, positions   |
| `UniFormerVideo`   | another one, UniFormer of pictures      | convolutions, spread over time    |
| on a `UniFormerV2` | another one, InternVideo-MM, image CLIP | patch kernel, positions in space  |
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.classifier import remap_head
from internvideo.models.clip_init import inflate_patch_kernel, resize_spatial_positions
from internvideo.models.contract import Classifier, has
from internvideo.models.positions import resample_positions, sinusoid_table
from internvideo.models.uniformer_video import UniFormerVideo
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.models.vit import VideoViT, VideoViTConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.identify import compare
from internvideo.zoo.image_vit import video_state
from internvideo.zoo.load import head_name, read_weights

__all__ = ["NEW_IN_UNIFORMER", "Transferred", "load_encoder_weights", "load_weights"]

_LOG = logging.getLogger(__name__)

HeadRule: TypeAlias = Literal["none", "kept", "remapped", "fresh"]

NEW_IN_UNIFORMER = (
    "transformer.temporal_cls_token",
    "transformer.balance",
    "transformer.dpe.",
    "transformer.dec.",
)
"""How the names begin that a UniFormerV2 has and image CLIP has not."""

# What an encoder begins with in the models that have it, and a tensor that tells it is there.
_VIT_PREFIXES, _VIT_TENSOR = ("", "encoder.", "vision_encoder.encoder."), "patch_embed.proj.weight"
_UNIFORMER_PREFIXES, _UNIFORMER_TENSOR = ("", "visual.", "vision_encoder."), "class_embedding"
_BOX_HEADS = ("head.", "ROIHEAD.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Transferred:
    """What a model got from a file.

    Attributes:
        loaded: number of tensors taken.
        left: tensors of the file that the model has no place for (a decoder, a head, a final norm).
        fresh: tensors of the model that stay as they were initialised.
        head: what became of a classifier's head.
    """

    loaded: int
    left: tuple[str, ...]
    fresh: tuple[str, ...]
    head: HeadRule = "none"


def load_encoder_weights(
    model: nn.Module,
    source: str | Path,
    *,
    card: str | None = None,
    head_rows: Sequence[int] | None = None,
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> Transferred:
    """Give the video encoder of a model the weights of a pretrained one, in place.

    Every tensor of the encoder must be in the file, with its shape. A decoder, a head and a text
    tower of the file are left; a final norm that the model does not have is left too (a classifier
    with mean pooling starts its own). The head of a classifier is kept when file and model have the
    same number of classes, taken by rows when `head_rows` is given, and left fresh otherwise.

    Args:
        model: a `VideoMAE`, `VideoViT`, `VideoClassifier`, a `ViCLIP` on a `VideoViT`, a
            `UniFormerV2` or a classifier or two-tower model on it, a `UniFormerVideo`.
        source: as for `load_model`.
        card: as for `load_model`.
        head_rows: which outputs of the file's head become the outputs of the model's.
        architectures: as for `load_model`.

    Raises:
        CheckpointError: the model or the file has no such encoder, or they differ in shape.
    """
    encoder = _encoder_of(model)
    weights = read_weights(source, card=card, architectures=architectures, as_start=True)
    # half precision is for files, not for resampling tables
    state = {n: t.float() if t.is_floating_point() else t for n, t in weights.state.items()}
    origin: dict[str, str] | None = None
    if weights.architecture is None:
        if not isinstance(encoder, VideoViT):
            raise CheckpointError(
                f"{source}: a {type(encoder).__name__} does not start from timm's ViT"
            )
        state, origin = video_state(state, encoder)
    if isinstance(encoder, UniFormerV2):
        prefix, given, fresh = _uniformer_part(state, encoder, source)
    elif isinstance(encoder, UniFormerVideo):
        prefix, given, fresh = "", _spread_over_time(state, encoder), ()
    else:
        prefix, given, fresh = _vit_part(state, weights.config, encoder, source)
    head: HeadRule = "none"
    if has(encoder, "classes"):
        head = _prepare_head(encoder, given, head_rows)
        parts = ("head.", "fc_norm.", "transformer.proj.")
        fresh += tuple(n for n in encoder.state_dict() if n.startswith(parts) and n not in given)
    if has(encoder, "boxes") or has(encoder, "contacts"):
        head, new = _prepare_boxes(encoder, given)
        fresh += new
    load_weights(encoder, given, source, fresh=fresh, what="the encoder")
    own = encoder.state_dict().keys() & given.keys()
    if origin is None:
        origin = {n.removeprefix(prefix): n for n in state if n.startswith(prefix)}
    taken = {origin[name] for name in own if name in origin}
    left = tuple(name for name in weights.state if name not in taken)
    if left:
        shown = f"{', '.join(left[:6])}{' …' if len(left) > 6 else ''}"
        _LOG.info("%s: left %d tensors: %s", source, len(left), shown)
    return Transferred(loaded=len(own), left=left, fresh=fresh, head=head)


def load_weights(
    model: nn.Module,
    given: Mapping[str, Tensor],
    source: str | Path,
    *,
    fresh: Collection[str] = (),
    what: str | None = None,
) -> Transferred:
    """Load all that the model has a place for; only what `fresh` names may be missing.

    Raises:
        CheckpointError: something else is missing, or of another shape; nothing has been loaded.
    """
    own = model.state_dict()
    taken = {name: tensor for name, tensor in given.items() if name in own}
    expected = {n: tuple(t.shape) for n, t in own.items() if n in taken or n not in fresh}
    fit = compare({name: tuple(tensor.shape) for name, tensor in taken.items()}, expected)
    if not fit.ok:
        what = what or f"the {type(model).__name__}"
        raise CheckpointError(f"{source} does not fit {what}: {fit.explain()}")
    for name, tensor in taken.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{source}: {name} holds values that are not finite numbers")
    model.load_state_dict(taken, strict=False)
    left = tuple(name for name in given if name not in own)
    _LOG.info("%s: %d tensors taken, %d left, %d new", source, len(taken), len(left), len(fresh))
    return Transferred(loaded=len(taken), left=left, fresh=tuple(fresh))


def _encoder_of(model: nn.Module) -> VideoViT | UniFormerV2 | UniFormerVideo:
    for module in model.modules():
        if isinstance(module, VideoViT | UniFormerV2 | UniFormerVideo):
            return module
    raise CheckpointError(f"a {type(model).__name__} like this has no VideoViT encoder")


def _spread_over_time(state: Mapping[str, Tensor], encoder: UniFormerVideo) -> dict[str, Tensor]:
    """Return the tensors of a UniFormer; kernels of a picture's are the same at every time."""
    own = encoder.state_dict()

    def fitted(name: str, tensor: Tensor) -> Tensor:
        if name not in own or own[name].ndim != 5 or tensor.ndim != 4:
            return tensor
        return inflate_patch_kernel(tensor, own[name].shape[2], mode="average")

    return {name: fitted(name, tensor) for name, tensor in state.items()}


def _part(
    state: Mapping[str, Tensor], prefixes: Sequence[str], tensor: str
) -> tuple[str, dict[str, Tensor]]:
    """Return the first prefix before a tensor, and what has it, without; nothing if none has."""
    for prefix in prefixes:
        if f"{prefix}{tensor}" in state:
            return prefix, {
                n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)
            }
    return "", {}


def _vit_part(
    state: Mapping[str, Tensor], config: Any, encoder: VideoViT, source: str | Path
) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Return prefix, tensors under the encoder's names, and what is new to it."""
    prefix, given = _part(state, _VIT_PREFIXES, _VIT_TENSOR)
    if not given:
        raise CheckpointError(f"{source} holds no VideoViT encoder (no {_VIT_TENSOR})")
    table = given.get("pos_embed")
    if encoder.config.positions == "learnable":
        for part in (config, getattr(config, "encoder", None), getattr(config, "vision", None)):
            if not isinstance(part, VideoViTConfig):
                continue
            grid = part.grid
            if table is None:  # a fixed one is what is learnt on from
                grid = part.position_grid
                table = sinusoid_table(prod(grid), part.width)
            given["pos_embed"] = resample_positions(table, grid, encoder.config.grid)
    if encoder.config.positions != "umt":
        return prefix, given, ()
    # UMT's are made for the clips of the model, whatever clips the file was made for.
    given.pop("pos_embed", None)
    return prefix, given, tuple(name for name in encoder.state_dict() if name == "pos_embed")


def _uniformer_part(
    state: Mapping[str, Tensor], encoder: UniFormerV2, source: str | Path
) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Return prefix, tensors under the encoder's names, and what is new to it.

    Raises:
        CheckpointError: the file has no such encoder, or it is that of a ViCLIP, which has learnt
            temporal positions that would be lost.
    """
    prefix, given = _part(state, _UNIFORMER_PREFIXES, _UNIFORMER_TENSOR)
    if not given:
        raise CheckpointError(
            f"{source} holds neither a UniFormerV2 nor an image CLIP (no {_UNIFORMER_TENSOR})"
        )
    fresh: tuple[str, ...] = ()
    if "transformer.temporal_cls_token" not in given:
        in_time = given.pop("temporal_positional_embedding", None)
        if in_time is not None and in_time.count_nonzero():
            raise CheckpointError(
                f"{source} is a ViCLIP: UniFormerV2 has no place for its temporal positions; start"
                " from image CLIP or from a UniFormerV2"
            )
        own = encoder.state_dict()
        fresh = tuple(n for n in own if n.startswith(NEW_IN_UNIFORMER) or ".lmhra" in n)
    kernel, table = given["conv1.weight"], given["positional_embedding"]
    depth = encoder.conv1.weight.shape[2]
    if kernel.shape[2] == 1 < depth:
        given["conv1.weight"] = inflate_patch_kernel(kernel[:, :, 0], depth)
    if len(table) != len(encoder.positional_embedding):
        given["positional_embedding"] = resize_spatial_positions(table, encoder.config.grid[1:])
    return prefix, given, fresh


def _prepare_boxes(model: nn.Module, given: dict[str, Tensor]) -> tuple[HeadRule, tuple[str, ...]]:
    """Leave a head of another shape, and say what the file of a classifier does not have.

    Its norm of the mean token is another one; that of the tokens starts anew, as published.
    """
    own = {
        n: t.shape for n, t in model.state_dict().items() if n.startswith((*_BOX_HEADS, "norm."))
    }
    heads = {name: shape for name, shape in own.items() if name.startswith(_BOX_HEADS)}
    kept = all(name in given and given[name].shape == shape for name, shape in heads.items())
    for name in [name for name in given if name.startswith(_BOX_HEADS) and not kept]:
        del given[name]
    return "kept" if kept else "fresh", tuple(name for name in own if name not in given)


def _prepare_head(
    model: Classifier,
    given: dict[str, Tensor],
    rows: Sequence[int] | None,
) -> HeadRule:
    """Apply the rule for heads to the given tensors."""
    name = head_name(model)
    weight, bias = f"{name}.weight", f"{name}.bias"
    if weight not in given:
        return "fresh"
    if rows is not None:
        given[weight], given[bias] = remap_head(given[weight], given[bias], rows)
        return "remapped"
    if len(given[weight]) == model.config.num_classes:
        return "kept"
    del given[weight], given[bias]
    return "fresh"
