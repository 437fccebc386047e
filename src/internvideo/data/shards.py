"""Clips in tar shards (webdataset), on this machine or in object storage.

Clips can be read in any order; `order` gives one that keeps to a few shards at a time, so that
reading is nearly sequential and a cache of a few shards is enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from internvideo.data.clip_list import ClipList
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.data.shard_index import (
    INDEX_NAME,
    ShardColumns,
    index_from_json,
    scan_tar,
)
from internvideo.data.shard_storage import CachedShards, Shards
from internvideo.errors import DataError, VideoError
from internvideo.files import write_whole
from internvideo.video import Preprocessing, Video
from internvideo.video.rawframes import is_image
from internvideo.video.sources import is_url

__all__ = ["DEFAULT_CACHE_BYTES", "ShardSource", "expand_braces", "open_shards"]

DEFAULT_CACHE_BYTES = 100 * 10**9
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS = 1_000_000


class ShardSource(VideoListSource):
    """The clips of a set of tar shards.

    Args:
        shards: what is where.
        storage: where the bytes come from.
        file: what messages call the set.
        class_names: names of the labels, where they are known.
        protocol: the input protocol of the model.
        sampling: how the frames of a training clip are drawn; None takes the middle clip of the
            protocol.
        window: number of shards that are mixed with each other in an epoch.
        whole_videos: evaluate a part of a video by views of the whole video.
        first_label: what numbers of classes count from in the shards.

    Attributes:
        names: file names of the shards.
        shard_of: number of the shard of each clip.
        offsets: where the bytes of each video begin in its shard.
        sizes: number of these bytes.
    """

    def __init__(
        self,
        shards: Sequence[ShardColumns],
        storage: Shards | CachedShards,
        protocol: Preprocessing,
        *,
        file: str,
        class_names: tuple[str, ...] | None = None,
        sampling: ClipSampling | None = None,
        window: int = 8,
        whole_videos: bool = False,
        first_label: int = 0,
    ) -> None:
        clips = ClipList(
            chain.from_iterable(shard.records() for shard in shards),
            file=file,
            description="tar shards",
            class_names=class_names,
            first_label=first_label,
        )
        if clips.bad_lines:
            raise DataError(clips.bad_lines[0].message)
        super().__init__(clips, protocol, sampling=sampling, whole_videos=whole_videos)
        self.names = tuple(shard.name for shard in shards)
        counts = [len(shard.members) for shard in shards]
        self.shard_of = np.repeat(np.arange(len(shards), dtype=np.int32), counts)
        self.offsets = np.concatenate([np.array(shard.offsets, np.int64) for shard in shards])
        self.sizes = np.concatenate([np.array(shard.sizes, np.int64) for shard in shards])
        self.storage = storage
        self.window = window

    def open(self, index: int) -> Video:
        """Fetch the video or image of a clip.

        Raises:
            VideoError: its bytes cannot be had; the message names the shard.
        """
        shard, member = self.names[self.shard_of[index]], self.clips.path(index)
        offset, size = int(self.offsets[index]), int(self.sizes[index])
        if size == 0:
            raise VideoError(f"{shard}: member {member!r} is empty")
        data, name = self.storage.read(shard, offset, size), f"{shard}/{member}"
        return Video(data, still=is_image(member), name=name)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Return the permutation of an epoch: shards at random, clips at random within a window.

        It depends on the generator alone, so that an interrupted epoch can be taken up again.
        """
        ends = np.cumsum(np.bincount(self.shard_of, minlength=len(self.names)))
        starts = np.concatenate([[0], ends[:-1]])
        shards = rng.permutation(len(self.names))
        parts = []
        for first in range(0, len(shards), self.window):
            group = shards[first : first + self.window]
            members = [np.arange(int(starts[shard]), int(ends[shard])) for shard in group]
            parts.append(rng.permutation(np.concatenate(members)))
        return np.concatenate(parts)


def open_shards(
    shards: str | Path,
    *,
    protocol: Preprocessing,
    sampling: ClipSampling | None = None,
    cache: Path | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    window: int = 8,
    whole_videos: bool = False,
    first_label: int = 0,
) -> ShardSource:
    """Return the clips of a set of tar shards.

    Args:
        shards: a folder, a tar, or a pattern such as `clips-{000000..000123}.tar`; each may be an
            address. A folder at an address needs its `index.json`, as it cannot be listed.
        protocol: the input protocol of the model.
        sampling: how the frames of a training clip are drawn; None takes the middle clip.
        cache: folder in which remote shards are kept; None reads single videos by range requests.
        cache_bytes: bound of that folder.
        window: number of shards that are mixed with each other in an epoch.
        whole_videos: evaluate a part of a video by views of the whole video.
        first_label: what numbers of classes count from in the shards.

    Raises:
        DataError: no such shards, or none with videos.
    """
    base, names = _base_and_names(str(shards))
    storage: Shards | CachedShards = Shards(base)
    indexed: dict[str, ShardColumns] = {}
    class_names = None
    if (text := storage.text(INDEX_NAME)) is not None:
        columns, class_names = index_from_json(text, file=storage.address(INDEX_NAME))
        indexed = {shard.name: shard for shard in columns}
    if names is None:
        names = sorted(indexed) if indexed else _listed(base)
    if is_url(base) and cache is not None:
        known = {s.name: s.sha256 for s in indexed.values() if s.sha256 is not None}
        storage = CachedShards(base, cache, max_bytes=cache_bytes, sha256=known)
    return ShardSource(
        [indexed.get(name) or _scanned(name, storage) for name in names],
        storage,
        protocol,
        file=str(shards),
        class_names=class_names,
        sampling=sampling,
        window=window,
        whole_videos=whole_videos,
        first_label=first_label,
    )


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges such as `{000..123}` stands for.

    Raises:
        DataError: a range runs backwards, or the names are too many.
    """
    match = _RANGE.search(pattern)
    if match is None:
        if "{" in pattern:
            raise DataError(f"{pattern}: expected a range such as {{000000..000123}} in the braces")
        return [pattern]
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MAX_SHARDS:
        raise DataError(f"{pattern}: the range {match[0]} must go upwards, over a million at most")
    width = len(match[1])
    rest = expand_braces(pattern[match.end() :])
    return [
        f"{pattern[: match.start()]}{number:0{width}d}{end}"
        for number in range(first, last + 1)
        for end in rest
    ]


def _base_and_names(shards: str) -> tuple[str, list[str] | None]:
    """Return the folder and, unless a whole folder is meant, the names of the shards in it."""
    if not shards.partition("?")[0].endswith(".tar"):
        if not is_url(shards) and not Path(shards).is_dir():
            raise DataError(
                f"no folder of shards {shards}; expected a folder, or names that end with .tar"
            )
        return shards, None
    if "*" in shards:
        raise DataError(
            f"{shards}: a * stands for nothing here; name the folder, or a range such as "
            "clips-{000000..000123}.tar"
        )
    base, _, last = shards.rpartition("/")
    return base or ".", expand_braces(last)


def _listed(base: str) -> list[str]:
    if is_url(base):
        raise DataError(
            f"{base}: has no {INDEX_NAME}, and an address cannot be listed; name the shards, such "
            f"as {base.rstrip('/')}/clips-{{000000..000123}}.tar"
        )
    names = sorted(path.name for path in Path(base).glob("[!.]*.tar"))
    if not names:
        compressed = next((path.name for path in Path(base).glob("*.tar.*")), None)
        hint = "" if compressed is None else f"; unpack those like {compressed} to .tar first"
        raise DataError(f"{base}: no shards (*.tar) in this folder{hint}")
    return names


def _scanned(name: str, storage: Shards | CachedShards) -> ShardColumns:
    """Scan a shard; what a scan through a cache found is kept there."""
    saved = storage.folder / f"{name}.index" if isinstance(storage, CachedShards) else None
    if saved is not None and saved.is_file():
        return ShardColumns.from_dict(json.loads(saved.read_text(encoding="utf-8")))
    file, size = storage.open(name)
    with file:
        shard = scan_tar(file, name=name, num_bytes=size)
    if saved is not None:
        write_whole(saved, json.dumps(shard.to_dict()))
    return shard
