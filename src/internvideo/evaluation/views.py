"""How few views of a video are enough for a quick measurement."""

from __future__ import annotations

import dataclasses

from internvideo.video.preprocessing import Preprocessing, Sampling

__all__ = ["center_view"]

_VALIDATION: dict[str, Sampling] = {"dense": "center", "sparse": "segment"}


def center_view(protocol: Preprocessing) -> Preprocessing:
    """Return the protocol for a quick measurement: one clip in the middle, one central crop.

    As in the reference, whose validation samples frames by other rules than its test.
    """
    sampling = _VALIDATION.get(protocol.sampling)
    if sampling is None:
        return dataclasses.replace(protocol, num_clips=1, num_crops=1)
    return dataclasses.replace(
        protocol, sampling=sampling, num_clips=1, num_crops=1, crop_rounding="even"
    )
