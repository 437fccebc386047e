"""Training and evaluation clips: the annotation formats of public data sets, read as they are.

`read_list` turns an annotation file into a `ClipList`, one `ClipEntry` a clip; `open_list` into a
source whose clips can be read. `open_shards` does the same for tar shards, local or remote, which
`write_shards` makes. `check_list` looks for what would spoil a run. A source (`samples.ClipSource`)
is a finite collection of clips with random access.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvideo.data.build import ListKind, open_list, read_list
    from internvideo.data.check import CheckReport, check_list
    from internvideo.data.clip_list import ClipEntry, ClipList
    from internvideo.data.clip_sampling import ClipSampling
    from internvideo.data.clips import ClipViews, VideoListSource
    from internvideo.data.detect import detect_kind
    from internvideo.data.samples import ClipSource, EvaluationSource, Sample
    from internvideo.data.shard_writing import write_shards
    from internvideo.data.shards import ShardSource, open_shards
    from internvideo.data.world import WorldSource

__all__ = [
    "CheckReport",
    "ClipEntry",
    "ClipList",
    "ClipSampling",
    "ClipSource",
    "ClipViews",
    "EvaluationSource",
    "ListKind",
    "Sample",
    "ShardSource",
    "VideoListSource",
    "WorldSource",
    "check_list",
    "detect_kind",
    "open_list",
    "open_shards",
    "read_list",
    "write_shards",
]

_HOMES = {
    "CheckReport": "check",
    "ClipEntry": "clip_list",
    "ClipList": "clip_list",
    "ClipSampling": "clip_sampling",
    "ClipSource": "samples",
    "ClipViews": "clips",
    "EvaluationSource": "samples",
    "ListKind": "build",
    "Sample": "samples",
    "ShardSource": "shards",
    "VideoListSource": "clips",
    "WorldSource": "world",
    "check_list": "check",
    "detect_kind": "detect",
    "open_list": "build",
    "open_shards": "shards",
    "read_list": "build",
    "write_shards": "shard_writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
