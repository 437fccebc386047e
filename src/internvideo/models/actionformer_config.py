"""What an `ActionFormer` is: shape, rows that it sees, candidates that it keeps; published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from internvideo.models.feature_origin import FeatureOrigin
from internvideo.models.temporal_layers import Padding

__all__ = ["SIZES", "ActionFormerConfig", "RowGrid", "Selection"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGrid:
    """How the features of a video become the rows that a detector sees.

    Attributes:
        keep_every: of so many rows the first is kept.
        resize_to: rows are interpolated to so many.
        seconds_per_row: rows are interpolated to so many seconds each; features of any rate then
            look alike. None, and no `resize_to`: rows are those of the features.
        resized_window: strides that a row made so is taken to have seen.
            COMPAT: 16 in InternVideo's detector for FineAction, whose labels lie 7.5 rows before
            its features; pinned by golden `tal-dataset-fork`.
    """

    keep_every: int = 1
    resize_to: int | None = None
    seconds_per_row: float | None = None
    resized_window: float = 1.0

    def __post_init__(self) -> None:
        for name in ("keep_every", "resize_to", "seconds_per_row", "resized_window"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"grid.{name} {value} must be above 0")
        if self.resize_to is not None and self.seconds_per_row is not None:
            raise ValueError("grid.resize_to and grid.seconds_per_row exclude each other")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which candidates become moments; those of one action are merged by `SegmentNMS`.

    Attributes:
        min_score: of a candidate.
        per_level: the best so many of each level.
        min_length: in rows.
        method: how overlapping ones are merged: "gaussian", "linear", "hard" or "none".
        per_class: those of other classes are left alone.
        sigma: of the Gaussian decay.
        iou_threshold: of linear and hard merging.
        kept_score: least score after merging.
        voting: overlap from which on candidates vote on the bounds; 0: none.
        votes: what a vote weighs: "score", or "score-iou", times its overlap.
        max_moments: of a video.
    """

    min_score: float = 0.001
    per_level: int = 2000
    min_length: float = 0.05
    method: Literal["gaussian", "linear", "hard", "none"] = "gaussian"
    per_class: bool = True
    sigma: float = 0.5
    iou_threshold: float = 0.1
    kept_score: float = 0.001
    voting: float = 0.0
    votes: Literal["score", "score-iou"] = "score-iou"
    max_moments: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionFormerConfig:
    """Shape of an `ActionFormer`.

    Attributes:
        input_dims: channels of the features; of several kinds, those of each.
        embed_dims: channels that each kind is projected to first; empty: it is not.
        num_classes: classes, each with a score of its own.
        width: channels of the backbone.
        num_heads: of its attention.
        windows: keys that a query sees, by level of the backbone; 1 or less sees all. One number
            holds for all levels.
        num_embed: convolutions before the first block.
        embed_kernel: their taps.
        embed_norm: whether they have norms.
        num_stem: blocks at full rate.
        num_branch: blocks that halve the rate, so there are one more levels.
        backbone: blocks of attention, or of convolutions alone.
        positions: add sine-cosine positions.
        relative: learn a bias by distance in local attention.
        max_length: rows of a training sequence; positions are made for it, and stretched for
            longer ones.
        neck: "identity", or "fpn", which adds coarser levels to finer ones.
        neck_norm: whether it has norms.
        first_level: the finest level that is detected on.
        head_width: channels of neck and heads.
        head_kernel: taps of the heads.
        head_depth: convolutions of a head.
        head_norm: whether they have norms.
        drop_rate: dropout in the blocks.
        drop_path_rate: stochastic depth; above 0 the blocks have learnt scales.
        padding: see `models.temporal_layers`.
        prior: score of every class at the start.
        absent_classes: classes whose score starts at almost zero.
        grid: how features become rows.
        selection: which candidates become moments.
        origin: what made the features that it was trained on; None: it answers on features only.
    """

    input_dims: tuple[int, ...] = (2048,)
    embed_dims: tuple[int, ...] = ()
    num_classes: int = 20
    width: int = 512
    num_heads: int = 4
    windows: tuple[int, ...] = (19,)
    num_embed: int = 2
    embed_kernel: int = 3
    embed_norm: bool = True
    num_stem: int = 2
    num_branch: int = 5
    backbone: Literal["attention", "convolution"] = "attention"
    positions: bool = False
    relative: bool = False
    max_length: int = 2304
    neck: Literal["identity", "fpn"] = "identity"
    neck_norm: bool = True
    first_level: int = 0
    head_width: int = 512
    head_kernel: int = 3
    head_depth: int = 3
    head_norm: bool = True
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    padding: Padding = "exact"
    prior: float = 0.01
    absent_classes: tuple[int, ...] = ()
    grid: RowGrid = RowGrid()
    selection: Selection = Selection()
    origin: FeatureOrigin | None = None

    def __post_init__(self) -> None:
        if self.embed_dims and len(self.embed_dims) != len(self.input_dims):
            raise ValueError(
                f"embed_dims {self.embed_dims} must be as many as input_dims {self.input_dims}"
            )
        if len(self.windows) not in (1, self.num_branch + 1):
            raise ValueError(
                f"windows {self.windows}: expected one number, or one for each of the "
                f"{self.num_branch + 1} levels"
            )
        if even := [w for w in self.windows if w > 1 and w % 2 == 0]:
            raise ValueError(f"windows {self.windows}: {even[0]} is even; a window has a centre")
        for name in ("embed_kernel", "head_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} must be odd")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        if self.neck == "identity" and self.head_width != self.width:
            raise ValueError(
                f"head_width {self.head_width} is not width {self.width}; only neck='fpn' has "
                "projections between them"
            )
        if not 0 <= self.first_level <= self.num_branch:
            raise ValueError(f"first_level {self.first_level} is not one of 0 … {self.num_branch}")

    @property
    def strides(self) -> tuple[int, ...]:
        """Rows of features from one position to the next, by level that is detected on."""
        return tuple(2**level for level in range(self.first_level, self.num_branch + 1))

    def window(self, level: int) -> int:
        """Return the attention window of a level of the backbone."""
        return self.windows[0] if len(self.windows) == 1 else self.windows[level]

    def lengths(self, num_rows: int) -> list[int]:
        """Return the number of positions of each level for so many rows."""
        return [-(-num_rows // stride) for stride in self.strides]


def _size(
    input_dims: int | Sequence[int], num_classes: int, width: int, heads: int, **fields: Any
) -> ActionFormerConfig:
    """Return a published configuration; all of them were trained with reference padding."""
    dims = (input_dims,) if isinstance(input_dims, int) else tuple(input_dims)
    return ActionFormerConfig(
        input_dims=dims,
        num_classes=num_classes,
        width=width,
        head_width=width,
        num_heads=heads,
        padding="reference",
        **fields,
    )


def _proposals(
    input_dim: int,
    max_length: int,
    window: int,
    *,
    voting: float = 0.9,
    min_length: float = 0.1,
    fork: bool = True,
    grid: RowGrid | None = None,
) -> ActionFormerConfig:
    """Return a detector of actions of one class, which others then tell apart."""
    selection = Selection(
        per_class=False,
        sigma=0.75,
        voting=voting,
        votes="score" if fork else "score-iou",
        max_moments=100,
        min_length=min_length,
    )
    return _size(
        input_dim,
        1,
        256,
        4,
        windows=(*(window,) * 5, -1),
        max_length=max_length,
        positions=True,
        selection=selection,
        grid=grid or RowGrid(),
    )


def _resized(input_dim: int, *, fork: bool) -> ActionFormerConfig:
    """Return such a detector on videos of which each has 192 rows, however long it is."""
    return _proposals(input_dim, 192, 7, min_length=0.001, fork=fork, grid=RowGrid(resize_to=192))


def _moments(
    input_dims: int | Sequence[int], width: int, heads: int, branch: int = 7, **fields: Any
) -> ActionFormerConfig:
    """Return a detector of the 110 classes of Ego4D Moment Queries."""
    return _size(
        input_dims,
        110,
        width,
        heads,
        windows=(9,),
        max_length=1024,
        num_branch=branch,
        positions=True,
        drop_rate=0.1,
        selection=Selection(per_level=5000, sigma=0.9, max_moments=2000),
        **fields,
    )


_EPIC = Selection(per_level=5000, sigma=0.4, max_moments=2000)

SIZES: dict[str, ActionFormerConfig] = {
    "thumos-videomae-h": _size(1280, 20, 512, 4),
    "thumos-videomaev2-g": _size(1408, 20, 512, 4),
    "thumos-i3d": _size(2048, 20, 512, 4),
    # (ActivityNet's features had been brought to those of 15 frames a second, a row each 16)
    "anet-videomae-h": _proposals(1280, 768, 25, grid=RowGrid(seconds_per_row=16 / 15)),
    "anet-tsp": _resized(512, fork=False),
    "anet-i3d": _resized(2048, fork=False),
    "hacs-videomae-h": _proposals(1280, 2304, 25, voting=0.7),
    "hacs-2560": _proposals(2560, 2304, 25, voting=0.7),
    "fineaction-videomae-h": _resized(1280, fork=True),
    "fineaction-videomaev2-g": _resized(1408, fork=True),
    "epic": _size(2304, 97, 512, 4, windows=(9,), selection=_EPIC),  # verbs; 300 nouns
    "ego4d-egovlp": _moments(256, 384, 4),
    "ego4d-omnivore": _moments(1536, 512, 4),
    "ego4d-slowfast": _moments(2304, 512, 4, branch=6),
    "ego4d-slowfast-egovlp": _moments(2560, 768, 12),
    "ego4d-omnivore-egovlp": _moments(1792, 768, 12),
    "ego4d-slowfast-omnivore-egovlp": _moments(
        (2304, 1536, 256), 1024, 16, embed_dims=(256, 384, 384)
    ),
}
"""The configurations of InternVideo (on features of VideoMAE) and of ActionFormer's own release."""
