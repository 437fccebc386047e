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
    from internvideo.data.build import open_list, read_list
    from internvideo.data.check import CheckReport, check_list
    from internvideo.data.clip_list import ClipEntry, ClipList
    from internvideo.data.clip_sampling import ClipSampling
    from internvideo.data.clips import ClipViews, VideoListSource
    from internvideo.data.detect import detect_kind
    from internvideo.data.formats.captions import CaptionColumns
    from internvideo.data.formats.videochat import (
        Conversation,
        Turn,
        conversation_text,
        read_conversations,
    )
    from internvideo.data.kinds import ListKind
    from internvideo.data.mix import MixSource
    from internvideo.data.samples import ClipSource, EvaluationSource, Sample
    from internvideo.data.shard_writing import write_shards
    from internvideo.data.shards import ShardSource, open_shards
    from internvideo.data.world import WorldSource

__all__ = [
    "CaptionColumns",
    "CheckReport",
    "ClipEntry",
    "ClipList",
    "ClipSampling",
    "ClipSource",
    "ClipViews",
    "Conversation",
    "EvaluationSource",
    "ListKind",
    "MixSource",
    "Sample",
    "ShardSource",
    "Turn",
    "VideoListSource",
    "WorldSource",
    "check_list",
    "conversation_text",
    "detect_kind",
    "open_list",
    "open_shards",
    "read_conversations",
    "read_list",
    "write_shards",
]

_HOMES = {
    "CaptionColumns": "formats.captions",
    "CheckReport": "check",
    "ClipEntry": "clip_list",
    "ClipList": "clip_list",
    "ClipSampling": "clip_sampling",
    "ClipSource": "samples",
    "ClipViews": "clips",
    "Conversation": "formats.videochat",
    "EvaluationSource": "samples",
    "ListKind": "kinds",
    "MixSource": "mix",
    "Sample": "samples",
    "ShardSource": "shards",
    "Turn": "formats.videochat",
    "VideoListSource": "clips",
    "WorldSource": "world",
    "check_list": "check",
    "conversation_text": "formats.videochat",
    "detect_kind": "detect",
    "open_list": "build",
    "open_shards": "shards",
    "read_conversations": "formats.videochat",
    "read_list": "build",
    "write_shards": "shard_writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
