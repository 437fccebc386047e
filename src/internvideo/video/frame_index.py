"""Which frames a file shows, at what times, and where decoding may start.

Three sources, from cheap to certain: the sample table of an mp4 (`index_of_table`), a walk through
the packets without decoding (`index_of_packets`), and decoding everything once (`index_of_frames`).
The reader starts with the cheapest that fits and moves on when the decoder contradicts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from internvideo.video.display_order import DisplayOrder
    from internvideo.video.mp4_index import SampleTable

__all__ = [
    "FROM_START",
    "FrameIndex",
    "PacketNotes",
    "index_of_frames",
    "index_of_packets",
    "index_of_table",
    "is_hidden",
    "note_packets",
]

FROM_START = -1
"""The 'key frame' that stands for the very beginning of the file."""

_UNKNOWN = np.iinfo(np.int64).min

# Decoders whose frames build on all frames before, whatever the container says of key frames.
_NO_KEY_FRAMES = frozenset({"gif", "apng", "webp", "flashsv", "flashsv2", "roqvideo"})
# MPEG-4 frames of so few bytes may be place-holders that show nothing.
_PLACEHOLDER_BYTES = 10
# Behind a cut at the start, the order of so many pictures is compared with their times.
_CUT_CHECKED = 32
_VOP_START = b"\0\0\1\xb6"


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of one video stream in the order they are shown.

    Attributes:
        pts: presentation times, in units of `time_base`.
        key_pts: presentation times of the key frames, ascending.
        key_dts: their decoding times (`None` values are stored as the smallest integer).
        key_leading: how many pictures follow each in decoding order and are shown before it.
        time_base: seconds per unit.
        last_duration: how long the last frame stays, in the same units; 0 when unknown.
        by_time: whether decoded frames can be told by their pts. If not, they are counted from
            the start of the file.
        certain: whether the whole file was decoded to make it.
    """

    pts: np.ndarray
    key_pts: np.ndarray
    key_dts: np.ndarray
    key_leading: np.ndarray
    time_base: Fraction
    last_duration: int = 0
    by_time: bool = True
    certain: bool = False
    key_ranks: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_ranks", np.searchsorted(self.pts, self.key_pts))

    def __len__(self) -> int:
        return len(self.pts)

    def key_before(self, rank: int) -> int:
        """Return the number of the last key frame shown at or before a frame, or `FROM_START`."""
        return int(np.searchsorted(self.key_ranks, rank, side="right")) - 1

    def dts_of_key(self, key: int) -> int | None:
        """Return the decoding time of a key frame, or None when the container does not say."""
        dts = int(self.key_dts[key])
        return None if dts == _UNKNOWN else dts

    def seconds(self) -> np.ndarray:
        """Return the time of every frame in seconds after the first one."""
        return (self.pts - self.pts[:1]) * float(self.time_base)

    def without_keys(self) -> FrameIndex:
        """Return the index for a file where decoding can only start at the beginning."""
        nothing = self.key_pts[:0]
        return replace(self, key_pts=nothing, key_dts=nothing, key_leading=nothing)

    def without_key(self, key: int) -> FrameIndex:
        """Return the index for a file where decoding cannot start at one of the key frames."""
        return replace(
            self,
            key_pts=np.delete(self.key_pts, key),
            key_dts=np.delete(self.key_dts, key),
            key_leading=np.delete(self.key_leading, key),
        )

    def spliced(self, decoded: list[int], *, low: int | None, high: int | None) -> FrameIndex:
        """Return the index with the frames in low <= pts < high replaced by the decoded ones."""
        before = self.pts[: np.searchsorted(self.pts, low)] if low is not None else self.pts[:0]
        after = self.pts[np.searchsorted(self.pts, high) :] if high is not None else self.pts[:0]
        return replace(self, pts=np.concatenate([before, np.asarray(decoded, np.int64), after]))


def index_of_table(table: SampleTable, time_base: Fraction) -> FrameIndex | None:
    """Return the index that the sample table of an mp4 file promises, or None if it has gaps."""
    if time_base != Fraction(1, table.timescale) or not table.is_key[0]:
        return None
    pts = np.sort(table.pts)
    key_pts = table.pts[table.is_key]
    leading = _leading_pictures(table.pts, table.is_key)
    if np.any(pts[1:] == pts[:-1]) or leading is None:
        return None
    if pts[0] < key_pts[0]:
        return None  # pictures before the first key frame: they may not be decodable
    unknown = np.full(len(key_pts), _UNKNOWN)
    return FrameIndex(pts, key_pts, unknown, leading, time_base, table.last_duration)


@dataclass(frozen=True, slots=True)
class PacketNotes:
    """What a walk through the packets found; all lists are in decoding order.

    Attributes:
        pts: presentation times of the packets that should be shown (None where missing).
        all_pts: those of every packet.
        dts: decoding times of every packet.
        keys: positions of key frames in `all_pts`.
        corrupt: positions in `all_pts` of packets that the container knows to be damaged.
        last_duration: duration of the last packet.
        odd: whether one packet may not mean one frame, or not the one at its time.
    """

    pts: list[int | None]
    all_pts: list[int | None]
    dts: list[int | None]
    keys: list[int]
    corrupt: list[int]
    last_duration: int
    odd: bool


def note_packets(packets: Iterable[Any], codec: str, order: DisplayOrder | None) -> PacketNotes:
    """Walk through the packets of a stream (PyAV's `demux`) and note what the index needs.

    Args:
        packets: from the start of the file.
        codec: FFmpeg's name of it.
        order: asked where pictures at the start are not to be shown: with wrong times the decoder
            would leave out others than those.
    """
    shown: list[int | None] = []
    all_pts: list[int | None] = []
    all_dts: list[int | None] = []
    keys: list[int] = []
    corrupt: list[int] = []
    cut, odd, last_pts, last_duration = False, False, None, 0
    for packet in packets:
        size = packet.size
        if not size or is_hidden(packet, codec):
            continue
        pts = packet.pts
        cut = cut or (packet.is_discard and not all_pts)
        if cut and len(shown) < _CUT_CHECKED and order is not None and pts is not None:
            odd = odd or order.agrees(bytes(packet), pts) is False
        if packet.is_keyframe:
            keys.append(len(all_pts))
        if packet.is_corrupt:
            corrupt.append(len(all_pts))
        all_pts.append(pts)
        all_dts.append(packet.dts)
        if not packet.is_discard:
            shown.append(pts)
            if pts is not None and (last_pts is None or pts > last_pts):
                last_pts, last_duration = pts, packet.duration or 0
        if codec == "mpeg4" and not odd:
            odd = size <= _PLACEHOLDER_BYTES or bytes(packet).count(_VOP_START) != 1
    return PacketNotes(shown, all_pts, all_dts, keys, corrupt, last_duration, odd)


def is_hidden(packet: Any, codec: str) -> bool:
    """Return whether a VP8 packet holds a frame that is only a reference, never shown."""
    return codec == "vp8" and not memoryview(packet)[0] & 0x10


def index_of_packets(
    notes: PacketNotes, time_base: Fraction, codec: str
) -> tuple[FrameIndex | None, set[str]]:
    """Return the index that the packets promise, and which parts of it must be decoded to know.

    Returns:
        The index (None when times are missing, repeated or out of order), and a set with any of
        "head" (pictures before the first key frame: not all can be decoded) and "tail" (the file
        was cut within the last group of pictures).
    """
    if notes.odd or None in notes.all_pts or not notes.keys:
        return None, set()
    all_pts = np.array(notes.all_pts, np.int64)
    is_key = np.zeros(len(all_pts), dtype=bool)
    is_key[notes.keys] = True
    if codec in _NO_KEY_FRAMES:
        is_key[1:] = False
    pts = np.sort(np.array(notes.pts, np.int64))
    leading = _leading_pictures(all_pts, is_key)
    if np.any(pts[1:] == pts[:-1]) or leading is None:
        return None, set()
    checks = set()
    first_key, last_key = notes.keys[0], notes.keys[-1]
    if first_key > 0 or pts[0] < all_pts[first_key]:
        checks.add("head")
    if notes.corrupt:
        if notes.corrupt[0] < last_key:
            return None, set()
        checks.add("tail")
    dts = np.array([_UNKNOWN if dts is None else dts for dts in notes.dts], np.int64)
    return (
        FrameIndex(pts, all_pts[is_key], dts[is_key], leading, time_base, notes.last_duration),
        checks,
    )


def index_of_frames(
    pts: list[int | None], notes: PacketNotes | None, time_base: Fraction, codec: str, fps: float
) -> FrameIndex:
    """Return the index of the frames that decoding the whole file gave, in that order."""
    nothing = np.zeros(0, np.int64)
    if pts and None not in pts:
        times = np.array(pts, np.int64)
        if not np.any(times[1:] <= times[:-1]):
            gap = int(np.median(np.diff(times))) if len(times) > 1 else 0
            exact = FrameIndex(times, nothing, nothing, nothing, time_base, gap, certain=True)
            if notes is None or None in notes.all_pts or codec in _NO_KEY_FRAMES:
                return exact
            all_pts = np.array(notes.all_pts, np.int64)
            keys = np.array(notes.keys, np.int64)
            is_key = np.zeros(len(all_pts), dtype=bool)
            is_key[keys] = True
            leading = _leading_pictures(all_pts, is_key)
            if not len(keys) or leading is None:
                return exact
            dts = np.array([_UNKNOWN if notes.dts[key] is None else notes.dts[key] for key in keys])
            return replace(exact, key_pts=all_pts[keys], key_dts=dts, key_leading=leading)
    steps = np.arange(len(pts), dtype=np.int64)
    rate = Fraction(fps).limit_denominator(100_000)
    return FrameIndex(steps, nothing, nothing, nothing, 1 / rate, 1, by_time=False, certain=True)


def _leading_pictures(pts: np.ndarray, is_key: np.ndarray) -> np.ndarray | None:
    """Return how many pictures are decoded after each key frame and shown before it.

    Args:
        pts: presentation times in decoding order.
        is_key: which are those of key frames.

    Returns:
        None where key frames do not divide the video: something that is decoded before one is shown
        after it, or leading pictures do not come directly behind it.
    """
    keys = np.flatnonzero(is_key)
    later = keys[keys > 0]
    if np.any(np.maximum.accumulate(pts)[later - 1] >= pts[later]):
        return None
    if not len(keys):
        return keys
    places = np.arange(keys[0], len(pts))
    key_of = keys[np.searchsorted(keys, places, side="right") - 1]
    leads = pts[places] < pts[key_of]
    if np.any(leads[1:] & ~leads[:-1] & (key_of[1:] != places[1:] - 1)):
        return None
    return np.bincount(np.searchsorted(keys, key_of[leads]), minlength=len(keys))
