"""From image CLIP to a video model: pure functions on tensors and state dictionaries.

Patch kernels are inflated in time, position tables are fitted to other lengths and resolutions, and
two sets of weights are averaged, by the rules of ViCLIP (golden family `viclip-init`) and of
UniFormerV2 (`uniformerv2-clip-init`).

Letters: T time steps, L text positions, G rows or columns of the patch grid, D width.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from internvideo.errors import CheckpointError

__all__ = [
    "fit_clip_text_positions",
    "inflate_patch_kernel",
    "merge_weights",
    "names_as_in_clip",
    "resize_spatial_positions",
    "resize_temporal_positions",
    "resize_text_positions",
    "text_state_from_clip",
    "uniformerv2_state_from_clip",
    "vision_state_from_clip",
    "wise_ft_names",
]

_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def inflate_patch_kernel(
    kernel: Float[Tensor, "d c p q"],
    steps: int,
    *,
    mode: Literal["centre", "average"] = "centre",
) -> Float[Tensor, "d c k p q"]:
    """Give a 2-D patch kernel a time axis of `steps`.

    Args:
        kernel: weight of the image model's patch embedding.
        steps: temporal kernel size k.
        mode: `"centre"` puts the kernel at index k // 2 among zeros; `"average"` repeats it / k.
            With one step both are the kernel itself. A still gives the image model's patches.
    """
    if mode == "average":
        return repeat(kernel, "d c p q -> d c k p q", k=steps) / steps
    inflated = kernel.new_zeros(*kernel.shape[:2], steps, *kernel.shape[2:])
    inflated[:, :, steps // 2] = kernel
    return inflated


def resize_temporal_positions(table: Float[Tensor, "1 t d"], steps: int) -> Float[Tensor, "1 k d"]:
    """Fit temporal positions to `steps`: grow by interpolation, shrink to the FIRST steps."""
    if steps <= table.shape[1]:
        return table[:, :steps]
    grown = F.interpolate(
        table.float().transpose(1, 2), size=steps, mode="linear", align_corners=False
    )
    return grown.transpose(1, 2).to(table.dtype)


def resize_text_positions(table: Float[Tensor, "l d"], length: int) -> Float[Tensor, "k d"]:
    """Fit the text positions of a ViCLIP file: the rule of `resize_temporal_positions`."""
    return resize_temporal_positions(table[None], length)[0]


def fit_clip_text_positions(table: Float[Tensor, "l d"], length: int) -> Float[Tensor, "k d"]:
    """Fit the text positions of an image CLIP file: cut, or pad with zeros."""
    return F.pad(table[:length], (0, 0, 0, max(length - len(table), 0)))


def resize_spatial_positions(
    table: Float[Tensor, "m d"], grid: tuple[int, int]
) -> Float[Tensor, "k d"]:
    """Fit positions of a class token and a square grid to `grid` (rows, columns): bicubic.

    Raises:
        CheckpointError: the rows of the table are not one class token and a square grid.
    """
    side = round((len(table) - 1) ** 0.5)
    if len(table) != side * side + 1:
        raise CheckpointError(
            f"a position table of {len(table)} rows is not a class token and a square grid"
        )
    if grid == (side, side):
        return table
    plane = rearrange(table[1:].float(), "(h w) d -> 1 d h w", h=side)
    plane = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], rearrange(plane, "1 d h w -> (h w) d").to(table.dtype)])


def vision_state_from_clip(
    clip: Mapping[str, Tensor],
    *,
    grid: int,
    num_steps: int,
    tubelet_size: int = 1,
    mode: Literal["centre", "average"] = "centre",
) -> dict[str, Tensor]:
    """Return the full state of `ViCLIPVision` made from an image CLIP state dictionary.

    Args:
        clip: the whole of CLIP (the image tower under `visual.`), or its image tower alone.
        grid: patches per side that the video model expects.
        num_steps: rows of the temporal position table, which starts at zero.
        tubelet_size: temporal kernel size.
        mode: see `inflate_patch_kernel`.
    """
    state = _image_tower(clip)
    kernel, positions = state["conv1.weight"], state["positional_embedding"]
    state["conv1.weight"] = inflate_patch_kernel(kernel, tubelet_size, mode=mode)
    state["positional_embedding"] = resize_spatial_positions(positions, (grid, grid))
    state["temporal_positional_embedding"] = positions.new_zeros(1, num_steps, positions.shape[1])
    return state


def uniformerv2_state_from_clip(
    clip: Mapping[str, Tensor], *, grid: int, kernel_size: int
) -> dict[str, Tensor]:
    """Return what a `UniFormerV2` takes from image CLIP: all before its global and local parts.

    CLIP's last norm and projection have no place there. Released archives are in half precision;
    the result is in float32.

    Args:
        clip: the whole of CLIP (the image tower under `visual.`), or its image tower alone.
        grid: patches per side that the video model expects.
        kernel_size: frames that a patch sees; CLIP's kernel goes to the middle one.

    Raises:
        CheckpointError: there is no image tower.
    """
    state = {
        name: value.float()
        for name, value in _image_tower(clip).items()
        if name != "proj" and not name.startswith("ln_post.")
    }
    state["conv1.weight"] = inflate_patch_kernel(state["conv1.weight"], kernel_size)
    positions = state["positional_embedding"]
    state["positional_embedding"] = resize_spatial_positions(positions, (grid, grid))
    return state


def _image_tower(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of CLIP's image tower under its own names."""
    prefix = "visual." if any(name.startswith("visual.") for name in clip) else ""
    state = {n.removeprefix(prefix): v for n, v in clip.items() if n.startswith(prefix)}
    if missing := {"conv1.weight", "positional_embedding"} - state.keys():
        raise CheckpointError(
            f"not the weights of a CLIP image tower: no {', '.join(sorted(missing))} among "
            f"{len(clip)} tensors; expected names like visual.conv1.weight"
        )
    return state


def text_state_from_clip(clip: Mapping[str, Tensor], *, context_length: int) -> dict[str, Tensor]:
    """Return the full state of `CLIPTextEncoder` made from an image CLIP state dictionary."""
    state = {
        name: value
        for name, value in clip.items()
        if not name.startswith("visual.") and name not in (*_NOT_WEIGHTS, "logit_scale")
    }
    if "positional_embedding" not in state or "text_projection" not in state:
        raise CheckpointError(
            f"not the weights of CLIP: no text tower among {len(clip)} tensors; expected "
            "positional_embedding, text_projection and transformer.resblocks.*"
        )
    positions = fit_clip_text_positions(state["positional_embedding"], context_length)
    return {**state, "positional_embedding": positions}


def merge_weights(
    finetuned: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    *,
    weight: float = 0.5,
    keep: Collection[str] = ("vision_encoder.temporal_positional_embedding",),
) -> dict[str, Tensor]:
    """Average two states: `weight · finetuned + (1 − weight) · base` (WiSE-FT, arXiv 2109.01903).

    Args:
        finetuned: weights after training.
        base: the weights that training started from.
        weight: share of the fine-tuned weights, 0 to 1.
        keep: names taken from `finetuned` alone; by default the temporal positions, which image
            CLIP does not have.

    Raises:
        CheckpointError: the states differ in names or shapes.
    """
    if finetuned.keys() - set(keep) != base.keys() - set(keep):
        odd = sorted((finetuned.keys() ^ base.keys()) - set(keep))
        raise CheckpointError(f"cannot average: {len(odd)} tensors in one only, e.g. {odd[0]}")
    for name in finetuned.keys() - set(keep):
        if finetuned[name].shape != base[name].shape:
            raise CheckpointError(
                f"cannot average {name}: shapes {tuple(finetuned[name].shape)} and "
                f"{tuple(base[name].shape)}"
            )
    return {
        name: value
        if name in keep
        else torch.lerp(base[name].to(value), value, weight)
        if value.is_floating_point()
        else value
        for name, value in finetuned.items()
    }


_WISE_FT = re.compile(
    r"(visual|text_encoder)\.transformer\.resblocks\.(\d|10|11)\..*"
    r"|visual\.(class_embedding|conv1\.weight|positional_embedding|ln_pre\..*)"
    r"|visual_proj|visual_ln_post\..*"
    r"|text_encoder\.(positional_embedding|text_projection|token_embedding\..*|ln_final\..*)"
)


def wise_ft_names(names: Iterable[str]) -> frozenset[str]:
    """Return which tensors of an `InternVideoMM` are averaged with CLIP for zero-shot use.

    COMPAT: the reference lists blocks 0 to 11 by name, for both sizes: of the 24 blocks of the
    video tower of L/14 the upper 12 keep the trained weights. All published zero-shot numbers are
    made so; pinned by golden `retrieval-vqa-param-groups`.
    """
    return frozenset(name for name in names if _WISE_FT.fullmatch(name))


_NAMED_AS_IN_CLIP = re.compile(
    r"(visual|text_encoder)\.transformer\.resblocks\..*"
    r"|visual\.(class_embedding|conv1\.weight|positional_embedding|ln_pre\..*)"
    r"|text_encoder\.(positional_embedding|text_projection|token_embedding\..*|ln_final\..*)"
    r"|logit_scale"
)


def names_as_in_clip(names: Iterable[str]) -> frozenset[str]:
    """Return which tensors of an `InternVideoMM` are averaged with CLIP for retrieval.

    COMPAT: the reference averages what has one name in both files. So all blocks of both towers and
    the scale are averaged, and the projection of the video tower with its norm, which CLIP calls
    otherwise, is not. The published zero-shot retrieval, and the start of the fine-tuning on LSMDC,
    are made so; pinned by golden `retrieval-vqa-param-groups`.
    """
    return frozenset(name for name in names if _NAMED_AS_IN_CLIP.fullmatch(name))
