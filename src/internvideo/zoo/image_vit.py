"""Image transformers with timm's names: no model of videos, but the start of one.

A video transformer of the same width and depth takes the blocks. The patch kernel is spread over
the frames of a tubelet; the class token and its position have no place; neither has the bias of the
keys, which changes no attention (it adds the same to all logits of a query).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.models.clip_init import inflate_patch_kernel
from internvideo.models.positions import resample_positions
from internvideo.models.vit import VideoViT
from internvideo.zoo.shapes import Shapes

__all__ = ["is_image_transformer", "refuse_image_transformer", "video_state"]

_KERNEL, _CLASS_TOKEN = "patch_embed.proj.weight", "cls_token"


def is_image_transformer(shapes: Shapes) -> bool:
    """Tell an image transformer by timm's names: patches of two dimensions, no video's five."""
    return any(n.endswith(_KERNEL) and len(shape) == 4 for n, shape in shapes.items())


def refuse_image_transformer(shapes: Shapes) -> None:
    """Stop with what an image transformer is good for.

    Raises:
        CheckpointError: the tensors are those of one.
    """
    if not is_image_transformer(shapes):
        return
    kernel = next(s for n, s in shapes.items() if n.endswith(_KERNEL))
    token = " and there is a cls_token" if any(n.endswith(_CLASS_TOKEN) for n in shapes) else ""
    raise CheckpointError(
        f"an image transformer (timm's names): {_KERNEL} {list(kernel)} has 4 dimensions, not 5"
        f"{token}. It is no model of videos, but one can start from it: `init:` of a recipe,"
        " load_encoder_weights(model, file)"
    )


def video_state(
    image: Mapping[str, Tensor], encoder: VideoViT
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what a video transformer takes from an image transformer.

    Args:
        image: the state dictionary of the image transformer, below any prefix.
        encoder: the video transformer; its tubelets and its learnt positions are fitted.

    Returns:
        The tensors under the names of the encoder, and for each the name it has in the file.
    """
    kernel = next(name for name in image if name.endswith(_KERNEL))
    prefix = kernel.removesuffix(_KERNEL)
    state: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for full, tensor in image.items():
        name = full.removeprefix(prefix)
        if not full.startswith(prefix) or name in (_CLASS_TOKEN, "pos_embed"):
            continue
        if name.endswith("attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            block = name.removesuffix("qkv.bias")
            taken = {f"{block}q_bias": query, f"{block}v_bias": value}
        elif name == _KERNEL:
            taken = {
                name: inflate_patch_kernel(tensor, encoder.config.tubelet_size, mode="average")
            }
        elif ".ls" in name and name.endswith(".gamma"):  # layer scale: DINOv2, DeiT III
            block, _, rest = name.partition(".ls")
            taken = {f"{block}.gamma_{rest[0]}": tensor}
        else:
            taken = {name: tensor}
        state |= taken
        origin |= dict.fromkeys(taken, full)
    table = image.get(f"{prefix}pos_embed")
    if table is not None and encoder.config.positions == "learnable":
        steps, rows, columns = encoder.config.grid
        side = int(table.shape[1] ** 0.5)  # what is left of a square are class tokens
        fitted = resample_positions(table[:, -side * side :], (1, side, side), (1, rows, columns))
        state["pos_embed"] = fitted.repeat(1, steps, 1)
        origin["pos_embed"] = f"{prefix}pos_embed"
    return state, origin
