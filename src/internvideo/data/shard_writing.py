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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
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
from internvideo.data.numbered_frames import NumberedFrames
from internvideo.data.shard_index import INDEX_NAME, ShardColumns, index_to_json, json_text
from internvideo.data.shard_storage import file_sha256
from internvideo.data.still_image import StillImage
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.video import Video, write_video
from internvideo.video.sources import resolve_source
from internvideo.video.transforms import resize_short_side

__all__ = ["LeftOut", "WrittenShards", "write_shards"]

_TAR_BLOCK = 512
# Four members with headers for long names, each filled up to a block, and the end of the file.
_OVERHEAD = 32 * _TAR_BLOCK + tarfile.RECORDSIZE
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
    done, position = _finished(out, plan)
    writer = _ShardWriter(out, plan, max_bytes, done)
    kept = len(done)
    work = partial(_packed, short_side=short_side, cut=cut)
    entries = (clips[place] for place in range(position, len(clips)))
    for place, (entry, packed) in enumerate(_mapped(work, entries, workers), start=position):
        told = replace(entry, start=None, end=None, duration=None) if cut else entry
        writer.add(place, clips.written_path(place), told, packed)
        if progress is not None:
            progress(place + 1, len(clips))
    writer.finish(len(clips))
    left_out = tuple(LeftOut(**values) for values in writer.left_out)
    if not writer.done:
        raise DataError(
            f"{clips.file}: none of its {len(clips)} videos can be read; the first: "
            f"{left_out[0].reason}"
        )
    index = index_to_json(
        writer.done,
        annotations=Path(clips.file).name,
        class_names=clips.class_names,
        left_out=writer.left_out,
    )
    _write_text(out / INDEX_NAME, index)
    return WrittenShards(
        index=out / INDEX_NAME,
        shards=tuple(out / shard.name for shard in writer.done),
        num_clips=sum(len(shard.members) for shard in writer.done),
        left_out=left_out,
        kept=kept,
    )


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
            if isinstance(video, StillImage):
                if smaller is not None:
                    return _Packed(_encoded_image(first, smaller), ".jpg")
            else:
                part = entry_part(entry, video) if cut else None
                frames = isinstance(video, NumberedFrames) or video.codec == "images"
                if smaller is not None or frames or part is not None:
                    return _Packed(_encoded(video, part, smaller), ".mp4")
        source = resolve_source(entry.path)
        with source.open() as file:
            data = file.read()
        suffix = PurePosixPath(entry.path.partition("?")[0]).suffix.lower() or ".mp4"
        return _Packed(data, suffix)
    except VideoError as error:
        return _Packed(reason=str(error))


def _encoded(video: Video | NumberedFrames, part: Part | None, short_side: int | None) -> bytes:
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
        waiting: list[tuple[ClipEntry, Future[_Packed]]] = []
        for entry in islice(entries, 4 * workers):
            waiting.append((entry, pool.submit(work, entry)))
        while waiting:
            entry, future = waiting.pop(0)
            try:
                packed = future.result()
            except BrokenProcessPool:
                raise DataError(
                    f"a process died, perhaps over {entry.path} or one of the {4 * workers} videos "
                    "after it; find the video with `internvideo data check --every 1`, take it out "
                    "of the list, and start again"
                ) from None
            yield entry, packed
            for following in islice(entries, 1):
                waiting.append((following, pool.submit(work, following)))


# ---------------------------------------------------------------- one shard after the other


class _ShardWriter:
    """Fills one tar after the other; a tar gets its name when it is complete."""

    def __init__(
        self,
        out: Path,
        plan: str,
        max_bytes: int,
        done: Sequence[tuple[ShardColumns, list[dict[str, Any]]]],
    ) -> None:
        self.out, self.plan, self.max_bytes = out, plan, max_bytes
        self.done = [shard for shard, _ in done]
        self.left_out = [failure for _, failures in done for failure in failures]
        self._failures: list[dict[str, Any]] = []
        self._tar: tarfile.TarFile | None = None
        self._shard: ShardColumns | None = None

    def add(self, position: int, path: str, entry: ClipEntry, packed: _Packed) -> None:
        """Put a clip into the shard, beginning another one where this is full."""
        if packed.reason is not None:
            failure = {"line": entry.line, "path": entry.path, "reason": packed.reason}
            self._failures.append(failure)
            return
        facts = _facts(entry)
        key = _member_key(position, path)
        side = json_text({**facts, "path": path}).encode()
        needed = len(packed.data) + 2 * len(side) + _OVERHEAD
        if self._tar is not None and self._tar.offset + needed > self.max_bytes:
            self._close(position)
        if self._tar is None:
            self._shard = ShardColumns(name=f"clips-{len(self.done):06d}.tar", num_bytes=0)
            self._tar = tarfile.open(self._partial, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        assert self._shard is not None
        offset = self._append(f"{key}{packed.suffix}", packed.data)
        self._append(f"{key}.json", side)
        if entry.label is not None:
            self._append(f"{key}.cls", str(entry.label).encode())
        if len(entry.captions) == 1:
            self._append(f"{key}.txt", entry.captions[0].encode())
        self._shard.add(f"{key}{packed.suffix}", offset, len(packed.data), facts)

    def _append(self, name: str, data: bytes) -> int:
        assert self._tar is not None
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        return self._tar.offset - -(-len(data) // _TAR_BLOCK) * _TAR_BLOCK

    @property
    def _partial(self) -> Path:
        assert self._shard is not None
        return self.out / f"{self._shard.name}.part"

    def finish(self, position: int) -> None:
        """Complete the last shard."""
        if self._tar is not None:
            self._close(position)
        self.left_out += self._failures

    def _close(self, position: int) -> None:
        """Complete a shard; `position` is the first clip that is not in it."""
        assert self._tar is not None
        assert self._shard is not None
        self._tar.close()
        path = self.out / self._shard.name
        self._shard.num_bytes = self._partial.stat().st_size
        self._shard.sha256 = file_sha256(self._partial)
        self._partial.replace(path)
        state = {
            "plan": self.plan,
            "next": position,
            "left_out": self._failures,
            "shard": self._shard.to_dict(),
        }
        _write_text(path.with_suffix(".json"), json_text(state))
        self.left_out += self._failures
        self.done.append(self._shard)
        self._failures, self._tar, self._shard = [], None, None


def _finished(out: Path, plan: str) -> tuple[list[tuple[ShardColumns, list[dict[str, Any]]]], int]:
    """Return the shards that are complete, and the first clip that is in none of them."""
    done: list[tuple[ShardColumns, list[dict[str, Any]]]] = []
    position = 0
    while (state_file := out / f"clips-{len(done):06d}.json").is_file():
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
        done.append((shard, state["left_out"]))
        position = state["next"]
    return done, position


def _fingerprint(clips: ClipList, max_bytes: int, short_side: int | None, cut: bool) -> str:
    digest = hashlib.sha256(f"{max_bytes} {short_side} {cut} ".encode())
    for place, entry in enumerate(clips):
        told = replace(entry, path=clips.written_path(place))  # the same where the videos are moved
        digest.update(repr(told).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _facts(entry: ClipEntry) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "label": entry.label,
        "start": entry.start,
        "end": entry.end,
        "duration": entry.duration,
        "captions": list(entry.captions) or None,
        "line": entry.line,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _member_key(position: int, path: str) -> str:
    """Return a unique name that tells the path, without a dot where webdataset would split it."""
    bare = path.partition("://")[2] or path
    parts = [part for part in bare.split("/") if part not in ("", ".", "..")]
    stem = os.path.splitext(parts[-1])[0].replace(".", "_") if parts else ""  # noqa: PTH122
    return "/".join([f"{position:08d}", *parts[:-1], stem or "clip"])


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
