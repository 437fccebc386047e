"""Files as people have them: frame i is the i-th picture that is shown, or the file is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from internvideo.errors import VideoError
from internvideo.video import Video, find_videos
from internvideo.video.opening import expand_videos
from video.clips import X265_QUIET, decode_in_order, encode, pictures

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
NUM_FRAMES = 20


def case(name: str) -> Path:
    """Return the folder of a reported case; skip where the cases are not at hand."""
    if not (CASES / name).is_dir():
        pytest.skip(f"needs {CASES / name}")
    return CASES / name


def md5(frame: np.ndarray) -> str:
    return hashlib.md5(frame.tobytes()).hexdigest()


def assert_each_frame_alone(path: Path, expected: np.ndarray) -> None:
    with Video(path) as video:
        assert np.array_equal(video.frames(range(len(expected))).numpy(), expected)
        assert len(video) == len(expected)
    for number, frame in enumerate(expected):
        with Video(path) as video:  # knows nothing yet
            assert np.array_equal(video[number].numpy(), frame), number


# ---- times that do not follow the pictures

STREAMS = {
    "h264-plain": ("libx264", {"x264-params": "bframes=0"}),
    "h264": ("libx264", {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal"}),
    "h264-flat": ("libx264", {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none:open-gop=1"}),
    "hevc": ("libx265", {"x265-params": f"{X265_QUIET}:open-gop=1:bframes=4:b-adapt=0"}),
    "mpeg4": ("mpeg4", {}),
    "mpeg2video": ("mpeg2video", {}),
    "vp9": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
}
CONTAINERS = ("mp4", "mov", "mkv", "ts", "flv", "avi", "mxf")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: encode(
            folder / f"{name}.mkv",
            codec,
            num_frames=NUM_FRAMES,
            gop=8,
            pixels="yuv420p",
            b_frames=2 if codec.startswith("mpeg") else None,
            options=options,
        )
        for name, (codec, options) in STREAMS.items()
    }


def with_times(source: Path, target: Path, times: list[int | None]) -> bool:
    """Write a stream with other presentation times (in frames); False where none can be had."""
    try:
        with av.open(os.fspath(source)) as reader:
            template = reader.streams.video[0]
            packets = [packet for packet in reader.demux(template) if packet.size]
            with av.open(os.fspath(target), "w") as writer:
                stream = writer.add_stream_from_template(template)
                writer.start_encoding()
                for number, packet in enumerate(packets):
                    packet.stream = stream
                    packet.dts = 40 * (number - NUM_FRAMES)
                    packet.pts = None if times[number] is None else 40 * times[number]
                    packet.duration = 40
                    writer.mux(packet)
        with av.open(os.fspath(target)) as reader:
            return any(True for _ in reader.decode(video=0))
    except (av.error.FFmpegError, ValueError, IndexError):
        return False


def shown_at(source: Path) -> list[int]:
    """Return the place of each packet's picture among those that are shown."""
    with av.open(os.fspath(source)) as reader:
        pts = [packet.pts for packet in reader.demux(video=0) if packet.size]
    return np.argsort(np.argsort(pts)).tolist()


@st.composite
def lies(draw: st.DrawFn) -> tuple[str, list[int]]:
    """Draw how times are wrong: a kind, and a permutation of few or of all."""
    kind = draw(st.sampled_from(["true", "decoding", "swapped", "permuted", "equal", "missing"]))
    order = list(range(NUM_FRAMES))
    if kind == "permuted":
        order = draw(st.permutations(order))
    if kind == "swapped":
        at = draw(st.integers(0, NUM_FRAMES - 2))
        to = min(at + draw(st.integers(1, 3)), NUM_FRAMES - 1)
        order[at], order[to] = order[to], order[at]
    return kind, order


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stream=st.sampled_from(sorted(STREAMS)),
    container=st.sampled_from(CONTAINERS),
    lie=lies(),
    shift=st.sampled_from([0, 0, -7, 5]),
)
def test_every_frame_alone_whatever_the_times(
    streams: dict[str, Path],
    tmp_path: Path,
    stream: str,
    container: str,
    lie: tuple[str, list[int]],
    shift: int,
) -> None:
    kind, order = lie
    shown = shown_at(streams[stream])
    times: list[int | None] = [order[place] + shift for place in shown]
    if kind == "decoding":
        times = [number + shift for number in range(NUM_FRAMES)]
    if kind == "equal":
        times = [place // 2 * 2 + shift for place in shown]
    if kind == "missing":
        times = [None if place % 3 else place + shift for place in shown]
    path = tmp_path / f"clip.{container}"
    if with_times(streams[stream], path, times):
        assert_each_frame_alone(path, decode_in_order(path))


def test_decoding_times_in_mp4_of_the_reported_clip() -> None:
    folder = case("07-pts-equals-dts-mp4")
    expected = json.loads((folder / "expected.json").read_text())["rgb24_md5"]
    for number, right in enumerate(expected):
        with Video(folder / "clip.mp4") as video:
            assert md5(video[number].numpy()) == right, number
    assert len(Video(folder / "clip.mp4")) == len(expected)


@pytest.mark.parametrize("container", CONTAINERS[:5])
def test_decoding_times_for_presentation_times(
    streams: dict[str, Path], tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"clip.{container}"
    assert with_times(streams["h264"], path, list(range(NUM_FRAMES)))
    assert_each_frame_alone(path, decode_in_order(path))


def test_true_times_are_believed(streams: dict[str, Path], tmp_path: Path) -> None:
    for name in STREAMS.keys() - {"vp9"}:
        path = tmp_path / f"{name}.mp4"
        assert with_times(streams[name], path, list(shown_at(streams[name])))
        video = Video(path)
        video[18]
        assert not video._reader.index.certain, name  # the file was not decoded as a whole
        assert video._reader.frames_decoded < NUM_FRAMES


# ---- what decoders and libraries stumble over


def test_spatial_video_shows_its_base_view() -> None:
    folder = case("02-spatial-mvhevc")
    expected = json.loads((folder / "expected.json").read_text())
    with Video(folder / "spatial.mp4") as video:
        assert [md5(frame.numpy()) for frame in video] == expected["rgb24_md5"]
        assert (video.height, video.width) == (expected["height"], expected["width"])
    assert md5(Video(folder / "spatial.mp4")[7].numpy()) == expected["rgb24_md5"][7]


class _SideDataWithoutName:
    """A decoded picture of which PyAV has no name for some of the side data."""

    def __init__(self, rotation: int) -> None:
        self.rotation = rotation

    @property
    def side_data(self) -> None:
        raise ValueError("29 is not a valid Type")


@pytest.mark.parametrize(
    ("counterclockwise", "clockwise"), [(0, 0), (-90, 90), (180, 180), (90, 270)]
)
def test_side_data_without_a_name_leaves_the_rotation(counterclockwise, clockwise) -> None:
    from internvideo.video.picture import Geometry

    geometry = Geometry.of_frame(_SideDataWithoutName(counterclockwise), (4, 6))
    assert geometry.rotation == clockwise
    stored = np.arange(72).reshape(4, 6, 3)
    assert np.array_equal(geometry.upright(stored), np.rot90(stored, -clockwise // 90))


@pytest.mark.parametrize(
    "error",
    [ValueError("29 is not a valid Type"), IndexError("tuple index out of range"), MemoryError(),
     UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), RuntimeError("two\nlines"),
     av.error.BugError(1, "Internal bug"), KeyError("x"), AssertionError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_decoder_raises_is_an_error_of_that_file(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with Video(streams["h264"]) as video:
        first = video[0]
        with monkeypatch.context() as patched:
            patched.setattr("internvideo.video.pyav_backend.PictureConverter.convert", fail)
            with pytest.raises(VideoError, match=r"^h264\.mkv: ") as info:
                video[3]
        assert "\n" not in str(info.value)
        assert info.value.__cause__ is error
        assert torch.equal(video[0], first)  # opened anew
    with monkeypatch.context() as patched:
        patched.setattr("av.open", fail)
        for question in (len, lambda video: video.fps, lambda video: video.timestamps()):
            with pytest.raises(VideoError, match=r"^h264\.mkv: "):
                question(Video(streams["h264"]))


def _flipped(folder: Path, tmp_path: Path) -> Path:
    """Write the damaged file that a case describes."""
    described = json.loads((folder / "flips.json").read_text())
    source = (folder / described["source"]).resolve()
    if not source.is_file():
        pytest.skip(f"needs {source}")
    data = bytearray(source.read_bytes())
    for offset, bits in described["xor"]:
        data[offset] ^= bits
    path = tmp_path / f"damaged{source.suffix}"
    path.write_bytes(data)
    return path


def test_damaged_key_frame_flags(tmp_path: Path) -> None:
    path = _flipped(case("26-damaged-key-frame-flags"), tmp_path)
    with Video(path) as video:
        assert len(video)
        assert len(video.frames([0, 13, 38])) == 3


def test_a_damaged_picture_is_the_same_alone_and_with_others(tmp_path: Path) -> None:
    path = _flipped(case("27-damaged-picture-alone"), tmp_path)
    together = Video(path).frames(range(len(Video(path))))
    for wanted in ([29], [0, 10, 29], [7, 20, 23, 25], [19, 20, 27]):
        assert torch.equal(Video(path).frames(wanted), together[wanted]), wanted


@pytest.mark.parametrize("seed", range(4))
def test_damage_within_one_group_of_pictures(tmp_path: Path, seed: int) -> None:
    codec, options = STREAMS["hevc"]
    path = encode(tmp_path / "clip.mp4", codec, num_frames=NUM_FRAMES, gop=99, options=options)
    data = bytearray(path.read_bytes())
    media = data.index(b"mdat") + 2500  # behind the parameter sets and the first picture
    for place in np.random.default_rng(seed).integers(media, data.index(b"moov") - 8, 4):
        data[place] ^= 16
    try:
        together = Video(bytes(data)).frames(range(len(Video(bytes(data)))))
    except VideoError:
        return
    for wanted in ([len(together) - 1], [0, 9, len(together) - 1], [7, 12], [13]):
        assert torch.equal(Video(bytes(data)).frames(wanted), together[wanted]), wanted


# ---- images


def test_the_reported_animated_webp() -> None:
    with Video(case("20-animated-webp") / "anim.webp") as video:
        assert tuple(video.frames(range(10)).shape) == (10, 48, 64, 3)
        assert len(video) == 10
        assert (video.fps, video.duration) == (10, 1)


def test_animated_webp(tmp_path: Path) -> None:
    path = tmp_path / "sticker.webp"
    drawn = list(pictures(5))
    images = [Image.fromarray(picture) for picture in drawn]
    durations = [100, 50, 200, 100, 50]
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True, duration=durations)
    for source in (path, path.read_bytes()):
        with Video(source) as video:
            assert np.array_equal(video.frames([4, 0, 3]).numpy(), np.stack(drawn)[[4, 0, 3]])
            assert video.timestamps().tolist() == pytest.approx([0, 0.1, 0.15, 0.35, 0.45])
            assert (video.duration, video.fps) == pytest.approx((0.5, 10))
            assert (video.height, video.width, video.codec) == (48, 64, "images")
    images[0].save(tmp_path / "still.webp")
    assert find_videos(tmp_path) == [path]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_still_images_are_shown_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    (picture,) = pictures(1)
    stored = Image.fromarray(picture)
    path = tmp_path / f"still.{ending}"
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(
        ending, {}
    )
    stored.save(path, exif=exif, **options)
    turned = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1],
        5: picture.swapaxes(0, 1), 6: np.rot90(picture, -1),
        7: picture.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(picture),
    }[orientation]  # fmt: skip
    with Video(path) as video:
        shown = video[0].numpy().astype(int)
        assert len(video) == 1
    assert shown.shape == turned.shape
    assert np.abs(shown - turned).mean() < (1 if ending == "jpg" else 1e-9)


# ---- names and places


def test_only_a_home_is_a_home(
    streams: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = ["~ rain.mkv", "~temporary.mkv", "~", "~root", "a::b.mkv", "nobody~/c.mkv", "~x/d.mkv"]
    for name in [*names, "home/e.mkv", "home/film/f.mkv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(streams["mpeg4"], tmp_path / name)
    for name in names:
        assert len(Video(name)) == NUM_FRAMES, name
        assert len(Video(Path(name))) == NUM_FRAMES, name
        assert find_videos(name) == [Path(name)]
    assert len(Video("~/e.mkv")) == NUM_FRAMES
    assert find_videos("~/film") == [tmp_path / "home/film/f.mkv"]
    assert {"~ rain.mkv", "~temporary.mkv", "a::b.mkv"} <= {p.name for p in find_videos(".")}
    videos, failures = expand_videos([".", "~ rain.mkv"])
    assert not failures
    assert videos.count("~ rain.mkv") == 1
    with pytest.raises(VideoError, match=r"no-such-user-9.*no such file"):
        Video("~no-such-user-9/clip.mp4")


def test_dead_links_and_pipes_are_named_at_once(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.mp4", tmp_path / "pipe.mp4"
    link.symlink_to("nowhere.mp4")
    os.mkfifo(pipe)
    for source, reason in ((link, r"a link to nowhere\.mp4, which is not there"), (pipe, "a pipe")):
        with pytest.raises(VideoError, match=rf"{source.name}: {reason}"):
            Video(source)
    assert find_videos(tmp_path) == [link, pipe]  # whoever opens them names them


def test_sound_with_a_cover_picture() -> None:
    with pytest.raises(VideoError, match=r"audio_cover\.m4a: .*only sound and a cover picture"):
        len(Video(case("25-small-messages") / "audio_cover.m4a"))
