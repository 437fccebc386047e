"""Whether the clips that a run goes on with are those that it began with, wherever they lie now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from internvideo.data.clip_list import ClipList
from internvideo.data.clips import VideoListSource
from internvideo.data.feature_videos import AnnotatedVideoSource
from internvideo.data.mix import MixSource
from internvideo.data.questions import QuestionSource
from internvideo.data.samples import EvaluationSource
from internvideo.data.shards import ShardSource
from internvideo.video.sources import is_url

__all__ = ["clip_identity", "difference"]

_LOOKED_AT = 16
_MISSING = -1


def clip_identity(source: EvaluationSource | None) -> dict[str, Any] | None:
    """Return what clips of annotated videos are the same by, as plain values; None for others.

    That is their number, a hash of what the annotations say (see `ClipList.digest`), and the sizes
    of some of the files.
    """
    if isinstance(source, MixSource):
        parts = [clip_identity(each) for each in source.sources]
        return None if None in parts else {"parts": parts}
    if isinstance(source, AnnotatedVideoSource):
        return source.identity()
    if isinstance(source, QuestionSource):
        identity = clip_identity(source.asked.videos)
        return identity and {**identity, "digest": f"{identity['digest']} {source.digest()}"}
    if not isinstance(source, VideoListSource):
        return None
    clips, places = source.clips, np.linspace(0, len(source) - 1, _LOOKED_AT, dtype=int).tolist()
    if isinstance(source, ShardSource):
        sizes = [int(source.sizes[place]) for place in places]
    else:
        sizes = [_size(clips, place) for place in places]
    names = [os.path.basename(clips.written_path(place)) for place in places]  # noqa: PTH119
    return {
        "clips": len(clips),
        "digest": clips.digest(),
        "files": [*zip(names, sizes, strict=True)],
    }


def _size(clips: ClipList, place: int) -> int | None:
    """Return the bytes of a video; None where that says nothing, as of a folder or an address."""
    path = clips.path(place)
    if is_url(path) or os.path.isdir(path):  # noqa: PTH112
        return None
    return os.path.getsize(path) if os.path.exists(path) else _MISSING  # noqa: PTH110, PTH202


def difference(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    """Say in what two identities differ; None where these are the same clips.

    Args:
        before: as a checkpoint has it; None where it has none.
        now: of the clips there are now.
    """
    if before is None or now is None:
        return "the checkpoint does not say which clips these were"
    if ("parts" in before) != ("parts" in now) or len(before.get("parts", ())) != len(
        now.get("parts", ())
    ):
        return "the sources are others"
    if "parts" in before:
        found = map(difference, before["parts"], now["parts"])
        return next((each for each in found if each is not None), None)
    if before["clips"] != now["clips"]:
        return f"the clips were {before['clips']:,}, are {now['clips']:,}"
    if before["digest"] != now["digest"]:
        return "names, parts, labels or captions of the clips are others"
    for (name, old), (_, new) in zip(before["files"], now["files"], strict=True):
        if new == _MISSING != old:
            return f"{name} is not there"
        if None not in (old, new) and _MISSING not in (old, new) and old != new:
            return f"{name} had {old:,} bytes, has {new:,}"
    return None
