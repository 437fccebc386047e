"""What a collection of clips yields, and what the training loop needs of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import DataError
from internvideo.video import Preprocessing

__all__ = [
    "AskedQuestion",
    "ClipSource",
    "ClipViews",
    "EvaluationSource",
    "Sample",
    "class_label",
]


class AskedQuestion(NamedTuple):
    """A question about a clip.

    Attributes:
        question: what is asked.
        answer: the true answer.
        number: of the answer among those of the source; None where it is none of them.
        kind: what it asks about, where that is known.
    """

    question: str
    answer: str
    number: int | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip, decoded, and whatever is known about it.

    Attributes:
        frames: uint8 RGB "t h w c".
        caption: one sentence, or None.
        label: class index, or None.
        key: the name of the video in its source, and of no other: its path or member name.
        questions: about the clip.
    """

    frames: UInt8[np.ndarray, "t h w c"]
    caption: str | None = None
    label: int | None = None
    key: str = ""
    questions: tuple[AskedQuestion, ...] = ()


class ClipViews(NamedTuple):
    """All views of one clip, for evaluation.

    Attributes:
        views: normalised views "v 3 t h w", in the order of the protocol.
        label: class number, or None.
        key: name of the clip.
    """

    views: Float[Tensor, "v c t h w"]
    label: int | None
    key: str


class ClipSource(Protocol):
    """A finite collection of clips with random access.

    A source may also have `order(rng) -> int array`, the permutation of an epoch, where reading in
    any order would be slow (`ShardSource`); or `num_batches(size)` and `batches(rng, size)`, the
    whole batches of an epoch, and `replacement(index, rng)`, what is read in place of a broken
    clip, where not every clip may be in a batch with every other (`MixSource`).
    """

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return clip `index`; every random choice (frames, caption) is drawn from `rng`.

        Raises:
            VideoError: the video cannot be read; the training loop skips, counts and lists it.
        """
        ...

    def key(self, index: int) -> str:
        """Return the name of clip `index` without reading it."""
        ...


class EvaluationSource(ClipSource, Protocol):
    """A collection whose clips can be evaluated; every source of this package is one."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels in their order, where the data names them."""
        ...

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return all views of clip `index`, with its label and name.

        Raises:
            VideoError: the video cannot be read.
        """
        ...

    def label(self, index: int) -> int | None:
        """Return the label of clip `index` without reading it."""
        ...

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: names the first that has not.
        """
        ...


def class_label(sample: Sample, num_classes: int) -> int:
    """Return the label of a sample.

    Raises:
        DataError: it has none, or one outside the classes.
    """
    if sample.label is None:
        raise DataError(
            f"{sample.key or 'a clip'} has no label; supervised learning needs a class number"
        )
    if not 0 <= sample.label < num_classes:
        raise DataError(
            f"{sample.key or 'a clip'} has the label {sample.label}; the model has {num_classes} "
            f"classes, numbered from 0 to {num_classes - 1}: check the list or model.num_classes"
        )
    return sample.label
