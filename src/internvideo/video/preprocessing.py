"""The declared input protocol of a model: which frames it sees, and how their pixels are prepared.

A published accuracy holds for one protocol only: frames, stride, clips, crops, resize, statistics.
`Preprocessing` is that protocol as plain data. It is stored beside the weights, printed beside
every number (`describe`), and does the work (`load`). `PRESETS` holds the published protocols;
`dataclasses.replace(PRESETS["videomae-kinetics"], num_clips=7)` makes a variant.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import PositiveInt
from torch import Tensor

from internvideo.config import Positive, config_class, config_from_dict, config_to_dict
from internvideo.errors import ConfigError
from internvideo.video import sampling as rules
from internvideo.video.sampling import FrameIndices
from internvideo.video.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    CropBox,
    CropRounding,
    Interpolation,
    crop,
    normalize,
    resize,
    resize_short_side,
    reverse_channels,
    spatial_crops,
)

__all__ = ["PRESETS", "FrameSource", "Preprocessing", "frame_mask"]

Sampling: TypeAlias = Literal[
    "dense",
    "center",
    "loop",
    "sparse",
    "segment",
    "uniform",
    "middle",
    "linspace",
    "demo",
    "per-second",
    "whole-second",
]
ResizeRule: TypeAlias = Literal["short-side", "short-side-nearest", "squash"]
ResizeDtype: TypeAlias = Literal["uint8", "float"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]

_STRIDED = ("dense", "center", "loop")
_TIMED = ("per-second", "whole-second")
_MULTI_CLIP = ("dense", "loop", "sparse", "uniform")


class FrameSource(Protocol):
    """What `Preprocessing.load` needs of a video: its length, its rate, and any of its frames."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...

    def frames(self, indices: Sequence[int], /) -> UInt8[Tensor, "t h w c"]:
        """Return the RGB frames at these indices."""
        ...


@config_class
class Preprocessing:
    """How a video becomes the input of a model; plain values only.

    Attributes:
        num_frames: frames in a clip.
        sampling: rule that picks the frames of a clip, see `internvideo.video.sampling`:
            "dense" `dense_test_indices` (centre clip when `num_clips` is 1), "center"
            `dense_indices`, "loop" `looped_indices`, "sparse" `sparse_test_indices`, "segment"
            `segment_indices`, "uniform" `uniform_test_indices`, "middle" `viclip_indices`,
            "linspace" `linspace_indices`, "demo" `demo_indices`; by the clock, "per-second"
            `per_second_indices` and "whole-second" `whole_second_indices`: a short video has fewer
            than `num_frames`, and zeros follow behind its last frame after normalisation.
        frame_stride: distance between frames of a clip, for "dense", "center" and "loop".
        frame_rate: frames per second that `frame_stride` counts in; None counts the frames of the
            file, as all published protocols do. By the clock, how many frames a second are taken
            before they are thinned evenly to `num_frames`; None is one.
        max_seconds: by the clock, what comes later in the video is not looked at.
        num_clips: clips per video, for "dense", "loop", "sparse" and "uniform".
        num_crops: square crops per clip, spread along the longer side; one is the centre.
        resize_rule: "short-side" keeps the aspect ratio, the longer side rounded down, or with
            "short-side-nearest" to the nearest pixel; "squash" makes a square.
        resize_size: the short side, or the side of the square, in pixels.
        crop_size: side of the crop, the input size of the model.
        interpolation: "bilinear" or "bicubic".
        antialias: whether the filter widens when shrinking.
        resize_dtype: "uint8" rounds the resized pixels to integers, "float" does not.
        crop_rounding: which way half-pixel crop positions are rounded.
        mean: per channel, on the scale [0, 1], in the model's channel order.
        std: per channel, likewise.
        channel_order: what the model expects; decoded frames are RGB.

    Raises:
        ConfigError: a value is impossible; the message names it and the allowed ones.
    """

    num_frames: PositiveInt
    sampling: Sampling = "middle"
    frame_stride: PositiveInt = 1
    frame_rate: Positive | None = None
    max_seconds: Positive | None = None
    num_clips: PositiveInt = 1
    num_crops: PositiveInt = 1
    resize_rule: ResizeRule = "short-side"
    resize_size: PositiveInt = 224
    crop_size: PositiveInt = 224
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    resize_dtype: ResizeDtype = "uint8"
    crop_rounding: CropRounding = "even"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        if self.crop_size > self.resize_size:
            raise ConfigError(
                f"crop_size {self.crop_size} is larger than resize_size {self.resize_size}; "
                "resize to at least the size of the crop"
            )
        if self.num_clips > 1 and self.sampling not in _MULTI_CLIP:
            raise ConfigError(
                f"sampling {self.sampling!r} takes one clip per video, not {self.num_clips}; "
                f"several clips need one of: {', '.join(_MULTI_CLIP)}"
            )
        used = {
            "frame_stride": (self.frame_stride != 1, _STRIDED),
            "frame_rate": (self.frame_rate is not None, (*_STRIDED, *_TIMED)),
            "max_seconds": (self.max_seconds is not None, _TIMED),
        }
        for name, (is_set, rules_with_it) in used.items():
            if is_set and self.sampling not in rules_with_it:
                raise ConfigError(
                    f"sampling {self.sampling!r} has no {name}; leave it out or choose one of: "
                    f"{', '.join(rules_with_it)}"
                )
        if self.sampling == "whole-second" and (self.frame_rate or 1) % 1:
            raise ConfigError(
                f"frame_rate is {self.frame_rate:g}; sampling 'whole-second' takes a whole number "
                "of frames from each second"
            )

    @property
    def is_timed(self) -> bool:
        """Whether frames are taken by the clock, so that a short video has too few of them."""
        return self.sampling in _TIMED

    @property
    def num_views(self) -> int:
        """Views per video: clips times crops."""
        return self.num_clips * self.num_crops

    def sample(self, num_frames: int, fps: float | None = None) -> FrameIndices:
        """Return the frames of every clip of a video.

        Args:
            num_frames: frames in the video.
            fps: its frame rate; needed when the protocol has a `frame_rate` or goes by the clock.

        Returns:
            Indices `(num_clips, num_frames)`; by the clock `(1, n)`, 1 <= n <= `num_frames`.
        """
        clip_length = self.num_frames
        match self.sampling:
            case "dense" | "loop":
                rule = rules.looped_indices if self.sampling == "loop" else rules.dense_test_indices
                return rule(
                    num_frames,
                    clip_length=clip_length,
                    frame_stride=self._stride(fps),
                    num_clips=self.num_clips,
                )
            case "center":
                indices = rules.dense_indices(
                    num_frames, clip_length=clip_length, frame_stride=self._stride(fps)
                )
            case "sparse":
                return rules.sparse_test_indices(
                    num_frames, clip_length=clip_length, num_clips=self.num_clips
                )
            case "uniform":
                return rules.uniform_test_indices(
                    num_frames, clip_length=clip_length, num_clips=self.num_clips
                )
            case "segment":
                indices = rules.segment_indices(num_frames, clip_length=clip_length)
            case "middle":
                indices = rules.viclip_indices(num_frames, clip_length=clip_length)
            case "linspace":
                indices = rules.linspace_indices(num_frames, clip_length=clip_length)
            case "demo":
                indices = rules.demo_indices(num_frames, clip_length=clip_length)
            case "per-second":
                indices = rules.per_second_indices(
                    num_frames,
                    fps=self._known(fps),
                    max_frames=clip_length,
                    rate=self.frame_rate or 1.0,
                    end=self.max_seconds,
                )
            case "whole-second":
                indices = rules.whole_second_indices(
                    num_frames,
                    fps=self._known(fps),
                    max_frames=clip_length,
                    rate=int(self.frame_rate or 1),
                    end=None if self.max_seconds is None else math.ceil(self.max_seconds),
                )
        return indices[None]

    def load(self, video: FrameSource) -> Float[Tensor, "v c t h w"]:
        """Return all views of a video, ordered clip by clip (view = clip * num_crops + crop).

        A frame that several views share is decoded and resized once.
        """
        clips = self.sample(video.num_frames, video.fps)
        wanted, positions = np.unique(clips, return_inverse=True)
        frames = self._resized(video.frames(wanted.tolist()))
        positions = torch.from_numpy(positions.reshape(clips.shape))
        boxes = self._boxes(frames)
        shape = (self.num_views, 3, self.num_frames, self.crop_size, self.crop_size)
        views = torch.empty(shape, dtype=torch.float32, device=frames.device)
        for clip, indices in enumerate(positions):
            selected = frames.index_select(0, indices.to(frames.device))
            for index, box in enumerate(boxes):
                view = views[clip * self.num_crops + index]
                self.normalize(crop(selected, box), out=view)
        return views

    def transform(
        self, frames: UInt8[Tensor, "t h w 3"], *, crop_index: int | None = None
    ) -> Float[Tensor, "3 t s s"]:
        """Prepare the frames of one clip, through one crop (default: the central one)."""
        return self.normalize(self.resize(frames, crop_index=crop_index))

    def resize(
        self, frames: UInt8[Tensor, "t h w 3"], *, crop_index: int | None = None
    ) -> UInt8[Tensor, "t s s 3"] | Float[Tensor, "t s s 3"]:
        """Resize frames and cut one crop; the first half of `transform`, before any batching.

        Args:
            frames: decoded RGB frames.
            crop_index: which of the `num_crops` crops; None is the central one.

        Returns:
            Frames of the input size of the model, `uint8` unless `resize_dtype` is "float".
        """
        if crop_index is None:
            crop_index = self.num_crops // 2
        if not 0 <= crop_index < self.num_crops:
            raise ConfigError(f"crop {crop_index} does not exist: num_crops is {self.num_crops}")
        resized = self._resized(frames)
        return crop(resized, self._boxes(resized)[crop_index])

    def normalize(
        self,
        frames: UInt8[Tensor, "*batch t h w 3"] | Float[Tensor, "*batch t h w 3"],
        *,
        out: Tensor | None = None,
    ) -> Float[Tensor, "*batch 3 t h w"]:
        """Turn RGB frames, or a batch of clips, into normalised clips in the model's order.

        By the clock, fewer than `num_frames` frames are followed by zeros.
        """
        if self.channel_order == "bgr":
            frames = reverse_channels(frames)
        *batch, found, height, width, _ = frames.shape
        if not self.is_timed or found >= self.num_frames:
            return normalize(frames, self.mean, self.std, out=out)
        if out is None:
            shape = (*batch, 3, self.num_frames, height, width)
            out = torch.empty(shape, dtype=torch.float32, device=frames.device)
        out[..., found:, :, :] = 0
        normalize(frames, self.mean, self.std, out=out[..., :found, :, :])
        return out

    def describe(self) -> str:
        """Return the protocol in one line, to be printed beside every number."""
        counts = {"frame": self.num_frames, "clip": self.num_clips, "crop": self.num_crops}
        clips = " x ".join(f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items())
        sampled = self.sampling
        if self.sampling in _STRIDED:
            sampled += f" stride {self.frame_stride}"
            sampled += f" at {self.frame_rate:g} fps" if self.frame_rate else ""
        if self.is_timed:
            sampled += f" at {self.frame_rate or 1:g} fps, zeros behind the end"
            sampled += f", up to {self.max_seconds:g} s" if self.max_seconds else ""
        filtering = "antialiased" if self.antialias else "no antialias"
        return " · ".join(
            (
                f"{clips} ({sampled})",
                f"{self.resize_rule} {self.resize_size}, crop {self.crop_size} "
                f"({self.interpolation}, {filtering}, {self.resize_dtype})",
                f"mean {_numbers(self.mean)} std {_numbers(self.std)}",
                self.channel_order.upper(),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Build the protocol from JSON values; the reverse of `to_dict`.

        Raises:
            ConfigError: an unknown or missing key, or an impossible value.
        """
        return config_from_dict(cls, values, source="preprocessing")

    def _stride(self, fps: float | None) -> int:
        if self.frame_rate is None:
            return self.frame_stride
        return max(round(self.frame_stride * self._known(fps) / self.frame_rate), 1)

    def _known(self, fps: float | None) -> float:
        if fps is None:
            raise ConfigError(
                f"the protocol counts in seconds ({self.sampling} at {self.frame_rate or 1:g} "
                "fps): pass the frame rate of the video"
            )
        return fps

    def _resized(self, frames: UInt8[Tensor, "t h w 3"]) -> Tensor:
        rounded = self.resize_dtype == "uint8"
        if self.resize_rule == "squash":
            square = (self.resize_size, self.resize_size)
            return resize(
                frames,
                square,
                interpolation=self.interpolation,
                antialias=self.antialias,
                rounded=rounded,
            )
        return resize_short_side(
            frames,
            self.resize_size,
            interpolation=self.interpolation,
            antialias=self.antialias,
            rounded=rounded,
            nearest=self.resize_rule == "short-side-nearest",
        )

    def _boxes(self, resized: Tensor) -> list[CropBox]:
        height, width = resized.shape[1:3]
        return spatial_crops(
            height,
            width,
            self.crop_size,
            num_crops=self.num_crops,
            rounding=self.crop_rounding,
        )


def frame_mask(clips: Float[Tensor, "*batch c t h w"]) -> Bool[Tensor, "*batch t"]:
    """Tell which frames of normalised clips are of the video, and no padding behind its end.

    Padding is exactly zero; no frame of a video is, where `255 * mean` is no whole number.
    """
    return (clips != 0).flatten(-2).any(dim=-1).any(dim=-2)


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in values)


_KINETICS = Preprocessing(
    num_frames=16,
    sampling="dense",
    frame_stride=4,
    num_clips=5,
    num_crops=3,
    crop_rounding="floor",
)
_VICLIP = Preprocessing(
    num_frames=8, sampling="middle", resize_rule="squash", interpolation="bicubic"
)
_UNIFORMERV2 = Preprocessing(
    num_frames=8,
    sampling="uniform",
    num_clips=4,
    num_crops=3,
    resize_dtype="float",
    crop_rounding="ceil",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
)
# Frames and pixels of the retrieval benchmarks; no augmentation in training.
_RETRIEVAL = Preprocessing(
    num_frames=12,
    sampling="per-second",
    interpolation="bicubic",
    antialias=True,
    mean=CLIP_MEAN,
    std=CLIP_STD,
)
# The same frames, prepared as in the tests of VideoMAE.
_UMT = dataclasses.replace(_KINETICS, num_frames=8, sampling="uniform", frame_stride=1, num_clips=4)

_INTERNVIDEO_MM = Preprocessing(
    num_frames=8,
    sampling="linspace",
    resize_size=256,
    antialias=True,
    mean=CLIP_MEAN,
    std=CLIP_STD,
)
_OPEN_SET = dataclasses.replace(
    _KINETICS, num_frames=32, sampling="loop", frame_stride=2, num_clips=1, num_crops=1,
    resize_rule="short-side-nearest", crop_rounding="steps",
)  # fmt: skip
_STA = Preprocessing(
    num_frames=16, sampling="center", frame_stride=2, resize_size=256, mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
)  # fmt: skip
_AVA = Preprocessing(
    num_frames=16, sampling="center", frame_stride=4, resize_size=256,
    mean=(122.7717 / 255, 115.9465 / 255, 102.9801 / 255),
    std=(57.375 / 255, 57.375 / 255, 57.375 / 255),
)  # fmt: skip
_FEATURES = Preprocessing(
    num_frames=16, sampling="dense", resize_rule="squash", resize_dtype="float",
    mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
)  # fmt: skip
_NANO = Preprocessing(
    num_frames=16, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32,
    antialias=True, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
)  # fmt: skip
PRESETS: dict[str, Preprocessing] = {
    "videomae-kinetics": _KINETICS,
    "videomae-ssv2": dataclasses.replace(_KINETICS, sampling="sparse", frame_stride=1, num_clips=2),
    "videomae-validation": dataclasses.replace(
        _KINETICS, sampling="center", num_clips=1, num_crops=1, crop_rounding="even"
    ),
    "open-set": _OPEN_SET,
    "viclip-eval": _VICLIP,
    "umt-multimodal": dataclasses.replace(_VICLIP, num_frames=4),
    "viclip-demo": dataclasses.replace(_VICLIP, sampling="demo", interpolation="bilinear"),
    "umt-kinetics": _UMT,
    "umt-ssv2": dataclasses.replace(_UMT, sampling="sparse", num_clips=2),
    "uniformerv2-kinetics": _UNIFORMERV2,
    "uniformerv2-sth": dataclasses.replace(
        _UNIFORMERV2, num_frames=16, num_clips=1, channel_order="bgr"
    ),
    "internvideo-mm": _INTERNVIDEO_MM,
    # GIFs of question answering are resized by their short side: resize_rule: short-side
    "internvideo-mm-qa": dataclasses.replace(
        _INTERNVIDEO_MM, sampling="middle", resize_rule="squash"
    ),
    "retrieval": _RETRIEVAL,
    "retrieval-whole-second": dataclasses.replace(_RETRIEVAL, sampling="whole-second"),
    # around key frames, or up to them (ego4d-sta), of whole pictures; crops are for training
    "ava": _AVA,
    # of a clip of two seconds that ends where the hands are asked for
    "ego4d-fhp": Preprocessing(
        num_frames=8, sampling="sparse", num_clips=2, resize_size=320, crop_size=320
    ),
    "ego4d-sta": _STA,
    # pictures of any shape, the short side of which it is; they are padded, not cropped
    "ego4d-scod": Preprocessing(num_frames=1, resize_size=800, crop_size=800),
    "offline-objects": Preprocessing(
        num_frames=8,
        num_crops=3,  # the whole picture, of which a classifier of images has to find the parts
        resize_size=288,
        crop_size=288,
        interpolation="bicubic",
        antialias=True,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
    ),
    "tal-features": _FEATURES,
    "interaction": dataclasses.replace(_KINETICS, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "nano": _NANO,
}
"""The published protocols by name, and that of the small models of this library."""
