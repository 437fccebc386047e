"""What every video encoder returns.

Shapes: b batch, n tokens, d width, (t, h, w) the grid of tokens in time, rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

__all__ = ["Intermediates", "VideoFeatures"]


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """Tokens of a batch of clips.

    Attributes:
        tokens: "b n d", ordered by time, then row, then column; with a mask only the visible ones.
        grid: tokens in time, rows and columns of the *whole* clip.
        cls: "b d" the class token, where the encoder has one.
        hidden: tokens after the layers that were asked for, in the order of asking.
        frame_cls: "b t d" the class token of each time step, where the encoder has one.
    """

    tokens: Float[Tensor, "b n d"]
    grid: tuple[int, int, int]
    cls: Float[Tensor, "b d"] | None = None
    hidden: tuple[Float[Tensor, "b n d"], ...] = ()
    frame_cls: Float[Tensor, "b t d"] | None = None

    def pool(self, kind: Literal["mean", "max", "mean+max"] = "mean") -> Float[Tensor, "b d"]:
        """Return one vector a clip: the mean or the maximum over the tokens, or their sum.

        Raises:
            ValueError: `kind` is none of "mean", "max", "mean+max".
        """
        match kind:
            case "mean":
                return self.tokens.mean(dim=1)
            case "max":
                return self.tokens.amax(dim=1)
            case "mean+max":
                return self.tokens.mean(dim=1) + self.tokens.amax(dim=1)
        raise ValueError(f"pool kind {kind!r} is not one of 'mean', 'max', 'mean+max'")

    def volume(self) -> Float[Tensor, "b t h w d"]:
        """Return the tokens at their places in the clip.

        Raises:
            ValueError: tokens are missing, because the clip was encoded with a mask.
        """
        t, h, w = self.grid
        if self.tokens.shape[1] != t * h * w:
            raise ValueError(
                f"{self.tokens.shape[1]} tokens do not fill the grid {t}x{h}x{w}: "
                "encode the clip without a mask to get a volume"
            )
        return rearrange(self.tokens, "b (t h w) d -> b t h w d", t=t, h=h, w=w)

    def per_step(self) -> Float[Tensor, "b t d"]:
        """Return one vector a time step: the mean over its rows and columns."""
        return torch.flatten(self.volume(), 2, 3).mean(dim=2)


class Intermediates:
    """What an encoder whose `forward_features` takes `layers` can do besides."""

    forward_features: Any

    def intermediates(
        self, video: Float[Tensor, "b c t y x"], layers: Sequence[int]
    ) -> tuple[Float[Tensor, "b n d"], ...]:
        """Return the patch tokens after each of the given blocks, without the final norm."""
        return self.forward_features(video, layers=layers).hidden
