"""Decoding onwards from one key frame, and knowing which frame of the video each picture is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import av.error

from internvideo.video.frame_index import FROM_START, FrameIndex

if TYPE_CHECKING:
    from internvideo.video.display_order import DisplayOrder
    from internvideo.video.pyav_container import OpenVideo

__all__ = [
    "BadKeyFrame",
    "Contradiction",
    "Cursor",
    "Damaged",
    "WrongTimes",
    "packets_from_key",
]

# Comparing many packets at once costs half as much as one at a time, between two pictures.
_CHECKED_TOGETHER = 256
_INTRA_PICTURE = 1  # AV_PICTURE_TYPE_I


class Contradiction(Exception):  # noqa: N818 - a signal between this module and the reader
    """The decoder gives other frames than the index says."""


class WrongTimes(Exception):  # noqa: N818
    """The times in the container do not follow the order in which the stream shows its pictures."""


class Damaged(Exception):  # noqa: N818
    """A wanted frame did not come, and the decoder complained about the data before it."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.rank = rank


class BadKeyFrame(Exception):  # noqa: N818
    """Decoding cannot start at a frame that the container calls a key frame."""

    def __init__(self, key: int) -> None:
        super().__init__(key)
        self.key = key


def packets_from_key(packets: Iterator[Any], pts: int, dts: int | None) -> Iterator[Any] | None:
    """Drop packets before a key frame; return the rest from it on, or None if it was overshot.

    Args:
        packets: what follows a jump.
        pts: presentation time of the key frame.
        dts: its decoding time, if known.
    """
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None:
            if packet.pts == pts:
                return chain([packet], packets)
            if packet.pts > pts:
                return None
        if dts is not None and packet.dts is not None and packet.dts > dts:
            return None
    return None


class Cursor:
    """The decoder at one place of the video, moving forward.

    Args:
        video: the opened file; the cursor owns its decoder until another cursor is made.
        packets: the packets from the starting point on.
        index: the frames of the video.
        key: the number of the key frame that `packets` begin with, or `FROM_START`.
        doubted: damaged frames that were decoded once more from further back; added to.
        order: what the times of the packets are compared with.

    Attributes:
        key: as given.
        next_rank: the frame that comes next.
        frames_decoded: how many pictures came out so far.
    """

    __slots__ = (
        "_damaged",
        "_doubted",
        "_ended",
        "_fed",
        "_floor",
        "_index",
        "_leading",
        "_left_out",
        "_num_fed",
        "_order",
        "_packets",
        "_pending",
        "_skips",
        "_start",
        "_started",
        "_unchecked",
        "_video",
        "frames_decoded",
        "key",
        "next_rank",
    )

    def __init__(
        self,
        video: OpenVideo,
        packets: Iterator[Any],
        index: FrameIndex,
        key: int,
        doubted: set[int],
        order: DisplayOrder | None,
    ) -> None:
        self._video = video
        self._packets = packets
        self._index = index
        self._doubted = doubted
        self._order = order
        self._unchecked: list[tuple[bytes, int]] = []
        self._skips: bool | None = None
        self._left_out = False
        self._pending: deque[Any] = deque()
        self._ended = self._damaged = self._started = False
        self._floor = int(index.key_pts[key]) if key != FROM_START else None
        # Of the pictures before the key frame nothing but their number is known.
        self._leading = int(index.key_leading[key]) if key != FROM_START else 0
        self.key = key
        self.next_rank = int(index.key_ranks[key]) if key != FROM_START else 0
        self.frames_decoded = 0
        self._start = self.next_rank
        self._fed: list[int] = []
        self._num_fed = 0

    def next_picture(
        self, wanted: frozenset[int] = frozenset(), skip_until: int | None = None
    ) -> Any:
        """Return the next picture that the decoder gives, or None at the end of the file.

        Args:
            wanted: presentation times that must be decoded.
            skip_until: packets before this time that are neither wanted nor a reference may be
                left out; None decodes everything.
        """
        while not self._pending:
            if self._ended:
                return None
            packet = self._next_packet()
            if packet is not None:
                if not packet.size:
                    continue
                pts = packet.pts
                if pts is not None and not packet.is_discard:
                    self._fed.append(pts)
                if pts is not None and self._floor is not None and pts < self._floor:
                    self._leading -= 1
                if self._order is not None and pts is not None:
                    self._unchecked.append((bytes(packet), pts))
                skips = skip_until is not None and pts is not None and pts < skip_until
                self._skip(skips and pts not in wanted)
            else:
                self._ended = True
            try:
                pictures = self._video.decode(packet)
            except (av.error.FFmpegError, MemoryError):
                self._damaged = True
                continue
            self.frames_decoded += len(pictures)
            self._pending.extend(pictures)
        return self._pending.popleft()

    def _skip(self, skips: bool) -> None:
        if skips is not self._skips:
            if skips and self._order is None:
                raise Contradiction("pictures whose order is not known are not left out")
            self._skips = skips
            self._left_out |= skips
            self._video.stream.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
        if len(self._unchecked) >= _CHECKED_TOGETHER:
            self.check_times()

    def check_times(self) -> None:
        """Compare the times of all packets so far with the order in which they are shown.

        Raises:
            WrongTimes: they contradict it.
            Contradiction: nothing is known of it, and pictures were left out, which cannot show
                their place by coming out.
        """
        unchecked, self._unchecked = self._unchecked, []
        for packet, pts in unchecked:
            agrees = self._order.agrees(packet, pts) if self._order is not None else None
            if agrees is None:
                self._order = None
                if self._left_out:
                    raise Contradiction("pictures were left out whose order is not known")
                return
            if not agrees and not self._damaged:
                raise WrongTimes(f"the picture at {pts} is shown at another place")

    def _next_packet(self) -> Any:
        try:
            return next(self._packets, None)
        except (av.error.InvalidDataError, av.error.EOFError):
            self._damaged = True
            return None

    def advance_to(self, rank: int, wanted: frozenset[int], skip_until: int | None) -> Any:
        """Return the picture of one frame, decoding on until it comes.

        Args:
            rank: a frame at or after `next_rank`.
            wanted: presentation times of all frames that will be asked for.
            skip_until: see `next_picture`.

        Raises:
            Contradiction: the pictures do not follow the index.
            BadKeyFrame: already the first picture does not.
            Damaged: the frame did not come because the file is broken before it.
        """
        while True:
            picture = self.next_picture(wanted, skip_until)
            if picture is None:
                raise Damaged(rank) if self._damaged else Contradiction(f"no frame {rank}")
            found = self._rank_of(picture)
            if found is None:
                continue
            if picture.is_corrupt:
                self._doubt(found, skipping=skip_until is not None)
            if found != self.next_rank and skip_until is None and not self._damaged:
                raise Contradiction(f"frame {found} follows {self.next_rank - 1}")
            if found < self.next_rank:
                raise Contradiction(f"frame {found} comes again")
            self.next_rank = found + 1
            if found == rank:
                self._count_packets(picture.pts, skipping=skip_until is not None)
                return picture
            if found > rank:
                raise Damaged(rank) if self._damaged else Contradiction(f"no frame {rank}")
            # Where data is damaged the decoder leaves what was in the memory of a picture that was
            # let go, so that all must be let go in the same order whatever is asked for.
            del picture

    def _count_packets(self, pts: int | None, *, skipping: bool) -> None:
        """Check that every frame that was passed over had a packet, though it was not decoded."""
        if pts is None or not self._index.by_time:
            return
        floor = self._floor if self._floor is not None else pts - (1 << 62)
        self._num_fed += sum(floor <= fed <= pts for fed in self._fed)
        self._fed = [fed for fed in self._fed if fed > pts]
        if skipping and not self._damaged and self._num_fed != self.next_rank - self._start:
            raise Contradiction(f"{self._num_fed} packets for frames {self._start} and on")

    def _doubt(self, rank: int, *, skipping: bool) -> None:
        """Start again further back for a damaged picture, once; then take it as it is.

        Decoders repair damage from what they decoded before, so the same picture comes out only
        after the same ones.
        """
        if skipping:
            raise Contradiction("a damaged picture")
        if self.key != FROM_START and rank not in self._doubted:
            self._doubted.add(rank)
            raise BadKeyFrame(self.key)

    def _rank_of(self, picture: Any) -> int | None:
        """Return the number of a picture; None for one before the key frame."""
        if not self._index.by_time:
            return self.next_rank
        pts, times = picture.pts, self._index.pts
        if pts is None:
            raise Contradiction("a frame without a time")
        if self._floor is not None and pts < self._floor:
            if self._started:
                raise Contradiction("a frame before the key frame comes after it")
            return None
        rank = self.next_rank
        if rank >= len(times) or times[rank] != pts:
            rank = int(times.searchsorted(pts))
            if rank == len(times) or times[rank] != pts:
                raise Contradiction(f"a frame at an unknown time {pts}")
        if not self._started:
            self._started = True
            self._check_start(picture, rank)
        return rank

    def _check_start(self, picture: Any, rank: int) -> None:
        if self.key == FROM_START or self._damaged:
            return
        if self._leading:
            raise WrongTimes(f"{self._leading} pictures before a key frame come after it")
        is_intra = (
            self._video.stream.codec_context.codec.intra_only
            or picture.key_frame
            or int(picture.pict_type) == _INTRA_PICTURE
        )
        if rank != self.next_rank or (picture.pts == self._floor and not is_intra):
            raise BadKeyFrame(self.key)
