"""Where a model of two towers starts from, and its average with that start.

image CLIP ─────► ViCLIP         both towers; new: positions in time
image CLIP ─────► InternVideo-MM both towers; new: what looks across frames, the decoder
ViCLIP ──► ViCLIP, InternVideo-MM ──► InternVideo-MM      all of it: a second stage
small ViCLIP ───► small InternVideo-MM                    both towers; new: the decoder
VideoMAE … ─────► the VideoViT of a small model           the video encoder
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError
from internvideo.models.clip_init import (
    fit_clip_text_positions,
    inflate_patch_kernel,
    merge_weights,
    resize_spatial_positions,
    resize_temporal_positions,
    resize_text_positions,
    wise_ft_names,
)
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.viclip import ViCLIP
from internvideo.models.viclip_vision import ViCLIPVision
from internvideo.zoo.identify import Fit
from internvideo.zoo.load import Transferred, load_encoder_weights, load_model

__all__ = ["TwoTowers", "average_with_start", "load_towers"]

_LOG = logging.getLogger(__name__)

TwoTowers: TypeAlias = ViCLIP | InternVideoMM

_TIME = "vision_encoder.temporal_positional_embedding"
_TEXT_POSITIONS = "text_encoder.positional_embedding"
# What InternVideo-MM has and image CLIP has not, or a file for retrieval.
_NEW_IN_MM = (
    "visual.transformer.dec.",
    "visual.transformer.dpe.",
    "visual.transformer.temporal_cls_token",
    "visual.transformer.balance",
    "text_mask_embedding",
    "caption_decoder.",
)


def load_towers(model: TwoTowers, source: str | Path) -> Transferred:
    """Give both towers the weights of a pretrained model; see the module's docstring.

    Position tables are fitted to the model's frames, pixels and text length: those in time and,
    beyond the length of the file, those of a text grow by interpolation (zeros behind image CLIP's,
    as in ViCLIP's code), and shrink to the first ones.

    Args:
        model: changed in place.
        source: as for `load_model`.

    Returns:
        What was taken; `fresh` stays as it was initialised.

    Raises:
        CheckpointError: the file has no tower for this model, or one of another shape.
    """
    given = load_model(source).model
    if not isinstance(given, TwoTowers):
        return load_encoder_weights(_tower(model), source)
    from_image = _is_image_clip(given)
    if isinstance(model, InternVideoMM) and (from_image or _is_pooled(given)):
        state = _mm_from_clip(given.state_dict())
    elif type(given) is type(model):
        state = dict(given.state_dict())
    else:
        raise CheckpointError(
            f"{source} is a {type(given).__name__}, which is no start of a {type(model).__name__}"
        )
    own = model.state_dict()
    if from_image:
        # The temperature of a ViCLIP starts at its `temp_init`, whatever image CLIP had.
        state.pop("temp", None)
    _fit_tables(state, own, from_image=from_image)
    fresh = tuple(name for name in own if name not in state and _may_be_new(name, from_image))
    taken = {name: tensor for name, tensor in state.items() if name in own}
    fit = Fit(
        architecture="",
        layout="",
        config=None,
        missing=tuple(name for name in own if name not in taken and name not in fresh),
        mismatched={
            name: (tuple(tensor.shape), tuple(own[name].shape))
            for name, tensor in taken.items()
            if tensor.shape != own[name].shape
        },
    )
    if fit.missing or fit.mismatched:
        raise CheckpointError(f"{source} does not fit the {type(model).__name__}: {fit.explain()}")
    model.load_state_dict(taken, strict=False)
    left = tuple(name for name in state if name not in own)
    _LOG.info("%s: %d tensors taken, %d left, %d new", source, len(taken), len(left), len(fresh))
    return Transferred(loaded=len(taken), left=left, fresh=fresh, head="none")


@torch.no_grad()
def average_with_start(model: TwoTowers, start: str | Path, *, weight: float = 0.5) -> None:
    """Average trained weights with those of the image CLIP they started from, in place (WiSE-FT).

    All published zero-shot numbers of ViCLIP and InternVideo-MM are of such averages, with weight
    0.5. ViCLIP averages every tensor but its positions in time, its temperature too (with its start
    value). InternVideo-MM averages what CLIP has, of both towers the first twelve blocks, and not
    its scale; so of L/14 the video blocks 12 to 23 stay as trained.

    Args:
        model: the trained model.
        start: the image CLIP, as for `load_model`.
        weight: share of the trained weights, 0 to 1.

    Raises:
        CheckpointError: `start` does not fit the model.
    """
    base = type(model)(model.config)  # type: ignore[arg-type]
    transferred = load_towers(base, start)
    keep = set(transferred.fresh) - {"temp"}
    if isinstance(model, InternVideoMM):
        keep |= model.state_dict().keys() - wise_ft_names(model.state_dict())
    state = merge_weights(model.state_dict(), base.state_dict(), weight=weight, keep=keep | {_TIME})
    model.load_state_dict(state)


def _tower(model: TwoTowers) -> nn.Module:
    tower = model.visual if isinstance(model, InternVideoMM) else model.vision_encoder
    if not isinstance(tower, PooledVideoViT):
        raise CheckpointError(
            f"the video tower of this {type(model).__name__} starts from an image CLIP, such as "
            "openai-clip-vit-b-16, or from a model of its own kind"
        )
    return tower


def _is_image_clip(model: nn.Module) -> bool:
    """Tell an image CLIP, which is read as a ViCLIP with nothing in time."""
    if not isinstance(model, ViCLIP) or not isinstance(model.vision_encoder, ViCLIPVision):
        return False
    return not bool(model.vision_encoder.temporal_positional_embedding.any())


def _is_pooled(model: nn.Module) -> bool:
    """Tell a small ViCLIP, whose towers are those of a small InternVideo-MM."""
    return isinstance(model, ViCLIP) and isinstance(model.vision_encoder, PooledVideoViT)


def _may_be_new(name: str, from_image: bool) -> bool:
    return name.startswith(_NEW_IN_MM) or (from_image and name == "temp")


def _mm_from_clip(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a ViCLIP (as an image CLIP is read) under InternVideo-MM's names."""
    state: dict[str, Tensor] = {}
    for name, tensor in clip.items():
        tower, _, rest = name.partition(".")
        if tower == "text_encoder":
            state[name] = tensor
        elif rest == "proj" or rest.startswith("ln_post."):
            state[f"visual_{rest}"] = tensor
        elif tower == "vision_encoder" and name != _TIME:
            state[f"visual.{rest}"] = tensor
    state["logit_scale"] = -clip["temp"].log()
    return state


def _fit_tables(state: dict[str, Tensor], own: Mapping[str, Tensor], *, from_image: bool) -> None:
    """Fit the tables of a file to the shapes of the model, where they can be."""
    for name in state.keys() & own.keys():
        tensor, wanted = state[name], own[name]
        if tensor.shape == wanted.shape or tensor.shape[-1] != wanted.shape[-1]:
            continue
        if name == _TIME:
            state[name] = resize_temporal_positions(tensor, wanted.shape[1])
        elif name == _TEXT_POSITIONS:
            resize = fit_clip_text_positions if from_image else resize_text_positions
            state[name] = resize(tensor, len(wanted))
        elif name in ("vision_encoder.positional_embedding", "visual.positional_embedding"):
            side = round((len(wanted) - 1) ** 0.5)
            state[name] = resize_spatial_positions(tensor, (side, side))
        elif name.endswith("conv1.weight") and tensor.shape[2] == 1:
            state[name] = inflate_patch_kernel(tensor[:, :, 0], wanted.shape[2])
