"""Looking at a masked autoencoder: the clip, what the model saw of it, and what it made up."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from internvideo.errors import ConfigError, did_you_mean
from internvideo.models.tubelets import cut_tubelets, split_mask, tubelet_grid
from internvideo.models.videomae import VideoMAE, VideoMAEConfig, split_motion
from internvideo.tasks.masked.masking import MaskKind, draw_mask
from internvideo.tasks.masked.panels import draw_grid, draw_panels
from internvideo.video.opening import AnyVideo, open_video
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.writer import write_video
from internvideo.zoo.load import LoadedModel

__all__ = ["Reconstruction", "check_ending", "reconstruct", "reconstruct_video"]

_ENDINGS = (".png", ".mp4")
_HIDDEN_GREY = 0.82
_VIDEO_RATE = 6.0  # frames a second of the mp4: slow enough to compare
_NOTES = {
    "normalized": "brightness and contrast of each hidden patch are those of the original, the "
    "model predicts the pattern",
    "pixels": "the model predicts the pixels of each hidden patch",
    "motion": "the model predicts what moves; the still background is the median of the original",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """One clip, original, masked and reconstructed.

    Attributes:
        original: the frames as the model gets them, "t h w 3".
        masked: the same with hidden places in grey.
        reconstructed: the same with hidden places as the model makes them up.
        model: name of the model.
        mask: kind of mask.
        mask_ratio: share that was asked to be hidden.
        hidden: share that was hidden.
        loss: the training loss of this clip.
        psnr: likeness of the hidden pixels in decibels, higher is better.
        note: what of the picture is the model's work.
        seed: of the mask.
    """

    original: UInt8[np.ndarray, "t h w 3"]
    masked: UInt8[np.ndarray, "t h w 3"]
    reconstructed: UInt8[np.ndarray, "t h w 3"]
    model: str
    mask: MaskKind
    mask_ratio: float
    hidden: float
    loss: float
    psnr: float
    note: str
    seed: int

    @property
    def title(self) -> str:
        """One line that says what is to be seen."""
        return (
            f"{self.model}: {self.mask} mask, {self.hidden:.0%} hidden · loss {self.loss:.3f}, "
            f"PSNR {self.psnr:.1f} dB"
        )

    def save(self, path: str | Path) -> Path:
        """Write an image grid (`.png`) or a video of the three side by side (`.mp4`).

        Raises:
            ConfigError: another ending.
        """
        path = check_ending(path)
        rows = {
            "original": self.original,
            "masked": self.masked,
            "reconstructed": self.reconstructed,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            draw_grid(rows, title=self.title, note=self.note).save(path, optimize=True)
        else:
            panels = draw_panels(rows, title=self.title, note=self.note)
            write_video(path, panels, fps=_VIDEO_RATE)
        return path

    def to_json(self) -> dict[str, Any]:
        """Return all but the pixels as plain data."""
        return {
            "model": self.model,
            "frames": len(self.original),
            "size": list(self.original.shape[1:3]),
            "mask": self.mask,
            "mask_ratio": self.mask_ratio,
            "hidden": self.hidden,
            "seed": self.seed,
            "loss": self.loss,
            "psnr": self.psnr,
            "note": self.note,
        }


def check_ending(path: str | Path) -> Path:
    """Return the path of a reconstruction that is to be saved.

    Raises:
        ConfigError: it ends neither in .png nor in .mp4.
    """
    path = Path(path)
    if path.suffix not in _ENDINGS:
        raise ConfigError(
            f"cannot write {path}: the name must end in {' or '.join(_ENDINGS)}"
            f"{did_you_mean(path.suffix, _ENDINGS)}"
        )
    return path


def reconstruct_video(
    model: LoadedModel,
    video: AnyVideo,
    *,
    mask: MaskKind = "tube",
    mask_ratio: float = 0.75,
    seed: int = 0,
) -> Reconstruction:
    """Hide a part of a video, of which one clip and the central crop are looked at.

    Args:
        model: a masked autoencoder with its decoder, and with the protocol to use.
        video: what a user calls a video.
        mask: this and the others as in `reconstruct`.
        mask_ratio: as there.
        seed: as there.

    Raises:
        VideoError: the video cannot be read.
        ConfigError: another model, or as `reconstruct`.
    """
    network = model.model
    if not isinstance(network, VideoMAE):
        raise ConfigError(
            f"{model.name} is a {type(network).__name__} and cannot fill in a clip; give a masked "
            "autoencoder with its decoder, such as videomae-b16-hybrid-pt"
        )
    protocol = dataclasses.replace(model.protocol, num_clips=1, num_crops=1)
    with open_video(video) as (_, opened):
        [clip] = protocol.load(opened)
    return reconstruct(
        network, clip, protocol, name=model.name, mask=mask, mask_ratio=mask_ratio, seed=seed
    )


@torch.inference_mode()
def reconstruct(
    model: VideoMAE,
    video: Float[Tensor, "3 t y x"],
    preprocessing: Preprocessing,
    *,
    name: str = "model",
    mask: MaskKind = "tube",
    mask_ratio: float = 0.75,
    seed: int = 0,
) -> Reconstruction:
    """Hide a part of a clip and let the model fill it in.

    The picture of a model with normalised targets gives each hidden patch the mean and the
    deviation of the original, as VideoMAE's own visualisation does; `Reconstruction.note` says so.

    Args:
        model: the masked autoencoder, in evaluation mode.
        video: one clip, normalised as `preprocessing` says.
        preprocessing: its pixel statistics and channel order.
        name: of the model, for the captions.
        mask: "tube" or "random".
        mask_ratio: share to hide.
        seed: of the mask.

    Raises:
        ConfigError: the mask leaves nothing to see or nothing to do.
    """
    if model.training:
        raise ConfigError("the model is in training mode; call model.eval() before reconstruct")
    clip = video[None].to(model.encoder_to_decoder.weight)
    config = model.config
    size = _Size(config.encoder.tubelet_size, config.mask_patch)
    grid = tubelet_grid(clip, tubelet_size=size.tubelet, patch_size=size.patch)
    drawn = draw_mask(grid, mask_ratio, kind=mask, rng=np.random.default_rng(seed))
    split = split_mask(torch.from_numpy(drawn)[None])
    index = split.masked.to(clip.device)
    output = model(clip, type(split)(split.visible.to(clip.device), index))

    stored = clip.new_tensor(preprocessing.std), clip.new_tensor(preprocessing.mean)
    std, mean = (values[:, None, None, None] for values in stored)
    pixels = (clip * std + mean).float()
    values = _pixel_values(
        config, clip.float(), output.prediction.float(), index, std, mean, pixels
    )
    hidden = _frames_of_mask(drawn, grid, size)
    made_up = torch.zeros_like(pixels)
    made_up[0] = _place(values[0], index[0], grid, size)
    mixed = torch.where(hidden.to(pixels.device), made_up.clamp(0, 1), pixels)
    grey = torch.where(hidden.to(pixels.device), torch.full_like(pixels, _HIDDEN_GREY), pixels)
    error = (mixed - pixels).square().sum() / (3 * hidden.sum())
    order = [2, 1, 0] if preprocessing.channel_order == "bgr" else [0, 1, 2]
    original, masked, reconstructed = (_frames(part, order) for part in (pixels, grey, mixed))
    return Reconstruction(
        original=original,
        masked=masked,
        reconstructed=reconstructed,
        model=name,
        mask=mask,
        mask_ratio=mask_ratio,
        hidden=float(drawn.mean()),
        loss=float(output.loss),
        psnr=-10 * math.log10(max(float(error), 1e-10)),
        note=_NOTES[config.target],
        seed=seed,
    )


class _Size(NamedTuple):
    """Frames and pixels of a place that is hidden or not."""

    tubelet: int
    patch: int


def _pixel_values(
    config: VideoMAEConfig,
    clip: Float[Tensor, "1 3 t y x"],
    prediction: Float[Tensor, "1 m k"],
    index: Int[Tensor, "1 m"],
    std: Tensor,
    mean: Tensor,
    pixels: Float[Tensor, "1 3 t y x"],
) -> Float[Tensor, "1 m l"]:
    """Turn predictions into pixels in [0, 1], "p q r c" of each place."""
    size = _Size(config.encoder.tubelet_size, config.mask_patch)
    if config.target == "pixels":
        return prediction
    if config.target == "normalized":
        true = cut_tubelets(pixels, tubelet_size=size.tubelet, patch_size=size.patch, index=index)
        deviation, centre = torch.std_mean(true.flatten(3), dim=3, keepdim=True)
        pattern = rearrange(prediction, "b m (k c) -> b m c k", c=pixels.shape[1])
        return rearrange(pattern * (deviation + 1e-6) + centre, "b m c k -> b m (k c)")
    moving, still = split_motion(clip, shrink=config.shrink)
    side = size.patch // config.shrink
    motion = rearrange(
        prediction * (moving.std() + 1e-6),
        "b m (p q r c) -> b m c p q r",
        p=size.tubelet,
        q=side,
        r=side,
    )
    background = cut_tubelets(
        still.expand_as(moving), tubelet_size=size.tubelet, patch_size=side, index=index
    )
    shown = (motion + background) * std + mean
    for dim in (4, 5):
        shown = shown.repeat_interleave(config.shrink, dim=dim)
    return rearrange(shown, "b m c p q r -> b m (p q r c)")


def _place(
    values: Float[Tensor, "m l"], index: Int[Tensor, " m"], grid: tuple[int, int, int], size: _Size
) -> Float[Tensor, "3 t y x"]:
    """Put the values of places where they belong; the other places are black."""
    canvas = values.new_zeros(prod(grid), values.shape[1])
    canvas[index] = values
    t, h, w = grid
    return rearrange(
        canvas,
        "(t h w) (p q r c) -> c (t p) (h q) (w r)",
        t=t,
        h=h,
        w=w,
        p=size.tubelet,
        q=size.patch,
        r=size.patch,
    )


def _frames_of_mask(
    mask: Bool[np.ndarray, " n"], grid: tuple[int, int, int], size: _Size
) -> Bool[Tensor, "t y x"]:
    places = mask.reshape(grid)
    for axis, count in enumerate((size.tubelet, size.patch, size.patch)):
        places = places.repeat(count, axis=axis)
    return torch.from_numpy(places)


def _frames(clip: Float[Tensor, "1 3 t y x"], order: list[int]) -> UInt8[np.ndarray, "t y x 3"]:
    frames = rearrange(clip[0, order].clamp(0, 1) * 255, "c t y x -> t y x c")
    return frames.round().to(torch.uint8).cpu().numpy()
