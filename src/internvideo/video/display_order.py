"""In what order the pictures of a stream are shown, as the stream itself says it.

Times in a container are the word of whoever wrote the file; without composition times (pts = dts)
or with the times of B frames mixed up they number the pictures wrongly. The headers of the pictures
tell the order that a decoder follows, and reading them costs microseconds a packet. Read here: the
picture order count of H.264, leading and trailing pictures of HEVC, picture types of MPEG-1, 2, 4.
In other codecs every packet gives the picture that is shown next.

Sources: ITU-T H.264 (7.3.2.1, 7.3.3, 8.2.1), ITU-T H.265 (table 7-1), ISO/IEC 13818-2 (6.2.3),
ISO/IEC 14496-2 (6.2.5).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from typing import NamedTuple, Protocol

__all__ = ["DisplayOrder", "display_order"]

# Profiles of H.264 whose parameter sets also give the chroma format and scaling lists.
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_SLICE_HEADER_BYTES, _PARAMETER_BYTES = 16, 512


class DisplayOrder(Protocol):
    """Compares the times of packets with the order of their pictures, from a key frame on."""

    def agrees(self, packet: bytes, pts: int) -> bool | None:
        """Return whether the picture of the next packet (in decoding order) may be shown at `pts`.

        None: the stream does not say it, or in a way that is not read here.
        """
        ...


def display_order(codec: str, extradata: bytes | None) -> DisplayOrder | None:
    """Return what compares the packets after a key frame; None where none is needed.

    Args:
        codec: FFmpeg's name of it.
        extradata: what the container holds for the decoder.
    """
    match codec:
        case "h264":
            return _H264(extradata or b"")
        case "hevc":
            return _Hevc(extradata or b"")
        case "mpeg4":
            return _Mpeg(b"\0\0\1\xb6", byte=4, shift=6, b_picture=2)
        case "mpeg1video" | "mpeg2video":
            return _Mpeg(b"\0\0\1\0", byte=5, shift=3, b_picture=3)
    return None


class _H264:
    """Pictures are shown in the order of their counts, which begin anew at IDR pictures."""

    def __init__(self, extradata: bytes) -> None:
        in_avcc = extradata[:1] == b"\1" and len(extradata) > 8
        self._length_size = (extradata[4] & 3) + 1 if in_avcc else 0
        # Only the first parameter set of an avcc is read here; others also come in the stream.
        sets = [8] if in_avcc else _nal_units(extradata, 0)
        self._layouts = {_SliceLayout.of(extradata[at:]) for at in sets if extradata[at] & 31 == 7}
        self._group = self._msb = self._decoded = 0
        self._lsb: int | None = None
        self._shown: list[tuple[int, int, int]] = []  # (group, count, pts), ascending

    def agrees(self, packet: bytes, pts: int) -> bool | None:
        for at in _nal_units(packet, self._length_size):
            kind = packet[at] & 31
            if kind == 7:
                self._layouts.add(_SliceLayout.of(packet[at : at + _PARAMETER_BYTES]))
            elif kind in (1, 5):
                count = self._count(packet[at : at + _SLICE_HEADER_BYTES], is_idr=kind == 5)
                if count is None:
                    return None
                entry, shown = (self._group, count, pts), self._shown
                place = bisect(shown, entry)
                shown.insert(place, entry)
                return (place == 0 or shown[place - 1][2] < pts) and (
                    place + 1 == len(shown) or shown[place + 1][2] > pts
                )
        return None

    def _count(self, header: bytes, *, is_idr: bool) -> int | None:
        if len(self._layouts) != 1:
            return None
        (layout,) = self._layouts
        if is_idr:
            self._group, self._msb, self._lsb = self._group + 1, 0, 0
        self._decoded += 1
        if layout.count_type == 2:  # shown in the order of decoding
            return self._decoded
        lsb = layout.count_of(header, is_idr=is_idr)
        if lsb is None:
            return None
        step = 0 if self._lsb is None else lsb - self._lsb
        full = 1 << layout.count_bits
        msb = self._msb + full * ((2 * step <= -full) - (2 * step > full))
        if header[0] & 0x60:  # only pictures that are a reference are counted on from
            self._msb, self._lsb = msb, lsb
        return msb + lsb


class _SliceLayout(NamedTuple):
    """What a sequence parameter set of H.264 says of the slice headers that refer to it."""

    count_type: int
    count_bits: int
    frame_bits: int
    has_plane: bool
    only_frames: bool

    @classmethod
    def of(cls, parameter_set: bytes) -> _SliceLayout:
        bits = _Bits(parameter_set[1:])
        profile = bits.read(8)
        bits.read(16)
        bits.golomb()
        has_plane = False
        if profile in _HIGH_PROFILES:
            chroma = bits.golomb()
            has_plane = chroma == 3 and bits.read(1) == 1
            bits.golomb()
            bits.golomb()
            bits.read(1)
            if bits.read(1):
                for number in range(12 if chroma == 3 else 8):
                    if bits.read(1):
                        bits.skip_scaling_list(16 if number < 6 else 64)
        frame_bits = bits.golomb() + 4
        count_type = bits.golomb()
        count_bits = bits.golomb() + 4 if count_type == 0 else 0
        if count_type != 0 or max(frame_bits, count_bits) > 16:
            return cls(count_type or -1, 0, 0, has_plane, only_frames=True)
        bits.golomb()
        bits.read(1)
        bits.golomb()
        bits.golomb()
        return cls(count_type, count_bits, frame_bits, has_plane, bits.read(1) == 1)

    def count_of(self, header: bytes, *, is_idr: bool) -> int | None:
        """Return the lower bits of the picture order count; None for a field, or another type."""
        if self.count_type != 0:
            return None
        if b"\0\0\3" in header:
            header = header.replace(b"\0\0\3", b"\0\0")
        value, left = int.from_bytes(header, "big"), 8 * len(header) - 8
        # First macroblock, type and parameter set: as many zeros lead as bits follow the first one.
        for _ in range(3):
            left = 2 * (value & ((1 << left) - 1)).bit_length() - left - 1
            if left <= 0:
                return None
        left -= self.frame_bits + 2 * self.has_plane + (not self.only_frames)
        if left <= 0 or (not self.only_frames and value >> left & 1):
            return None
        if is_idr:
            left = 2 * (value & ((1 << left) - 1)).bit_length() - left - 1
        left -= self.count_bits
        return None if left < 0 else value >> left & ((1 << self.count_bits) - 1)


class _Hevc:
    """Leading pictures are shown before the key frame that they follow, trailing ones after it.

    What lies between is not read: no picture of this codec is left undecoded, so that what the
    decoder gives shows it.
    """

    def __init__(self, extradata: bytes) -> None:
        in_hvcc = len(extradata) > 22 and (any(extradata[:2]) or extradata[2] > 1)
        self._length_size = (extradata[21] & 3) + 1 if in_hvcc else 0
        self._key: int | None = None

    def agrees(self, packet: bytes, pts: int) -> bool | None:
        for at in _nal_units(packet, self._length_size):
            kind = packet[at] >> 1 & 63
            if 16 <= kind <= 23:
                self._key = pts
                return True
            if kind < 10:
                return self._key is None or (pts < self._key) == (kind >= 6)
        return None


class _Mpeg:
    """B pictures are shown when they are decoded, others when the next of their kind is."""

    def __init__(self, start: bytes, *, byte: int, shift: int, b_picture: int) -> None:
        self._start, self._byte, self._shift, self._b_picture = start, byte, shift, b_picture
        self._last: int | None = None
        self._waiting: int | None = None

    def agrees(self, packet: bytes, pts: int) -> bool | None:
        at = packet.find(self._start)
        if at < 0 or at + self._byte >= len(packet):
            return None
        if self._waiting is not None and packet[at + self._byte] >> self._shift & 3 == (
            self._b_picture
        ):
            last, self._last = self._last, pts
            return (last is None or last < pts) and pts < self._waiting
        self._last, self._waiting = self._waiting, pts
        return self._last is None or self._last < pts


class _Bits:
    """Reads the bits of a header; beyond its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        if b"\0\0\3" in data:  # where the 3 only keeps start codes out
            data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        left = self._left = max(self._left - count, 0)
        return self._value >> left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return a number of the Exp-Golomb code; -1 where the data has ended."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        self._left = max(self._left - 2 * zeros - 1, 0)
        return (rest >> self._left) - 1

    def skip_scaling_list(self, size: int) -> None:
        scale = 8
        for _ in range(size):
            code = self.golomb()
            scale = (scale + (code + 1 >> 1 if code & 1 else -(code >> 1))) % 256
            if scale == 0:
                return


def _nal_units(data: bytes, length_size: int) -> Iterator[int]:
    """Yield where the units of a packet begin; of a byte stream where `length_size` is 0."""
    if length_size:
        at = length_size
        while at < len(data):
            yield at
            at += int.from_bytes(data[at - length_size : at], "big") + length_size
    else:
        at = data.find(b"\0\0\1") + 3
        while 3 <= at < len(data):
            yield at
            at = data.find(b"\0\0\1", at) + 3
