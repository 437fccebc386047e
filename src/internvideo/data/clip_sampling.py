"""Which frames of a training video make the clip: one rule, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field, PositiveInt

from internvideo.config import config_class
from internvideo.video import sampling as rules
from internvideo.video.sampling import FrameIndices, NumpyRandom

__all__ = ["ClipSampling", "Part", "SamplingConfig", "part_frames"]

SamplingRule: TypeAlias = Literal[
    "pretrain", "dense", "loop", "segment", "umt", "kinetics-sparse", "uniform", "viclip", "middle"
]
_STRIDED = ("pretrain", "dense", "loop")


@dataclass(frozen=True, slots=True)
class Part:
    """The annotated part of a longer video.

    Attributes:
        start: its start in seconds.
        end: its end in seconds.
        duration: length of the whole video in seconds.
    """

    start: float
    end: float
    duration: float


@config_class
class SamplingConfig:
    """Which frames of a training video make the clip, see `internvideo.video.sampling`.

    Attributes:
        rule: "pretrain" `pretrain_indices`, "dense" `dense_indices`, "loop" `looped_indices`,
            "segment" `segment_indices` (`activitynet_indices` in a part of a video), "umt"
            `umt_indices`, "kinetics-sparse" `kinetics_sparse_indices`, "uniform" `uniform_indices`,
            "viclip" `viclip_indices`, drawn in each interval, "middle" the same, in the middle of
            each.
        frame_stride: distance between frames, for "pretrain", "dense" and "loop"; the others spread
            their frames over the whole video.
        strides: another stride for videos whose path holds this text (hybrid lists); the first
            match counts.

    Raises:
        ConfigError: an unknown rule, or strides for a rule that has none.
    """

    rule: SamplingRule = "dense"
    frame_stride: PositiveInt = 4
    strides: dict[str, PositiveInt] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.strides and not self.strided:
            raise ValueError(
                f"sampling rule {self.rule!r} spreads its frames over the whole video; strides "
                f"need one of: {', '.join(_STRIDED)}"
            )

    def for_clips(self, clip_length: int) -> ClipSampling:
        """Return the same for clips of so many frames."""
        return ClipSampling(
            rule=self.rule,
            frame_stride=self.frame_stride,
            strides=self.strides,
            clip_length=clip_length,
        )

    @property
    def strided(self) -> bool:
        """Whether the rule has a stride."""
        return self.rule in _STRIDED

    def stride(self, key: str) -> int:
        """Return the stride for the video of this path."""
        return next((n for text, n in self.strides.items() if text in key), self.frame_stride)


@config_class
class ClipSampling(SamplingConfig):
    """How the frames of a training clip are drawn; `clip_length` is their number."""

    clip_length: PositiveInt = 16

    def indices(
        self,
        num_frames: int,
        fps: float,
        rng: NumpyRandom | None,
        key: str = "",
        *,
        part: Part | None = None,
    ) -> FrameIndices:
        """Draw the frames of one clip.

        Args:
            num_frames: frames of the whole video.
            fps: its frame rate; the published rules count frames and do not look at it.
            rng: draws; None takes the fixed middle.
            key: path of the video, for `strides`.
            part: sample only this part of the video.

        Returns:
            Indices `(clip_length,)`, inside the video; never decreasing, but for "loop".
        """
        del fps
        if part is None:
            return self._whole(num_frames, rng, key)
        length, seconds = self.clip_length, (part.duration, part.start, part.end)
        if self.rule == "segment":
            duration, start, end = seconds
            return rules.activitynet_indices(
                num_frames, clip_length=length, duration=duration, start=start, end=end, rng=rng
            )
        if self.rule == "uniform":
            return self._uniform(num_frames, rng, part)
        first, count = part_frames(num_frames, part)
        return first + self._whole(count, rng, key)

    def _whole(self, num_frames: int, rng: NumpyRandom | None, key: str) -> FrameIndices:
        length = self.clip_length
        match self.rule:
            case "pretrain":
                return rules.pretrain_indices(
                    num_frames, clip_length=length, frame_stride=self.stride(key), rng=rng
                )
            case "dense":
                return rules.dense_indices(
                    num_frames, clip_length=length, frame_stride=self.stride(key), rng=rng
                )
            case "loop":
                return rules.looped_indices(
                    num_frames, clip_length=length, frame_stride=self.stride(key), rng=rng
                )[0]
            case "segment":
                return rules.segment_indices(num_frames, clip_length=length, rng=rng)
            case "umt":
                return rules.umt_indices(num_frames, clip_length=length, rng=rng)
            case "kinetics-sparse":
                return rules.kinetics_sparse_indices(num_frames, clip_length=length, rng=rng)
            case "uniform":
                return self._uniform(num_frames, rng, None)
            case "viclip" if rng is not None:
                return rules.viclip_indices(num_frames, clip_length=length, rule="rand", rng=rng)
            case "viclip" | "middle":
                return rules.viclip_indices(num_frames, clip_length=length)

    def _uniform(self, num_frames: int, rng: NumpyRandom | None, part: Part | None) -> FrameIndices:
        duration, start, end = (None, 0.0, None)
        if part is not None:
            duration, start, end = part.duration, part.start, part.end
        if rng is None:
            return rules.uniform_test_indices(
                num_frames, clip_length=self.clip_length, duration=duration, start=start, end=end
            )[0]
        return rules.uniform_indices(
            num_frames,
            clip_length=self.clip_length,
            rng=rng,
            duration=duration,
            start=start,
            end=end,
        )


def part_frames(num_frames: int, part: Part) -> tuple[int, int]:
    """Return the first frame of a part and its number of frames, at least one, inside the video."""
    rate = num_frames / part.duration
    first = int(np.clip(int(rate * part.start), 0, num_frames - 1))
    return first, int(np.clip(int(rate * (part.end - part.start)), 1, num_frames - first))
