"""Frame-exact reading with PyAV: seek to a key frame, decode forward, convert what is wanted.

Frame `i` is the i-th picture that decoding the file from its start gives. Where it lies is told by
a `FrameIndex`; the reader takes the cheapest index that the file allows and checks what the
decoder gives against it. When the two disagree, the next more certain index is made and the
frames are read again, so an answer is never taken from an index that was found wrong.
"""

# ruff: noqa: D102 - the methods are documented in `reader.Reader`
from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from internvideo.errors import VideoError
from internvideo.video.cursor import (
    BadKeyFrame,
    Contradiction,
    Cursor,
    Damaged,
    WrongTimes,
    packets_from_key,
)
from internvideo.video.display_order import DisplayOrder, display_order
from internvideo.video.frame_index import (
    FROM_START,
    FrameIndex,
    PacketNotes,
    index_of_frames,
    index_of_packets,
    index_of_table,
    note_packets,
)
from internvideo.video.mp4_index import read_sample_table
from internvideo.video.picture import Geometry, PictureConverter, pixels_of
from internvideo.video.pyav_container import OpenVideo, open_video
from internvideo.video.reader import FrameIndexError, describe_error

if TYPE_CHECKING:
    from internvideo.video.sources import Source

__all__ = ["PyAVReader"]

logger = logging.getLogger(__name__)

# Codecs in which a frame marked as "not a reference" is one that nothing else is built on.
_SKIPPABLE = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})
# Codecs in which a packet may hold no frame that is shown; only the packets themselves tell.
_NOT_ONE_TO_ONE = frozenset({"mpeg4", "vp8"})
_INTERLACED = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT
# Decoding on over so many unwanted frames is cheaper than a jump to the next key frame.
_WORTH_A_SEEK = 4
# A frame can need others that are shown up to so many frames later.
_REORDERED = 16
# After so many key frames that were none, the container's word on them is not asked again.
_MAX_BAD_KEYS = 16


class PyAVReader:
    """Reads one video file through FFmpeg (the libraries inside the PyAV wheel).

    Args:
        source: where the bytes are.
        threads: decoder threads; 0 lets FFmpeg choose.

    Attributes:
        frames_decoded: pictures that the decoder has given so far, wanted or not.
    """

    def __init__(self, source: Source, *, threads: int) -> None:
        self._source = source
        self._threads = threads
        self._video = open_video(source, threads=threads)
        context = self._video.stream.codec_context
        self._codec = str(context.codec.canonical_name)
        self._header_size = (context.height, context.width)
        self._may_skip = (
            context.codec.name in _SKIPPABLE
            and getattr(context, "field_order", 0) not in _INTERLACED
        )
        self._index: FrameIndex | None = None
        self._notes: PacketNotes | None = None
        self._cursor: Cursor | None = None
        self._geometry: Geometry | None = None
        self._converter = PictureConverter()
        self._bad_keys = 0
        self._check_times = True
        self._doubted: set[int] = set()
        self._decoded_before = 0

    # ---- facts about the video

    @property
    def codec(self) -> str:
        return self._codec

    @property
    def is_image_file(self) -> bool:
        """Whether FFmpeg took the file for one picture, such as a jpg or webp."""
        return self._video.container.format.name.endswith(("_pipe", "image2"))

    @property
    def num_frames(self) -> int:
        return len(self.index)

    @property
    def fps(self) -> float:
        stated, index = self._stated_rate(), self.index
        span = float((index.pts[-1] - index.pts[0]) * index.time_base)
        if not index.by_time or span <= 0:
            return stated or 25.0
        measured = (len(index) - 1) / span
        # The header has the exact fraction; where frames come unevenly it only has a guess.
        return stated if stated and abs(stated / measured - 1) < 0.01 else measured

    @property
    def duration(self) -> float:
        index = self.index
        last = index.last_duration * float(index.time_base) or 1 / self.fps
        return float(index.seconds()[-1]) + last

    @property
    def size(self) -> tuple[int, int]:
        return self.geometry.shown_size

    @property
    def rotation(self) -> int:
        return self.geometry.rotation

    @property
    def frames_decoded(self) -> int:
        return self._decoded_before + (self._cursor.frames_decoded if self._cursor else 0)

    def seconds(self) -> np.ndarray:
        return self.index.seconds()

    @property
    def index(self) -> FrameIndex:
        """The index in use; made when first needed."""
        if self._index is None:
            self._index = self._index_from_table() or self._index_from_packets()
            self._refuse_nothing(self._index)
        return self._index

    @property
    def geometry(self) -> Geometry:
        """Size and orientation; decodes the first frame when none was decoded yet."""
        if self._geometry is None:
            self.read([0])
        assert self._geometry is not None
        return self._geometry

    def _stated_rate(self) -> float | None:
        stream = self._video.stream
        for rate in (stream.average_rate, stream.base_rate):
            if rate and 0 < rate <= 10_000:
                return float(rate)
        return None

    # ---- reading

    def read(self, wanted: list[int]) -> np.ndarray:
        while True:
            index = self.index
            if wanted and wanted[-1] >= len(index):
                raise FrameIndexError(
                    f"{self._source.name}: frame {wanted[-1]} was promised by the file, but "
                    f"only {len(index)} frames can be decoded; convert the file again"
                )
            try:
                return self._read(index, wanted)
            except BaseException as error:
                cause, cursor = error, self._cursor
                if cursor is not None and isinstance(error, (Contradiction, BadKeyFrame)):
                    try:
                        cursor.check_times()
                    except (Contradiction, WrongTimes) as found:
                        cause = found
                self._drop_cursor()  # it may have left out frames that nobody will read now
                self._recover(index, cause)

    def close(self) -> None:
        self._cursor = None
        self._video.close()

    def abandon(self) -> None:
        _abandoned.append((self._video, self._cursor))
        self._cursor = None

    def _read(self, index: FrameIndex, wanted: list[int]) -> np.ndarray:
        frames: np.ndarray | None = None
        times = frozenset(index.pts[wanted].tolist()) if wanted else frozenset()
        skip_until = self._skip_until(index, wanted)
        for position, rank in enumerate(wanted):
            cursor = self._cursor_for(index, rank)
            frame = cursor.advance_to(rank, times, skip_until)
            if frame.interlaced_frame and self._may_skip and self._codec == "h264":
                # A field may be a packet of its own, "not a reference" and needed all the same.
                raise Contradiction("interlaced")
            if frame.is_corrupt:
                logger.warning("%s: frame %d is damaged", self._source.name, rank)
            picture = self._convert(frame)
            if frames is None:
                frames = np.empty((len(wanted), *picture.shape), np.uint8)
            frames[position] = picture
            del frame  # see `Cursor.advance_to`
        if self._cursor is not None:
            self._cursor.check_times()
        if frames is None:
            return np.empty((0, *self.geometry.shown_size, 3), np.uint8)
        return frames

    def _skip_until(self, index: FrameIndex, wanted: list[int]) -> int | None:
        """Return up to what time unwanted frames that no other frame needs may stay undecoded.

        Frames after the last wanted one never do: reading may go on from there. Neither do any
        where the times have a gap: a frame may be lost, and then the decoder fills in from
        whatever it decoded last.
        """
        if not (self._may_skip and index.by_time and len(wanted)):
            return None
        key = index.key_before(wanted[0])
        start = int(index.key_ranks[key]) if key >= 0 else 0
        steps = np.diff(index.pts[min(start, wanted[0]) : wanted[-1] + _REORDERED + 1])
        if len(steps) and steps.max() > 1.5 * steps.min():
            return None
        return int(index.pts[wanted[-1]])

    def _recover(self, index: FrameIndex, error: BaseException) -> None:
        """Prepare to read again after an error, or raise what the caller should see."""
        name = self._source.name
        match error:
            case BadKeyFrame():
                self._bad_keys += 1
                few = self._bad_keys <= _MAX_BAD_KEYS
                self._index = index.without_key(error.key) if few else index.without_keys()
            case WrongTimes():
                logger.debug("%s: %s", name, error)
                if index.certain:  # decoded to exactly these: it passes over what disagrees
                    self._check_times = self._may_skip = False
                else:
                    self._index = self._index_from_frames()
                    self._refuse_nothing(self._index)
            case Contradiction():
                self._become_more_certain(index, error)
            case Damaged():
                raise VideoError(
                    f"{name}: frame {error.rank} cannot be decoded, the data before it is damaged; "
                    "copy or convert the file again"
                ) from None
            case _:
                raise error

    def _convert(self, frame: Any) -> np.ndarray:
        if self._geometry is not None:
            rgb = self._converter.convert(frame, self._geometry.stored_size)
        else:
            size = self._header_size
            if (frame.height, frame.width) != size:  # the size changes, or the header lies
                size = self._first_size()
            rgb = self._converter.convert(frame, size)
            # Side data keeps its frame alive: not that of the decoder, which would use others then.
            self._geometry = Geometry.of_frame(rgb, size)
        return self._geometry.upright(pixels_of(rgb))

    def _first_size(self) -> tuple[int, int]:
        with closing(open_video(self._source, threads=1)) as video:
            for packet in video.packets():
                for frame in video.decode(packet if packet.size else None):
                    return frame.height, frame.width
        return self._header_size

    # ---- placing the decoder

    def _cursor_for(self, index: FrameIndex, rank: int) -> Cursor:
        key = index.key_before(rank) if index.by_time else FROM_START
        key_rank = int(index.key_ranks[key]) if key >= 0 else 0
        cursor = self._cursor
        if cursor is not None and cursor.next_rank <= rank:
            if key_rank <= cursor.next_rank + _WORTH_A_SEEK:
                return cursor
            cursor.check_times()
        elif cursor is None and key <= 0 and not self._video.touched and key_rank == 0:
            key = FROM_START
        self._drop_cursor()
        self._cursor = self._place(index, key)
        return self._cursor

    def _drop_cursor(self) -> None:
        if self._cursor is not None:
            self._decoded_before += self._cursor.frames_decoded
            self._cursor = None

    def _place(self, index: FrameIndex, key: int) -> Cursor:
        """Return a cursor that starts at a key frame, or at the start of the file."""
        if key == FROM_START:
            if self._video.touched:
                self._reopen()
            return self._cursor_on(self._video.packets(), index, key)
        pts, dts = int(index.key_pts[key]), index.dts_of_key(key)
        for target in (pts, dts):
            packets = None if target is None else self._seek(target, pts, dts)
            if packets is not None:
                return self._cursor_on(packets, index, key)
        self._reopen()  # no way to jump in this file: run over the packets, decode from the key on
        packets = packets_from_key(self._video.packets(), pts, None)
        if packets is None:
            raise Contradiction("a key frame is gone")
        return self._cursor_on(packets, index, key)

    def _cursor_on(self, packets: Any, index: FrameIndex, key: int) -> Cursor:
        order: DisplayOrder | None = None
        if self._check_times and index.by_time:
            order = display_order(self._codec, self._video.stream.codec_context.extradata)
        return Cursor(self._video, packets, index, key, self._doubted, order)

    def _seek(self, target: int, pts: int, dts: int | None) -> Any:
        """Return the packets from a key frame on after a jump, or None if the jump missed it."""
        try:
            self._video.container.seek(target, stream=self._video.stream, backward=True)
            return packets_from_key(self._video.packets(), pts, dts)
        except av.error.FFmpegError:
            return None

    def _reopen(self) -> None:
        self._video.close()
        self._video = open_video(self._source, threads=self._threads)

    # ---- making an index

    def _become_more_certain(self, index: FrameIndex, found: Contradiction) -> None:
        logger.debug("%s: %s, indexing again", self._source.name, found)
        if self._may_skip:
            self._may_skip = False
        elif self._notes is None:
            self._index = self._index_from_packets()
        elif not index.certain:
            self._index = self._index_from_frames()
        elif len(index.key_pts):
            self._index = index.without_keys()
        elif index.by_time:
            self._index = index_of_frames([None] * len(index), None, index.time_base, "", self.fps)
        else:
            raise VideoError(
                f"{self._source.name}: decodes to other frames each time ({found}); "
                "convert the file again"
            )
        self._refuse_nothing(self._index)

    def _refuse_nothing(self, index: FrameIndex | None) -> None:
        if index is not None and not len(index):
            raise VideoError(
                f"{self._source.name}: the video stream has no frames that can be decoded; "
                "copy or convert the file again"
            )

    def _index_from_table(self) -> FrameIndex | None:
        stream, container = self._video.stream, self._video.container
        if "mp4" not in container.format.name or self._codec in _NOT_ONE_TO_ONE:
            return None
        if self._video.file is None:
            with self._source.open() as file:
                table = read_sample_table(file, stream.id)
        else:
            position = self._video.file.tell()
            table = read_sample_table(self._video.file, stream.id)
            self._video.file.seek(position)
        if table is None or len(table.pts) != stream.frames:
            return None
        return index_of_table(table, self._video.time_base)

    def _index_from_packets(self) -> FrameIndex:
        if self._video.touched:
            self._reopen()
        stream = self._video.stream
        packets = _until_cut(self._video.packets(), self._source.name)
        order = display_order(self._codec, stream.codec_context.extradata)
        self._notes = note_packets(packets, self._codec, order)
        if not self._notes.all_pts:
            return self._nothing()
        if not all(self._header_size):
            return self._index_from_frames()  # FFmpeg could not decode the first seconds
        reorders = self._codec in ("h264", "hevc") and stream.codec_context.has_b_frames
        if reorders and self._video.container.format.name == "avi":
            return self._index_from_frames()  # this container has no presentation times
        index, checks = index_of_packets(self._notes, self._video.time_base, self._codec)
        if index is None:
            return self._index_from_frames()
        if checks and len(index.key_pts) < 2:
            return self._index_from_frames()
        try:
            if "head" in checks:
                high = int(index.key_pts[1])
                decoded = self._decode_all(index, FROM_START, high)
                index = index.spliced(decoded, low=None, high=high)
            if "tail" in checks:
                # The last key frame may have pictures before it that were decoded after it.
                key = len(index.key_pts) - 2
                low = int(index.key_pts[key])
                index = index.spliced(self._decode_all(index, key, None), low=low, high=None)
        except (Contradiction, WrongTimes):
            return self._index_from_frames()
        return index

    def _nothing(self) -> FrameIndex:
        return index_of_frames([], None, self._video.time_base, self._codec, 25.0)

    def _decode_all(self, index: FrameIndex, key: int, high: int | None) -> list[int]:
        """Return the times of the frames that come out from a key frame on, up to a time."""
        cursor = self._place(index, key)
        low = int(index.key_pts[key]) if key >= 0 else None
        times = []
        while (frame := cursor.next_picture()) is not None:
            if frame.pts is None or (high is not None and frame.pts >= high):
                break
            if low is None or frame.pts >= low:
                times.append(int(frame.pts))
        self._decoded_before += cursor.frames_decoded
        return sorted(set(times))

    def _index_from_frames(self) -> FrameIndex:
        """Return the index of what comes out of the decoder when the whole file is decoded."""
        logger.info("%s: decoding the whole file once to count its frames", self._source.name)
        if self._video.touched:
            self._reopen()
        nothing = self._nothing()  # by_time is False: nothing is compared
        cursor = self._cursor_on(self._video.packets(), nothing, FROM_START)
        times: list[int | None] = []
        while (frame := cursor.next_picture()) is not None:
            times.append(frame.pts)
        self._decoded_before += cursor.frames_decoded
        rate = self._stated_rate() or 25.0
        index = index_of_frames(times, self._notes, self._video.time_base, self._codec, rate)
        last = self._notes.last_duration if self._notes is not None and index.by_time else 0
        return replace(index, last_duration=last) if last else index


# What a forked child inherited: closing it could wait for threads that only the parent has.
_abandoned: list[tuple[OpenVideo, Cursor | None]] = []


def _until_cut(packets: Any, name: str) -> Any:
    """Yield packets up to the end, or to where broken data stops the demuxer."""
    try:
        yield from packets
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        logger.warning("%s: ends early (%s)", name, describe_error(error))
