"""Sixteen frames at stride 4 out of a ten-second file: from path to pixels, as a user pays for it.

Every contestant opens the file, reads the frames and closes it, for the same random start points.
Equality is checked first: ours against a sequential PyAV decode bit for bit; the peers by their
mean difference in grey levels, since they convert colours with other rounding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from harness import Row, measure, parse_arguments, report

from internvideo.video import Video, write_video

NUM_FRAMES, STRIDE, FPS, SECONDS = 16, 4, 30, 10
FILES = {
    "340x256, GOP 30": (340, 256, 30),
    "340x256, GOP 250": (340, 256, 250),
    "1280x720, GOP 250": (1280, 720, 250),
}
LARGEST_DIFFERENCE = 3.0  # grey levels, mean over all pixels

Reader = Callable[[Path, list[int]], np.ndarray]


def ours(path: Path, indices: list[int]) -> np.ndarray:
    with Video(path) as video:
        return video.frames(indices).numpy()


def whole_file(path: Path, indices: list[int]) -> np.ndarray:
    """Decode and convert everything, then index."""
    import av

    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack([frames[index] for index in indices])


def decord(path: Path, indices: list[int]) -> np.ndarray:
    import decord as library

    return library.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy()


def opencv(path: Path, indices: list[int]) -> np.ndarray:
    """Position once, then grab; retrieve only what is wanted."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, indices[0])
    wanted, frames = set(indices), []
    for index in range(indices[0], indices[-1] + 1):
        capture.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def torchcodec(path: Path, indices: list[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return decoder.get_frames_at(indices).data.numpy()


def moving_picture(width: int, height: int) -> np.ndarray:
    """Return a textured picture that drifts, so that the codec has motion to predict."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 40, width // 8 + 80, 3), dtype=np.uint8)
    large = coarse.repeat(8, axis=0).repeat(8, axis=1)
    shifts = [(frame // 2, frame) for frame in range(FPS * SECONDS)]
    return np.stack([large[y : y + height, x : x + width] for y, x in shifts])


def usable_peers(path: Path) -> dict[str, Reader]:
    """Return the peers that are installed and can read the file."""
    peers: dict[str, Reader] = {}
    for reader in (decord, opencv, torchcodec):
        try:
            reader(path, [0, 1])
        except Exception as error:
            print(f"{reader.__name__} is left out: {type(error).__name__}")
        else:
            peers[reader.__name__] = reader
    return peers


def check_equal(path: Path, indices: list[int], peers: dict[str, Reader]) -> dict[str, float]:
    """Return each peer's mean difference from ours; stop if any result is not the same frames."""
    expected = whole_file(path, indices)
    mine = ours(path, indices)
    if not np.array_equal(mine, expected):
        raise SystemExit(f"{path.name}: our frames differ from a sequential decode")
    differences = {}
    for name, reader in peers.items():
        gap = np.abs(reader(path, indices).astype(np.int16) - expected.astype(np.int16)).mean()
        if gap > LARGEST_DIFFERENCE:
            raise SystemExit(f"{path.name}: {name} returns other frames (difference {gap:.2f})")
        differences[name] = float(gap)
    return differences


def compare(case: str, path: Path, *, repeats: int) -> list[Row]:
    """Return one row for each peer and one for reading the whole file."""
    rng = np.random.default_rng(1)
    last_start = FPS * SECONDS - (NUM_FRAMES - 1) * STRIDE
    starts = rng.integers(0, last_start, size=repeats + 1)
    clips = [[int(start) + STRIDE * i for i in range(NUM_FRAMES)] for start in starts]
    peers = usable_peers(path)
    gaps = check_equal(path, clips[0], peers)

    readers = {"ours": ours, **peers, "whole file": whole_file}
    turns = {name: iter(clips) for name in readers}
    contestants = {
        name: partial(lambda reader, turn: reader(path, next(turn)), reader, turns[name])
        for name, reader in readers.items()
    }
    times = measure(contestants, repeats=repeats)
    return [
        Row(
            case=case,
            ours=times["ours"],
            peer=times[name],
            peer_name=name,
            note=f"mean difference {gaps[name]:.2f}" if name in gaps else "",
        )
        for name in readers
        if name != "ours"
    ]


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (case, (width, height, gop)) in enumerate(FILES.items()):
            path = Path(folder) / f"{number}.mp4"
            write_video(path, moving_picture(width, height), fps=FPS, key_frame_interval=gop)
            rows += compare(case, path, repeats=7 if arguments.quick else 21)
    report("decode", rows)


if __name__ == "__main__":
    main()
