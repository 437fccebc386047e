"""The frame times of an mp4/mov file from its sample tables, without reading the media data.

The index of such a file (the 'moov' box) lists the time of every frame. Reading it costs a
millisecond, where walking through the packets reads the whole file: gigabytes for an hour of
footage. Only the plain case is handled here: one table, at most one edit. Everything else
(fragments, several edits, a cut-off file) returns None, and the packets are walked instead.

Source: ISO/IEC 14496-12 (ISO base media file format), the box names are those of the standard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

__all__ = ["SampleTable", "missing_moov", "read_sample_table"]

_MAX_INDEX_BYTES = 256 << 20
_MAX_SAMPLES = 1 << 26
_Box = tuple[bytes, memoryview]


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The samples of one track, in decoding order.

    Attributes:
        pts: presentation times after the edit list, in units of 1/`timescale` seconds.
        is_key: which samples are key frames.
        last_duration: how long the sample shown last stays, in the same units.
        timescale: units per second.
    """

    pts: np.ndarray
    is_key: np.ndarray
    last_duration: int
    timescale: int


def read_sample_table(file: IO[bytes], track_id: int) -> SampleTable | None:
    """Return the table of a track, or None when the file needs more than this reader knows.

    Args:
        file: a seekable file at any position.
        track_id: the track's number in the file (what FFmpeg calls the stream id).
    """
    try:
        moov = _read_moov(file)
        return None if moov is None else _read_track(moov, track_id)
    except (struct.error, ValueError, IndexError, OverflowError, KeyError):
        return None  # a malformed table: let the demuxer decide what the file holds


def missing_moov(file: IO[bytes]) -> bool:
    """Return whether this is an mp4 file that ends before its index was written."""
    names = [name for name, _, _ in _top_level(file)]
    return bool(names) and names[0] in (b"ftyp", b"mdat", b"wide") and b"moov" not in names


def _top_level(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, first byte of the body, end) of each top-level box; the end may lie."""
    position = 0
    for _ in range(10_000):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        size, name = struct.unpack(">I4s", header[:8])
        body = position + 8
        if size == 1:
            if len(header) < 16:
                return
            size, body = struct.unpack(">Q", header[8:16])[0], position + 16
        elif size == 0:
            file.seek(0, 2)
            size = file.tell() - position
        if size < body - position:
            return
        yield name, body, position + size
        position += size


def _read_moov(file: IO[bytes]) -> dict[bytes, list[memoryview]] | None:
    """Return the boxes in 'moov' of a file whose boxes are all complete and not fragmented."""
    file.seek(0, 2)
    length = file.tell()
    moov = None
    for name, body, end in _top_level(file):
        if end > length or name == b"moof":
            return None
        if name == b"moov":
            if moov is not None or end - body > _MAX_INDEX_BYTES:
                return None
            moov = (body, end)
    if moov is None:
        return None
    file.seek(moov[0])
    boxes = _children(memoryview(file.read(moov[1] - moov[0])))
    return None if b"mvex" in boxes else boxes


def _children(data: memoryview) -> dict[bytes, list[memoryview]]:
    boxes: dict[bytes, list[memoryview]] = {}
    position = 0
    while position + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            size, start = struct.unpack_from(">Q", data, start)[0], start + 8
        elif size == 0:
            size = len(data) - position
        if size < start - position or position + size > len(data):
            raise ValueError("a box that is larger than what holds it")
        boxes.setdefault(bytes(name), []).append(data[start : position + size])
        position += size
    return boxes


def _read_track(moov: dict[bytes, list[memoryview]], track_id: int) -> SampleTable | None:
    for body in moov.get(b"trak", []):
        track = _children(body)
        (header,) = track[b"tkhd"]
        if struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0] == track_id:
            break
    else:
        return None
    media = _children(track[b"mdia"][0])
    timescale = _timescale(media[b"mdhd"][0])
    table = _children(_children(media[b"minf"][0])[b"stbl"][0])
    if struct.unpack_from(">I", table[b"stsd"][0], 4)[0] != 1:
        return None  # several codec configurations in one track
    durations = _run_lengths(table[b"stts"][0], signed=False)
    num_samples = struct.unpack_from(">I", table[b"stsz"][0], 8)[0] if b"stsz" in table else -1
    if durations is None or len(durations) != num_samples or not num_samples:
        return None
    pts = np.cumsum(durations) - durations
    if b"ctts" in table:
        offsets = _run_lengths(table[b"ctts"][0], signed=True)
        if offsets is None or len(offsets) != num_samples or offsets.min() < 0:
            return None
        pts = pts + offsets
    is_key = np.ones(num_samples, dtype=bool)
    if b"stss" in table:
        is_key[:] = False
        keys = np.frombuffer(table[b"stss"][0], dtype=">u4", offset=8).astype(np.int64)
        if len(keys) and (keys.min() < 1 or keys.max() > num_samples):
            return None
        is_key[keys - 1] = True
    shift = _edit_shift(track, pts, timescale, _timescale(moov[b"mvhd"][0]))
    if shift is None:
        return None
    return SampleTable(pts + shift, is_key, int(durations[int(pts.argmax())]), timescale)


def _timescale(header: memoryview) -> int:
    """Return the units per second of an 'mdhd' or 'mvhd' box."""
    timescale = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    if not timescale:
        raise ValueError("a time scale of zero")
    return timescale


def _run_lengths(body: memoryview, *, signed: bool) -> np.ndarray | None:
    """Return the values of a table of (count, value) pairs, one for each sample."""
    (num_entries,) = struct.unpack_from(">I", body, 4)
    pairs = np.frombuffer(body, dtype=">u4", count=2 * num_entries, offset=8).reshape(-1, 2)
    counts = pairs[:, 0].astype(np.int64)
    values = pairs[:, 1].astype(np.uint32)
    if counts.sum() > _MAX_SAMPLES:
        return None
    return np.repeat(values.view(np.int32) if signed else values, counts).astype(np.int64)


def _edit_shift(
    track: dict[bytes, list[memoryview]], pts: np.ndarray, timescale: int, movie_timescale: int
) -> int | None:
    """Return what the edit list adds to every time; None when it also cuts or repeats frames."""
    if b"edts" not in track:
        return 0
    edits = _children(track[b"edts"][0]).get(b"elst")
    if not edits:
        return 0
    wide = edits[0][0] == 1
    (num_edits,) = struct.unpack_from(">I", edits[0], 4)
    entry = struct.Struct(">QqHH" if wide else ">IiHH")
    if num_edits > 2:
        return None
    listed = [entry.unpack_from(edits[0], 8 + entry.size * n) for n in range(num_edits)]
    delay = 0
    if len(listed) == 2 and listed[0][1] == -1:
        delay = listed[0][0] * timescale
        if delay % movie_timescale:
            return None  # how the rest is rounded is the demuxer's business
        delay //= movie_timescale
        del listed[0]
    if len(listed) != 1:
        return None
    length, start, rate, rate_fraction = listed[0]
    end = start + length * timescale / movie_timescale
    if start < 0 or (rate, rate_fraction) != (1, 0) or pts.min() < start or pts.max() >= end:
        return None
    return delay - start
