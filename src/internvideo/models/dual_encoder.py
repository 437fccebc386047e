"""What a model with a video tower and a text tower offers to whatever compares the two."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from internvideo.models.tokenizer import Tokenizer

__all__ = ["DualEncoder"]


@runtime_checkable
class DualEncoder(Protocol):
    """Two towers that meet in one joint space: `ViCLIP`, `InternVideoMM`.

    Zero-shot classification, multiple choice, retrieval and contrast need no more than this.

    Attributes:
        tokenizer: turns texts into the ids that `encode_text` takes.
    """

    tokenizer: Tokenizer

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed normalised clips; `normalize` scales to unit length, in float32."""
        ...

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        ...

    def temperature(self) -> Float[Tensor, ""]:
        """Return what cosines are divided by before a softmax over them."""
        ...
