"""`Video`: exact frames by number, from every codec and container, and the facts about the file."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError, VideoError
from internvideo.video import FrameIndexError, Video
from video.clips import X265_QUIET, decode_in_order, encode, number_of, pictures, remux

# name -> arguments of `encode`
CODECS = {
    "h264.mp4": {},
    "h264-open.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}},
    "h264-open.mkv": {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}},
    "h264.ts": {},
    "h264.flv": {},
    "h264.avi": {},
    "h264.h264": {},
    "h264-refresh.mp4": {"options": {"intra-refresh": "1"}},
    "h264-interlaced.mp4": {"options": {"x264-params": "tff=1:bframes=3"}},
    "h264-444.mp4": {"pixels": "yuv444p"},
    "h264-odd.mp4": {"pixels": "yuv444p", "size": (47, 63)},
    "h264-10bit.mp4": {"pixels": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": X265_QUIET}},
    "hevc-10bit.mp4": {
        "codec": "libx265",
        "pixels": "yuv420p10le",
        "options": {"x265-params": f"{X265_QUIET}:open-gop=1:bframes=4:b-adapt=0"},
    },
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "5", "deadline": "realtime"}},
    "vp9-odd.webm": {"codec": "libvpx-vp9", "size": (47, 63), "options": {"cpu-used": "5"}},
    "av1.mp4": {"codec": "libsvtav1", "size": (64, 64), "options": {"preset": "12"}},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4.mp4": {"codec": "mpeg4", "b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "mpeg2.vob": {"codec": "mpeg2video", "b_frames": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "wmv2.wmv": {"codec": "wmv2"},
    "h263p.avi": {"codec": "h263p"},
    "ffv1.mkv": {"codec": "ffv1", "pixels": "yuv420p"},
    "prores.mov": {"codec": "prores_ks"},
    "png.mov": {"codec": "png"},
    "gif.gif": {"codec": "gif"},
    "apng.apng": {"codec": "apng"},
    "flashsv.flv": {"codec": "flashsv"},
}
# What these encoders are asked for is not what the 8-bit number rows survive.
UNREADABLE = {"h263p.avi", "gif.gif"}

REAL_CLIPS = sorted((Path(__file__).parents[3] / "shared" / "videos").glob("*.*"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory):
    """Return a function: name in CODECS -> (path, all frames decoded in order)."""
    folder = tmp_path_factory.mktemp("clips")

    @functools.cache
    def make(name: str) -> tuple[Path, np.ndarray]:
        arguments = dict(CODECS[name])
        path = encode(folder / name, arguments.pop("codec", "libx264"), **arguments)
        return path, decode_in_order(path)

    return make


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_by_number_is_that_of_decoding_in_order(clip, name: str) -> None:
    path, expected = clip(name)
    rng = np.random.default_rng(len(name))
    video = Video(path)
    assert len(video) == len(expected) == 40
    for number in rng.permutation(40):
        assert np.array_equal(video[int(number)].numpy(), expected[number]), number
    for _ in range(8):  # fresh readers, several frames at once
        wanted = np.sort(rng.choice(40, 5, replace=False))
        assert np.array_equal(Video(path).frames(wanted).numpy(), expected[wanted]), wanted
    assert np.array_equal(Video(path).frames(range(40)).numpy(), expected)


@pytest.mark.parametrize("name", sorted(CODECS.keys() - UNREADABLE))
def test_frame_number_i_is_the_ith_picture_that_was_encoded(clip, name: str) -> None:
    video = Video(clip(name)[0])
    assert [number_of(frame.numpy()) for frame in video.frames([0, 13, 26, 39])] == [0, 13, 26, 39]


@pytest.mark.parametrize("name", CODECS)
def test_facts(clip, name: str) -> None:
    path, expected = clip(name)
    video = Video(path)
    assert (video.height, video.width, video.rotation) == (*expected.shape[1:3], 0)
    assert video.fps == pytest.approx(25, rel=1e-3)
    assert video.duration == pytest.approx(1.6, abs=0.041)
    assert (video.name, video.path) == (name, path)
    codecs = {"refresh": "h264", "mpeg2": "mpeg2video", "h263p": "h263"}
    stem = name.partition(".")[0].partition("-")[0]
    assert video.codec == codecs.get(stem, stem)
    assert torch.allclose(
        video.timestamps(), torch.arange(40, dtype=torch.float64) / 25, atol=0.0011
    )
    assert video.timestamps([4, 0]).tolist() == pytest.approx([0.16, 0], abs=0.0011)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.integers(0, 39), max_size=8), min_size=1, max_size=3))
def test_any_order_and_repeats(clip, requests: list[list[int]]) -> None:
    path, expected = clip("h264-open.mp4")
    with Video(path) as video:
        for wanted in requests:
            frames = video.frames(wanted)
            assert frames.dtype == torch.uint8
            assert np.array_equal(frames.numpy(), expected[wanted])


def test_indexing_slices_and_iteration(clip) -> None:
    path, expected = clip("h264.mp4")
    video = Video(path)
    assert np.array_equal(video[-1].numpy(), expected[-1])
    assert np.array_equal(video[np.int64(3)].numpy(), expected[3])
    assert np.array_equal(video[30:4:-5].numpy(), expected[30:4:-5])
    assert np.array_equal(np.stack([frame.numpy() for frame in video]), expected)
    assert video.frames([]).shape == (0, 48, 64, 3)
    assert np.array_equal(video.frames(torch.tensor([2, 2])).numpy(), expected[[2, 2]])


def test_reading_on_does_not_decode_again(clip) -> None:
    video = Video(clip("h264-open.mp4")[0])
    for _ in video:
        pass
    assert video._reader.frames_decoded == 40
    for start in range(0, 40, 8):
        video.frames(range(start, start + 8))
    assert video._reader.frames_decoded == 80


def test_only_the_frames_from_the_key_frame_on_are_decoded(clip) -> None:
    video = Video(clip("h264.mp4")[0])  # key frames at 0, 12, 24, 36
    video.frames([30])
    assert video._reader.frames_decoded <= 7 + 4


@pytest.mark.parametrize("indices", [[40], [0, 99], [-1]])
def test_out_of_range(clip, indices: list[int]) -> None:
    video = Video(clip("h264.mp4")[0])
    with pytest.raises(
        FrameIndexError, match=r"h264.mp4: frame .* the video has 40 frames"
    ) as info:
        video.frames(indices)
    assert isinstance(info.value, IndexError)
    assert isinstance(info.value, VideoError)
    with pytest.raises(IndexError):
        video[40]
    with pytest.raises(IndexError):
        video[-41]


@pytest.mark.parametrize("indices", [[0.5], [[1, 2]], "12", [True, False]])
def test_indices_must_be_whole_numbers(clip, indices) -> None:
    with pytest.raises(VideoError, match="frame numbers must be a list of integers"):
        Video(clip("h264.mp4")[0]).frames(indices)


def test_uneven_times(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(1, 9, 40)
    times = np.cumsum(steps) - steps[0]
    for ending in ("mp4", "mkv", "ts"):
        path = encode(tmp_path / f"uneven.{ending}", pts=times.tolist(), rate=100)
        video, expected = Video(path), decode_in_order(path)
        for number in np.random.default_rng(1).permutation(40):
            assert np.array_equal(video[int(number)].numpy(), expected[number])
        assert np.allclose(video.timestamps().numpy(), times / 100, atol=0.0011)
        assert video.fps == pytest.approx(39 * 100 / times[-1], rel=0.05)


@pytest.mark.parametrize(
    ("degrees", "matrix"),
    [(0, (1, 0, 0, 1)), (90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))],
)
def test_rotation_is_applied(
    tmp_path: Path, degrees: int, matrix: tuple[int, int, int, int]
) -> None:
    path = encode(tmp_path / "turned.mp4", matrix=matrix, num_frames=5)
    video, stored = Video(path), decode_in_order(path)
    turned = np.rot90(stored, -degrees // 90, axes=(1, 2))
    assert np.array_equal(video.frames(range(5)).numpy(), turned)
    assert (video.height, video.width) == turned.shape[1:3]
    assert video.rotation == degrees
    assert Video(path).height == turned.shape[1]  # before any frame was asked for


@pytest.mark.parametrize(
    ("matrix", "show"),
    [
        ((-1, 0, 0, 1), lambda stored: stored[:, :, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[:, ::-1]),
        ((0, 1, 1, 0), lambda stored: stored.swapaxes(1, 2)),
        ((0, -1, -1, 0), lambda stored: stored[:, ::-1, ::-1].swapaxes(1, 2)),
    ],
)
def test_mirrored_video_is_shown_as_players_show_it(tmp_path: Path, matrix, show) -> None:
    path = encode(tmp_path / "mirrored.mp4", num_frames=5, matrix=matrix)
    assert np.array_equal(Video(path).frames(range(5)).numpy(), show(decode_in_order(path)))


def test_the_best_of_two_video_streams_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for height, width in ((32, 32), (48, 64)):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        streams[0].disposition, streams[1].disposition = 0, Disposition.default.value
        sound = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        for number, (small, large) in enumerate(
            zip(pictures(30, 32, 32), pictures(30), strict=True)
        ):
            for stream, picture in zip(streams, (small, large), strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            silence.pts = number * 1024
            container.mux(sound.encode(silence))
        for stream in (*streams, sound):
            container.mux(stream.encode(None))
    expected = decode_in_order(path, stream=1)
    video = Video(path)
    assert np.array_equal(video.frames(range(30)).numpy(), expected)
    assert np.array_equal(Video(path).frames([17, 3, 29]).numpy(), expected[[17, 3, 29]])


def test_frames_of_changing_size_come_in_the_first_size(tmp_path: Path) -> None:
    for name, size in (("a.ts", (48, 64)), ("b.ts", (96, 128))):
        encode(tmp_path / name, num_frames=20, size=size)
    later = remux(tmp_path / "b.ts", tmp_path / "later.ts", shift=90_000)
    path = tmp_path / "grows.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + later.read_bytes())
    video = Video(path)
    frames = video.frames(range(len(video)))
    assert tuple(frames.shape) == (40, 48, 64, 3)
    assert number_of(frames[35].numpy()) == 15
    assert np.array_equal(Video(path).frames([35])[0].numpy(), frames[35].numpy())


@pytest.mark.parametrize("threads", [0, 2])
def test_threads_change_nothing(clip, threads: int) -> None:
    for name in ("h264-open.mp4", "hevc-10bit.mp4", "vp9.webm"):
        path, expected = clip(name)
        video = Video(path, threads=threads)
        assert np.array_equal(
            video.frames([39, 0, 17, 18, 30]).numpy(), expected[[39, 0, 17, 18, 30]]
        )
        assert np.array_equal(video.frames(range(40)).numpy(), expected)


def test_reading_from_several_threads(clip) -> None:
    path, expected = clip("h264-open.mp4")
    video = Video(path)
    with ThreadPoolExecutor(4) as pool:
        numbers = np.random.default_rng(0).integers(0, 40, 60).tolist()
        for number, frame in zip(numbers, pool.map(video.__getitem__, numbers), strict=True):
            assert np.array_equal(frame.numpy(), expected[number])


def test_close_and_use_again(clip) -> None:
    path, expected = clip("h264.mp4")
    with Video(path) as video:
        video[5]
    assert video._reader is None
    assert np.array_equal(video[5].numpy(), expected[5])
    video.close()
    video.close()


def test_a_pickled_video_opens_the_file_anew(clip) -> None:
    path, expected = clip("h264.mp4")
    video = Video(path, threads=2, name="mine")
    video[20]
    copy = pickle.loads(pickle.dumps(video))
    assert (copy.name, copy._threads) == ("mine", 2)
    assert np.array_equal(copy.frames([20, 3]).numpy(), expected[[20, 3]])
    assert np.array_equal(video[21].numpy(), expected[21])


def _read_in_child(video: Video, numbers: list[int], results) -> None:
    results.put([number_of(video[number].numpy()) for number in numbers])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_and_its_parent_read_the_same_video(clip, threads: int) -> None:
    video = Video(clip("h264.mp4")[0], threads=threads)
    video[20]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    wanted = [21, 35, 2]
    children = [
        context.Process(target=_read_in_child, args=(video, wanted, results)) for _ in range(2)
    ]
    for child in children:
        child.start()
    assert [number_of(video[number].numpy()) for number in wanted] == wanted
    assert [results.get() for _ in children] == [wanted, wanted]
    for child in children:
        child.join(60)
        assert child.exitcode == 0


def test_a_child_forked_while_a_thread_reads_does_not_wait_for_it(clip) -> None:
    video = Video(clip("h264.mp4")[0])
    video[0]
    reading, done = threading.Event(), threading.Event()

    def hold() -> None:
        with video._lock:
            reading.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    reading.wait(60)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_read_in_child, args=(video, [7], results))
    child.start()
    child.join(60)
    done.set()
    holder.join()
    assert child.exitcode == 0
    assert results.get() == [7]


def test_many_videos_leave_no_open_files(clip) -> None:
    path, _ = clip("h264.mp4")
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("counts open files in /proc")
    Video(path)[0]
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        Video(path)[3]  # never closed by hand
    assert len(list(descriptors.iterdir())) <= before + 1


@pytest.mark.parametrize("options", [{"backend": "decord"}, {"threads": -1}, {"fps": 0}])
def test_impossible_options(clip, options: dict) -> None:
    with pytest.raises(ConfigError):
        Video(clip("h264.mp4")[0], **options)


@pytest.mark.parametrize("path", REAL_CLIPS, ids=lambda path: path.name)
def test_real_clips(path: Path) -> None:
    expected = decode_in_order(path)
    video = Video(path)
    assert len(video) == len(expected)
    for number in np.random.default_rng(0).integers(0, len(expected), 6):
        assert np.array_equal(video[int(number)].numpy(), expected[number])
    wanted = np.linspace(0, len(expected) - 1, 9).astype(int)
    assert np.array_equal(Video(path).frames(wanted).numpy(), expected[wanted])
