"""A detector asked about whole videos: features in batches, segments in seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError
from internvideo.evaluation.segment_decoding import decode, in_seconds
from internvideo.evaluation.segment_nms import SegmentNMS
from internvideo.evaluation.segments import Segments
from internvideo.models.actionformer_config import ActionFormerConfig, RowGrid, Selection
from internvideo.models.contract import MomentDetector

__all__ = ["Localizer", "batches", "check_channels", "on_grid", "padded", "padded_length"]

_MAX_ROWS = 1 << 13  # of a batch


@dataclass(frozen=True, kw_only=True)
class Localizer:
    """Finds moments in videos.

    Attributes:
        network: the detector, in evaluation mode where it is.
        selection: which candidates become moments; None: as the detector has it.
        max_rows: rows of a batch; a longer video is alone in one.
        precision: returns the context in which it computes.
    """

    network: Any
    selection: Selection | None = None
    max_rows: int = _MAX_ROWS
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __call__(self, videos: Sequence[FeatureSequence]) -> list[Segments]:
        """Return the moments of each video, in seconds, the surest first.

        Raises:
            ConfigError: the features have another number of channels than the detector takes.
        """
        network: MomentDetector = self.network
        config: ActionFormerConfig = network.config
        selection = self.selection or config.selection
        merge = merging(selection)
        rows = [on_grid(video, config.grid) for video in videos]
        for video in rows:
            check_channels(video, config)
        parameter = next(self.network.parameters())
        found: list[Segments] = [Segments.none()] * len(videos)
        for length, members in batches(config, list(map(len, rows)), max_rows=self.max_rows):
            features, valid = padded([rows[n].features for n in members], length)
            with torch.no_grad(), self.precision():
                candidates = network(
                    features.to(parameter.device, parameter.dtype),
                    None if valid is None else valid.to(parameter.device),
                )
            for n, segments in zip(
                members, decode(candidates, config.strides, selection), strict=True
            ):
                found[n] = in_seconds(merge(segments), rows[n])
        return found


def on_grid(video: FeatureSequence, grid: RowGrid) -> FeatureSequence:
    """Return the rows that a detector sees of a video."""
    if grid.keep_every > 1:
        video = video.thinned(grid.keep_every)
    num_rows = grid.resize_to
    if grid.seconds_per_row is not None:
        num_rows = max(round(video.seen_seconds / grid.seconds_per_row), 1)
    return video if num_rows is None else video.resized(num_rows, window=grid.resized_window)


def merging(selection: Selection) -> SegmentNMS:
    """Return what merges the candidates of one action."""
    return SegmentNMS(
        method=selection.method,
        per_class=selection.per_class,
        sigma=selection.sigma,
        iou_threshold=selection.iou_threshold,
        min_score=selection.kept_score,
        max_segments=selection.max_moments,
        voting=selection.voting,
        votes=selection.votes,
    )


def check_channels(video: FeatureSequence, config: ActionFormerConfig) -> None:
    """Check that features have the channels that a detector takes.

    Raises:
        ConfigError: they have not; both numbers are named.
    """
    found, wanted = video.features.shape[1], sum(config.input_dims)
    if found != wanted:
        raise ConfigError(
            f"{video.source or 'the features'} have {found} channels, the detector takes {wanted}; "
            "give features of the encoder that it was trained on, or set model.input_dims"
        )


def padded_length(config: ActionFormerConfig, num_rows: int) -> int:
    """Return the rows of a batch for a video of so many rows.

    With exact padding that is the video itself. COMPAT: with reference padding what lies behind the
    video changes what is found at its end, so it must be as much as the published code puts there:
    up to the training length, or beyond it up to whole chunks of its attention.
    """
    if config.padding == "exact":
        return num_rows
    if num_rows <= config.max_length:
        return config.max_length
    levels = range(config.first_level, config.num_branch + 1)
    chunk = max(2**level * max(config.window(level) // 2 * 2, 1) for level in levels)
    return -(-num_rows // chunk) * chunk


def batches(
    config: ActionFormerConfig, lengths: Sequence[int], *, max_rows: int
) -> list[tuple[int, list[int]]]:
    """Return the rows of each batch, and the numbers of the videos in it, short ones first.

    With reference padding only those videos are together that the published code pads to the same
    length, and the padding is cut to the coarsest cell, which has the effect of any longer one.

    Args:
        config: of the detector.
        lengths: rows of the videos.
        max_rows: of all videos of a batch together; a longer video is alone.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for video in sorted(range(len(lengths)), key=lambda each: lengths[each]):
        exact = config.padding == "exact"
        groups[0 if exact else padded_length(config, lengths[video])].append(video)
    found: list[tuple[int, list[int]]] = []
    for wanted, videos in groups.items():
        rows, batch = 0, list[int]()
        for video in videos:
            needed = lengths[video]
            if wanted:
                shorter = needed + 2**config.num_branch
                stretched = config.positions and wanted > config.max_length
                needed = wanted if stretched else min(wanted, shorter)
            if batch and needed * (len(batch) + 1) > max_rows:
                found.append((rows, batch))
                batch = []
            rows, batch = needed, [*batch, video]
        found.append((rows, batch))
    return found


def padded(
    videos: Sequence[Float[Tensor, "_ c"]], num_rows: int
) -> tuple[Float[Tensor, "b t c"], Bool[Tensor, "b t"] | None]:
    """Stack the features of videos with zeros behind the shorter ones, and say where these are."""
    stacked = torch.zeros(len(videos), num_rows, videos[0].shape[1])
    for row, features in zip(stacked, videos, strict=True):
        row[: len(features)] = features
    lengths = torch.tensor([len(features) for features in videos])
    if bool((lengths == num_rows).all()):
        return stacked, None
    return stacked, torch.arange(num_rows) < lengths[:, None]
