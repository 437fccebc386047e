"""Features of untrimmed videos beside the plain loop of the published scripts.

The loop takes each window for itself: ask a decoder for its 16 frames, resize them as floats, run
the model on one clip. Ours decodes and resizes each frame once, and fills batches. Both give the
same rows (compared first). With a model the time of its products is common to both, and the ratio
falls to what is left; the rows without a model are what a decoding worker does beside a GPU.

`--hours 2` writes a file of that length and shows the memory of the process while its features are
extracted: the means of four quarters of the way.

Run: python benchmarks/extraction.py [--quick] [--hours 2]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command does

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import decord
import numpy as np
import torch
import torch.nn.functional as F
from decode import FPS, scene
from harness import Row, measure, report
from torch import Tensor

from internvideo.data.feature_writing import FeatureFolder
from internvideo.evaluation.extraction import PRESETS, Extraction, FeatureExtractor, extract
from internvideo.models.classifier import SIZES, VideoClassifier
from internvideo.video import Video, write_video
from internvideo.video.preprocessing import PRESETS as PROTOCOLS
from internvideo.video.windows import Spans, sliding_windows
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.load import load_model

WINDOW = 16
SHORT = 64


def published_windows(path: Path, stride: int, side: int):
    """Yield the windows as the published script makes them."""
    reader = decord.VideoReader(str(path), num_threads=1)
    for start in range(0, len(reader) - WINDOW + 1, stride):
        frames = torch.from_numpy(reader.get_batch(range(start, start + WINDOW)).asnumpy())
        clip = frames.permute(0, 3, 1, 2).float() / 255
        yield F.interpolate(clip, size=(side, side), mode="bilinear").transpose(0, 1)


def our_windows(path: Path, stride: int, side: int):
    protocol = replace(
        Extraction(pixels="published").protocol(PROTOCOLS["videomae-validation"]),
        resize_size=side, crop_size=side,
    )  # fmt: skip
    with Video(path) as video:
        plan = Spans(len(video), WINDOW, stride, covers_end=False)
        for window in sliding_windows(video, protocol, plan):
            yield window.clip


def count(windows) -> int:
    return sum(1 for _ in windows)


@torch.no_grad()
def published_rows(network: VideoClassifier, path: Path, stride: int) -> Tensor:
    side = network.config.image_size
    rows = [network.pooled(clip[None])[0] for clip in published_windows(path, stride, side)]
    return torch.stack(rows)


def our_rows(model: LoadedModel, path: Path, stride: int, batch_size: int) -> Tensor:
    extractor = FeatureExtractor(model, replace(PRESETS["thumos14"], stride=stride))
    with tempfile.TemporaryDirectory() as folder:
        [told] = extract(extractor, [path], FeatureFolder(Path(folder)), batch_size=batch_size)
        return torch.from_numpy(np.load(told.path))


def rows_of(path: Path, *, quick: bool) -> list[Row]:
    with Video(path) as video:
        frames = len(video)
    repeats = 1 if quick else 3
    rows = []
    for stride in (4, 16):
        for side in (224, 32):
            times = measure(
                {
                    "ours": lambda s=stride, p=side: count(our_windows(path, s, p)),
                    "loop": lambda s=stride, p=side: count(published_windows(path, s, p)),
                },
                repeats=repeats,
            )
            rows.append(
                Row(
                    case=f"windows 16/{stride}, {side} pixels, no model",
                    ours=times["ours"],
                    peer=times["loop"],
                    peer_name="published loop",
                    note=f"{frames / times['ours']:.0f} frames a core-second",
                )
            )
    models = {"videomae-nano": (load_model("videomae-nano"), path, 8)}
    if not quick:
        short = path.with_name("short.mp4")  # a window of this model takes as long as 500 frames
        write_video(short, list(scene(240, 320))[:SHORT], fps=FPS)
        torch.manual_seed(0)
        record = Record(preprocessing=PROTOCOLS["videomae-validation"])
        models["VideoMAE-S"] = LoadedModel(VideoClassifier(SIZES["S"]).eval(), record), short, 1
    for name, (model, seen, batch) in models.items():
        with Video(seen) as video:
            frames = len(video)
        ours, theirs = our_rows(model, seen, 4, batch), published_rows(model.model, seen, 4)
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        print(f"{name}: rows differ by {difference:.1e} of the largest")
        assert difference < 0.05, "the two do not compute the same"
        times = measure(
            {
                "ours": lambda m=model, v=seen, n=batch: our_rows(m, v, 4, n),
                "loop": lambda m=model, v=seen: published_rows(m.model, v, 4),
            },
            repeats=1,
        )
        rows.append(
            Row(
                case=f"{name}, windows 16/4",
                ours=times["ours"],
                peer=times["loop"],
                peer_name="published loop",
                note=f"{frames / times['ours']:.0f} frames a core-second",
            )
        )
    return rows


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(hours: float, folder: Path) -> None:
    """Extract the features of a long file, and print how much memory that takes on the way."""
    path, fps = folder / "long.mp4", 25
    piece = list(scene(120, 160))
    repeats = round(hours * 3600 * fps / len(piece))
    write_video(path, (frame for _ in range(repeats) for frame in piece), fps=fps)
    extractor = FeatureExtractor(load_model("videomae-nano"), PRESETS["activitynet"])
    readings: list[float] = []
    start = time.perf_counter()
    [told] = extract(
        extractor,
        [path],
        FeatureFolder(folder / "features"),
        progress=lambda rows: readings.append(resident()),
    )
    seconds = time.perf_counter() - start
    quarters = [np.mean(part) for part in np.array_split(readings, 4)]
    print(
        f"{hours:g} hours, {told.rows} rows in {seconds:.0f} s: memory in quarters "
        f"{', '.join(f'{each:.0f}' for each in quarters)} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller inputs")
    parser.add_argument("--hours", type=float, help="show the memory over a file of this length")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.hours:
            memory(options.hours, Path(folder))
            return
        path = Path(folder) / "video.mp4"
        write_video(path, scene(240, 320), fps=FPS)
        report("extraction", rows_of(path, quick=options.quick))


if __name__ == "__main__":
    main()
