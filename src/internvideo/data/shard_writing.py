"""Writing tar shards from an annotation file: `internvideo data shard`.

Each clip becomes the members `{number}/{path}.mp4` (or its own ending, which may be that of a still
image), `.json` with what the annotations tell, `.txt` with its caption where it has one, and `.cls`
with the label, so that the webdataset library reads the shards too. A
finished shard leaves a file `clips-000000.json` beside it; a writer that was stopped takes these as
done and goes on after the last of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from internvideo.data.clip_list import ClipEntry, ClipList
from internvideo.data.clip_sampling import Part, part_frames
from internvideo.data.clips import entry_part, open_entry
from internvideo.data.shard_index import FACTS, INDEX_NAME, ShardColumns, index_to_json
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.files import json_text, replacing, sha256_of, write_whole
from internvideo.video import Video, write_video
from internvideo.video.sources import resolve_source
from internvideo.video.transforms import resize_short_side

__all__ = ["LeftOut", "WrittenShards", "write_shards"]

# Four members with headers for long names, each filled up to a block, and the end of the file.
_OVERHEAD = 32 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
_DECODE_BLOCK = 32
_QUALITY, _JPEG_QUALITY = 18, 95
_MIN_SHARD = 1 << 16
_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that is in no shard because its video cannot be read."""

    line: int
    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenShards:
    """What was written.

    Attributes:
        index: path of the index.
        shards: paths of the shards.
        num_clips: clips in them.
        left_out: clips whose videos cannot be read.
        kept: how many of the shards were there before.
    """

    index: Path
    shards: tuple[Path, ...]
    num_clips: int
    left_out: tuple[LeftOut, ...]
    kept: int


def write_shards(
    clips: ClipList,
    out: Path,
    *,
    max_bytes: int = 10**9,
    short_side: int | None = None,
    cut: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenShards:
    """Pack the videos of an annotation file into tar shards.

    Videos are copied byte for byte after a look at their first frame; folders of frames, and videos
    that are larger than `short_side`, are encoded as h264 (without sound), larger still images as
    JPEG.

    Args:
        clips: the annotated clips.
        out: folder of the shards; what an interrupted call with the same arguments left there is
            kept.
        max_bytes: a shard ends before it would be larger; a larger video has one for itself.
        short_side: make the shorter side of larger videos this many pixels.
        cut: of clips that are parts of longer videos, pack the part only, encoded anew; else the
            whole video is packed with each of its clips.
        workers: processes that read and encode.
        progress: called with (clips done, clips in all).

    Raises:
        ConfigError: an impossible size, or the folder holds shards of something else.
        DataError: no video at all can be read.
    """
    if max_bytes < _MIN_SHARD or (short_side is not None and short_side < 1) or workers < 1:
        raise ConfigError(
            f"max_bytes must be at least {_MIN_SHARD:,}, short_side and workers at least 1, got "
            f"{max_bytes:,}, {short_side} and {workers}"
        )
    out.mkdir(parents=True, exist_ok=True)
    plan = _fingerprint(clips, max_bytes, short_side, cut)
    shards, left_out, position = _finished(out, plan)
    kept = len(shards)
    failures: list[dict[str, Any]] = []

    def readable() -> Iterator[_Clip]:
        work = partial(_packed, short_side=short_side, cut=cut)
        entries = (clips[place] for place in range(position, len(clips)))
        for place, (entry, packed) in enumerate(_mapped(work, entries, workers), start=position):
            if packed.reason is not None:
                reason = packed.reason
                failures.append({"line": entry.line, "path": entry.path, "reason": reason})
            else:
                facts = _facts(
                    replace(entry, start=None, end=None, duration=None) if cut else entry
                )
                yield _Clip(place, clips.written_path(place), facts, packed)
            if progress is not None:
                progress(place + 1, len(clips))

    source = readable()
    clip = next(source, None)
    while clip is not None:
        shard = ShardColumns(name=f"clips-{len(shards):06d}.tar", num_bytes=0)
        path = out / shard.name
        with replacing(path, exclusive=True) as draft:
            with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
                while clip is not None and clip.add_to(tar, shard, max_bytes):
                    clip = next(source, None)
            shard.num_bytes, shard.sha256 = draft.stat().st_size, sha256_of(draft)
        state = {
            "plan": plan,
            "next": len(clips) if clip is None else clip.place,
            "left_out": failures,
            "shard": shard.to_dict(),
        }
        write_whole(path.with_suffix(".json"), json_text(state))
        shards.append(shard)
        left_out += failures
        failures.clear()
    left_out += failures
    if not shards:
        raise DataError(
            f"{clips.file}: none of its {len(clips)} videos can be read; the first: "
            f"{left_out[0]['reason']}"
        )
    index = index_to_json(
        shards,
        annotations=Path(clips.file).name,
        class_names=clips.class_names,
        left_out=left_out,
    )
    write_whole(out / INDEX_NAME, index)
    return WrittenShards(
        index=out / INDEX_NAME,
        shards=tuple(out / shard.name for shard in shards),
        num_clips=sum(len(shard.members) for shard in shards),
        left_out=tuple(LeftOut(**values) for values in left_out),
        kept=kept,
    )


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip whose video was read: its place in the list, path as written there, and facts."""

    place: int
    path: str
    facts: dict[str, Any]
    packed: _Packed

    def add_to(self, tar: tarfile.TarFile, shard: ShardColumns, max_bytes: int) -> bool:
        """Put the clip into a shard; False where this is full."""
        key, facts, data = _member_key(self.place, self.path), self.facts, self.packed.data
        side = json_text({**facts, "path": self.path}).encode()
        needed = len(data) + 2 * len(side) + _OVERHEAD
        if shard.members and tar.offset + needed > max_bytes:
            return False
        member = f"{key}{self.packed.suffix}"
        shard.add(member, _append(tar, member, data), len(data), facts)
        _append(tar, f"{key}.json", side)
        if "label" in facts:
            _append(tar, f"{key}.cls", str(facts["label"]).encode())
        if len(facts.get("captions", ())) == 1:
            _append(tar, f"{key}.txt", facts["captions"][0].encode())
        return True


def _append(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member; return the offset of its bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _finished(out: Path, plan: str) -> tuple[list[ShardColumns], list[dict[str, Any]], int]:
    """Return the complete shards, what they leave out, and the first clip that is in none."""
    shards: list[ShardColumns] = []
    left_out: list[dict[str, Any]] = []
    position = 0
    while (state_file := out / f"clips-{len(shards):06d}.json").is_file():
        try:
            state = json.loads(state_file.read_text(encoding="utf-8"))
            known, shard = state["plan"], ShardColumns.from_dict(state["shard"])
        except (ValueError, KeyError, TypeError, IndexError):
            break  # cut off by a crash of the machine: this shard is written again
        if known != plan:
            raise ConfigError(
                f"{out} holds shards of other annotations or settings; choose another folder, or "
                "remove them"
            )
        tar = out / shard.name
        if not tar.is_file() or tar.stat().st_size != shard.num_bytes:
            break
        shards.append(shard)
        left_out += state["left_out"]
        position = state["next"]
    return shards, left_out, position


def _fingerprint(clips: ClipList, max_bytes: int, short_side: int | None, cut: bool) -> str:
    digest = hashlib.sha256(f"{max_bytes} {short_side} {cut} ".encode())
    for place, entry in enumerate(clips):
        moved = replace(entry, path=clips.written_path(place))  # the same where videos were moved
        digest.update(repr(moved).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _facts(entry: ClipEntry) -> dict[str, Any]:
    facts = {name: getattr(entry, name) for name in FACTS}
    facts["captions"] = list(entry.captions) or None
    return {name: value for name, value in facts.items() if value is not None}


def _member_key(position: int, path: str) -> str:
    """Return a unique name that tells the path, without a dot where webdataset would split it."""
    bare = path.partition("://")[2] or path
    parts = [part for part in bare.split("/") if part not in ("", ".", "..")]
    stem = os.path.splitext(parts[-1])[0].replace(".", "_") if parts else ""  # noqa: PTH122
    return "/".join([f"{position:08d}", *parts[:-1], stem or "clip"])


# ---------------------------------------------------------------- one clip


@dataclass(frozen=True, slots=True)
class _Packed:
    """The encoded video of a clip, or why there is none."""

    data: bytes = b""
    suffix: str = ""
    reason: str | None = None


def _packed(entry: ClipEntry, *, short_side: int | None, cut: bool) -> _Packed:
    """Return the video of an entry as it goes into the shard (runs in a worker)."""
    try:
        with open_entry(entry) as video:
            first = video.frames([0])[0]
            smaller = short_side if short_side and min(first.shape[:2]) > short_side else None
            if entry.is_image:
                if smaller is not None:
                    return _Packed(_encoded_image(first, smaller), ".jpg")
            else:
                part = entry_part(entry, video) if cut else None
                if smaller is not None or video.codec == "images" or part is not None:
                    return _Packed(_encoded(video, part, smaller), ".mp4")
        source = resolve_source(entry.path)
        with source.open() as file:
            data = file.read()
        suffix = PurePosixPath(entry.path.partition("?")[0]).suffix.lower() or ".mp4"
        return _Packed(data, suffix)
    except VideoError as error:
        return _Packed(reason=str(error))


def _encoded(video: Video, part: Part | None, short_side: int | None) -> bytes:
    total = video.num_frames
    first, count = (0, total) if part is None else part_frames(total, part)

    def frames() -> Iterator[torch.Tensor]:
        for start in range(first, first + count, _DECODE_BLOCK):
            block = video.frames(range(start, min(start + _DECODE_BLOCK, first + count)))
            yield from block if short_side is None else _resized(block, short_side)

    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "clip.mp4", frames(), fps=video.fps, quality=_QUALITY)
        return path.read_bytes()


def _encoded_image(picture: UInt8[Tensor, "h w c"], short_side: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    smaller = _resized(picture[None], short_side)[0]
    Image.fromarray(smaller.numpy()).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _resized(frames: UInt8[Tensor, "t h w c"], short_side: int) -> UInt8[Tensor, "t h w c"]:
    return resize_short_side(
        frames, short_side, interpolation="bilinear", antialias=True, rounded=True
    )


def _begin_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all; these end without a word
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, killed perhaps; its pool would wait for ever."""
    while os.getppid() == parent:
        time.sleep(_GRACE)
    os._exit(1)


def _mapped(
    work: Callable[[ClipEntry], _Packed], entries: Iterator[ClipEntry], workers: int
) -> Iterator[tuple[ClipEntry, _Packed]]:
    """Yield every entry with its video, in order; only a few are ahead of the reader."""
    if workers == 1:
        for entry in entries:
            yield entry, work(entry)
        return
    with ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
        waiting = deque((entry, pool.submit(work, entry)) for entry in islice(entries, 4 * workers))
        while waiting:
            entry, future = waiting.popleft()
            try:
                packed = future.result()
            except BrokenProcessPool:
                raise DataError(
                    f"a process died, perhaps over {entry.path} or one of the {4 * workers} videos "
                    "after it; find the video with `internvideo data check --every 1`, take it out "
                    "of the list, and start again"
                ) from None
            yield entry, packed
            waiting.extend((entry, pool.submit(work, entry)) for entry in islice(entries, 1))
