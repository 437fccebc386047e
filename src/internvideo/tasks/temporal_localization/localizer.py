"""A detector asked about whole videos: their features in batches, segments in seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from internvideo.models.actionformer import ActionFormerConfig

__all__ = ["batches", "padded", "padded_length"]


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
    """Return which videos go through a detector together, and the rows that they are padded to.

    Videos of similar length are together. With reference padding only those that the published
    code pads to the same length are; one coarsest cell of padding has the effect of any more.

    Args:
        config: of the detector.
        lengths: rows of the videos.
        max_rows: of all videos of a batch together; a longer video is alone.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for video, num_rows in enumerate(lengths):
        wanted = padded_length(config, num_rows)
        groups[0 if config.padding == "exact" else wanted].append(video)
    found: list[tuple[int, list[int]]] = []
    for wanted, videos in groups.items():
        rows, batch = 0, list[int]()
        for video in sorted(videos, key=lambda each: lengths[each]):
            longest = lengths[video]
            if wanted and not config.positions:
                longest = min(wanted, longest + 2**config.num_branch)
            longest = max(longest, wanted if config.positions else 0)
            if batch and longest * (len(batch) + 1) > max_rows:
                found.append((rows, batch))
                batch = []
            rows, batch = longest, [*batch, video]
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
