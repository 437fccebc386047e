"""Where the number of a frame is hard to know: edits, cuts, damage, and files that lie."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from internvideo.errors import VideoError
from internvideo.video import FrameIndexError, Video
from internvideo.video.mp4_index import read_sample_table
from internvideo.video.pyav_backend import PyAVReader
from internvideo.video.sources import resolve_source
from video.clips import X265_QUIET, decode_in_order, encode, number_of, remux

OPEN = {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:b-adapt=0"}
HEVC = {"x265-params": f"{X265_QUIET}:open-gop=1:bframes=4:b-adapt=0"}


def _reader(path: Path) -> PyAVReader:
    return PyAVReader(resolve_source(path), threads=1)


def _decode_what_can_be(path: Path) -> np.ndarray:
    """Return what one decoder thread gives in order, passing over packets that it refuses."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        try:
            for packet in container.demux(stream):
                try:
                    frames += [f.to_ndarray(format="rgb24") for f in packet.decode()]
                except av.error.InvalidDataError:
                    continue
        except av.error.InvalidDataError:
            pass
    return np.stack(frames)


def _assert_equal_in_any_order(path: Path, expected: np.ndarray) -> Video:
    video = Video(path)
    assert len(video) == len(expected)
    for number in np.random.default_rng(0).permutation(len(expected)):
        assert np.array_equal(video[int(number)].numpy(), expected[number]), number
    for number in np.random.default_rng(1).choice(len(expected), min(8, len(expected)), False):
        assert np.array_equal(Video(path)[int(number)].numpy(), expected[number]), number
    return video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sources")
    encode(made / "open.mp4", num_frames=50, options=OPEN)
    encode(made / "hevc.mp4", "libx265", num_frames=50, options=HEVC)
    remux(made / "open.mp4", made / "front.mp4", options={"movflags": "faststart"})
    for ending in ("mkv", "ts"):
        remux(made / "open.mp4", made / f"open.{ending}")
    encode(made / "mpeg4.avi", "mpeg4", num_frames=50, b_frames=2)
    return made


# ---- the sample table of mp4 files


def test_the_table_of_a_plain_mp4_replaces_the_walk_through_its_packets(folder: Path) -> None:
    with av.open(str(folder / "open.mp4")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        with (folder / "open.mp4").open("rb") as file:
            table = read_sample_table(file, stream.id)
    assert table is not None
    assert table.pts.tolist() == [packet.pts for packet in packets]
    assert table.is_key.tolist() == [packet.is_keyframe for packet in packets]
    assert table.last_duration == packets[0].duration
    reader = _reader(folder / "open.mp4")
    reader.read([20])
    assert reader._notes is None


@pytest.mark.parametrize(
    ("options", "shift"),
    [
        pytest.param({"movflags": "frag_keyframe+empty_moov"}, 0, id="fragments"),
        pytest.param({"movflags": "negative_cts_offsets"}, 0, id="negative offsets"),
        pytest.param({"use_editlist": "0"}, 0, id="no edit list"),
        pytest.param({}, 25_600, id="starts late"),
        pytest.param({}, -7 * 512, id="edit cuts into a group"),
        pytest.param({}, -20 * 512, id="edit cuts groups away"),
    ],
)
def test_edit_lists_and_fragments(folder: Path, tmp_path: Path, options: dict, shift: int) -> None:
    path = remux(folder / "open.mp4", tmp_path / "edited.mp4", options=options, shift=shift)
    expected = decode_in_order(path)
    assert len(expected) == (50 if shift >= 0 else 50 + shift // 512)
    video = _assert_equal_in_any_order(path, expected)
    assert video.timestamps()[0] == 0
    assert video.duration == pytest.approx(len(expected) / 25)


def test_a_table_that_promises_other_times_is_not_believed(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "open.mp4").read_bytes())
    expected = decode_in_order(folder / "open.mp4")
    # An edit that starts one frame later: FFmpeg drops a frame, which the table reader must see.
    place = data.index(b"elst") + 12
    length, start = struct.unpack_from(">Ii", data, place)
    struct.pack_into(">Ii", data, place, length, start + 512)
    path = tmp_path / "later.mp4"
    path.write_bytes(data)
    assert len(decode_in_order(path)) == len(expected) - 1
    _assert_equal_in_any_order(path, decode_in_order(path))


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)
)
def test_a_damaged_table_never_crashes_the_reader(
    folder: Path, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray((folder / "front.mp4").read_bytes())
    start, end = data.index(b"moov"), data.index(b"mdat")
    for where, what in changes:
        place = start + int(where * (end - start - len(what)))
        data[place : place + len(what)] = what
    table = read_sample_table(io.BytesIO(bytes(data)), 1)
    assert table is None or len(table.pts) == len(table.is_key) > 0


# ---- files cut at the start


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("first", [1, 5, 12, 13, 17])
@pytest.mark.parametrize("source", ["open", "hevc"])
def test_cut_at_the_start(
    folder: Path, tmp_path: Path, source: str, first: int, ending: str
) -> None:
    path = remux(folder / f"{source}.mp4", tmp_path / f"cut.{ending}", keep=slice(first, None))
    expected = _decode_what_can_be(path)
    assert 20 < len(expected) < 50
    _assert_equal_in_any_order(path, expected)


def test_lost_packets(folder: Path, tmp_path: Path) -> None:
    path = remux(folder / "open.mp4", tmp_path / "lossy.mkv", drop=frozenset({5, 9, 30}))
    _assert_equal_in_any_order(path, _decode_what_can_be(path))


# ---- files cut at the end


@pytest.mark.parametrize("name", ["front.mp4", "open.mkv", "open.ts", "mpeg4.avi"])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.95, 0.999])
def test_cut_at_the_end(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    expected = _decode_what_can_be(path)
    video = _assert_equal_in_any_order(path, expected)
    with pytest.raises(FrameIndexError, match=f"has {len(expected)} frames"):
        video.frames([len(expected)])


# ---- damage in the middle


def _damage(data: bytes, seed: int) -> bytes:
    changed = bytearray(data)
    rng = np.random.default_rng(seed)
    for place in rng.integers(len(data) // 3, len(data) * 4 // 5, 6):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


@pytest.mark.parametrize("name", ["front.mp4", "open.mkv", "open.ts", "mpeg4.avi"])
def test_damaged_data_gives_frames_or_a_clear_error(
    folder: Path, tmp_path: Path, name: str
) -> None:
    data = (folder / name).read_bytes()
    path = tmp_path / name
    for seed in range(12):
        path.write_bytes(_damage(data, seed))
        reasons, shapes = [], set()
        try:
            video = Video(path)
            for number in range(0, len(video), 7):
                try:
                    shapes.add(tuple(video[number].shape))
                except VideoError as error:
                    reasons.append(str(error))
        except VideoError as error:
            reasons.append(str(error))
        assert shapes <= {(48, 64, 3)}
        assert all(reason.startswith(name) and "\n" not in reason for reason in reasons)
        assert shapes or reasons


def test_a_frame_behind_destroyed_data_is_an_error_and_the_others_are_read(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hole.mp4"
    data = bytearray((folder / "front.mp4").read_bytes())
    with av.open(str(folder / "front.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    lost = next(n for n, p in enumerate(packets) if n > 13 and not p.is_keyframe)
    data[packets[lost].pos : packets[lost].pos + packets[lost].size] = b"\xff" * packets[lost].size
    path.write_bytes(data)
    number = packets[lost].pts // packets[lost].duration
    video = Video(path)
    assert len(video) == 50
    with pytest.raises(VideoError, match=f"frame {number} cannot be decoded"):
        video.frames([number])
    assert number_of(video[3].numpy()) == 3
    assert number_of(video[49].numpy()) == 49


# ---- streams in which packets and frames are not the same thing


def _packed(folder: Path, path: Path) -> Path:
    """Write MPEG-4 as old DivX files have it: P and B in one packet, then a place-holder."""
    source = encode(folder / "bframes.avi", "mpeg4", num_frames=31, b_frames=1)
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        template = reader.streams.video[0]
        packets = [bytes(packet) for packet in reader.demux(template) if packet.size]
        kinds = [packet[packet.index(b"\0\0\1\xb6") + 4] >> 6 for packet in packets]
        stream = writer.add_stream_from_template(template)
        packed = stream.codec_context.extradata + b"\0\0\1\xb2DivX503b1393p"
        stream.codec_context.extradata = packed
        number = 0
        chunks: list[tuple[bytes, bool]] = []
        while number < len(packets):
            if number + 1 < len(packets) and kinds[number] != 2 and kinds[number + 1] == 2:
                chunks.append((packets[number] + packets[number + 1], kinds[number] == 0))
                chunks.append((b"\0\0\1\xb6\x51\xcf", False))
                number += 2
            else:
                chunks.append((packets[number], kinds[number] == 0))
                number += 1
        for position, (chunk, is_key) in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.pts = packet.dts = position
            packet.time_base = template.time_base
            packet.is_keyframe = is_key
            packet.stream = stream
            writer.mux(packet)
    return path


def test_packed_b_frames_in_avi(tmp_path: Path) -> None:
    path = _packed(tmp_path, tmp_path / "packed.avi")
    expected = decode_in_order(path)
    assert len(expected) >= 30
    _assert_equal_in_any_order(path, expected)


def test_an_index_that_the_decoder_contradicts_is_replaced(folder: Path) -> None:
    expected = decode_in_order(folder / "open.mp4")
    for stretched in (2, 3):
        reader = _reader(folder / "open.mp4")
        wrong = reader.index
        between = wrong.pts[:-1] + np.diff(wrong.pts) // stretched
        object.__setattr__(wrong, "pts", np.sort(np.concatenate([wrong.pts, between])))
        object.__setattr__(wrong, "key_ranks", np.searchsorted(wrong.pts, wrong.key_pts))
        frames = reader.read([10, 30])
        assert reader.num_frames == 50
        assert np.array_equal(frames, expected[[10, 30]])
        with pytest.raises(FrameIndexError, match="promised by the file"):
            reader.read([60])


def test_key_frames_that_are_none_are_given_up(folder: Path) -> None:
    expected = decode_in_order(folder / "open.mp4")
    reader = _reader(folder / "open.mp4")
    index = reader.index
    lying = index.pts[[20, 26, 31]]  # the decoder cannot start at any of these
    object.__setattr__(index, "key_pts", np.sort(np.concatenate([index.key_pts, lying])))
    object.__setattr__(index, "key_dts", np.full(len(index.key_pts), np.iinfo(np.int64).min))
    object.__setattr__(index, "key_ranks", np.searchsorted(index.pts, index.key_pts))
    for number in (21, 27, 40, 33):
        assert np.array_equal(reader.read([number])[0], expected[number])
