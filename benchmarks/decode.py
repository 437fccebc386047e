"""Sixteen frames at stride 4 from a random place of a ten-second h264 file, against other readers.

Every contestant is given a path and must return the frames; opening and indexing the file is part
of the time. All run with one thread, in one process, in turns, on the same random places. Before
the clock starts, the frames are compared: ours must equal decoding the file in order with PyAV bit
for bit; for the others the largest mean difference over the places is printed (their conversion
from YUV may round otherwise, and a reader that misses the place shows at once).

Run: python benchmarks/decode.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from harness import Row, measure, parse_arguments, report

NUM_FRAMES, FPS = 300, 30
NUM_WANTED, STRIDE = 16, 4
Reader = Callable[[str, list[int]], np.ndarray]


def scene(height: int, width: int) -> Iterator[np.ndarray]:
    """Yield a camera moving over a textured ground, an object moving on it, and sensor noise."""
    from PIL import Image

    rng = np.random.default_rng(0)
    grain = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(grain).resize((2 * width, 2 * height), Image.BICUBIC))
    side = height // 3
    item = np.asarray(Image.fromarray(grain[: side // 8, : side // 8]).resize((side, side)))
    for number in range(NUM_FRAMES):
        x = int((np.sin(number / 30) + 1) / 2 * (width - 2))
        y = int((np.cos(number / 41) + 1) / 2 * (height - 2))
        frame = ground[y : y + height, x : x + width].astype(np.int16)
        top = int((np.sin(number / 9) + 1) / 2 * (height - side))
        left = int((np.cos(number / 13) + 1) / 2 * (width - side))
        frame[top : top + side, left : left + side] = item
        frame += rng.integers(-6, 6, frame.shape, dtype=np.int16)
        yield frame.clip(0, 255).astype(np.uint8)


def ours(path: str, wanted: list[int]) -> np.ndarray:
    from internvideo.video import Video

    with Video(path) as video:
        return video.frames(wanted).numpy()


def whole_file(path: str, wanted: list[int]) -> np.ndarray:
    """Read all frames into one array, as `torchvision.io.read_video` did, then index it."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    return frames[wanted]


def decord_reader(path: str, wanted: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(wanted).asnumpy()


def opencv_reader(path: str, wanted: list[int]) -> np.ndarray:
    """Set the position once, then grab every frame and retrieve the wanted ones."""
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_POS_FRAMES, wanted[0])
    chosen, frames = set(wanted), []
    for number in range(wanted[0], wanted[-1] + 1):
        capture.grab()
        if number in chosen:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def torchcodec_reader(path: str, wanted: list[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
    return decoder.get_frames_at(wanted).data.numpy()


def available_peers(path: str) -> dict[str, Reader]:
    """Return the readers that work here, and say which do not."""
    candidates: dict[str, Reader] = {
        "decord": decord_reader,
        "opencv": opencv_reader,
        "torchcodec": torchcodec_reader,
        "whole file": whole_file,
    }
    working = {}
    for name, read in candidates.items():
        try:
            read(path, [0, STRIDE])
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            print(f"not compared with {name}: {reason[0]}")
        else:
            working[name] = read
    return working


def places(seed: int) -> Iterator[list[int]]:
    """Yield the same random clips for every contestant."""
    rng = np.random.default_rng(seed)
    span = (NUM_WANTED - 1) * STRIDE
    while True:
        start = int(rng.integers(NUM_FRAMES - span))
        yield list(range(start, start + span + 1, STRIDE))


def differences(path: str, peers: dict[str, Reader], *, num_places: int) -> dict[str, float]:
    """Return each peer's largest mean difference from ours, after checking ours to be exact.

    Raises:
        SystemExit: our frames are not those of decoding in order.
    """
    worst = dict.fromkeys(peers, 0.0)
    for wanted, _ in zip(places(1), range(num_places), strict=False):
        mine = ours(path, wanted)
        if not np.array_equal(mine, whole_file(path, wanted)):
            raise SystemExit(f"frames {wanted} of {path} differ from decoding in order")
        for name, read in peers.items():
            apart = np.abs(read(path, wanted).astype(np.int16) - mine).mean()
            worst[name] = max(worst[name], float(apart))
    return worst


def compare(case: str, path: str, *, repeats: int, num_places: int) -> list[Row]:
    peers = available_peers(path)
    apart = differences(path, peers, num_places=num_places)

    def in_turn(read: Reader) -> Callable[[], object]:
        clips = places(2)
        return lambda: read(path, next(clips))

    times = measure(
        {name: in_turn(read) for name, read in {"ours": ours, **peers}.items()}, repeats=repeats
    )
    return [
        Row(
            case=case,
            ours=times["ours"],
            peer=times[name],
            peer_name=name,
            note=f"mean difference <= {apart[name]:.3f}",
        )
        for name in peers
    ]


def main() -> None:
    arguments = parse_arguments(__doc__.splitlines()[0])
    import cv2
    import torch

    from internvideo.video import write_video

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    repeats, num_places = (7, 2) if arguments.quick else (21, 4)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [(256, 340, 30), (256, 340, 250), (720, 1280, 250)]
        for number, (height, width, interval) in enumerate(cases):
            path = Path(folder) / f"{number}.mp4"
            write_video(
                path, scene(height, width), fps=FPS, quality=23, key_frame_interval=interval
            )
            case = f"{width}x{height}, GOP {interval}"
            rows += compare(case, str(path), repeats=repeats, num_places=num_places)
    report("decode", rows)


if __name__ == "__main__":
    main()
