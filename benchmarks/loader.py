"""Clips delivered to a training loop, against a per-frame PIL pipeline over decord.

Both read the same ten-second h264 file of 340x256 and are given the same random choices: masked
pretraining (multi-scale crop, flip, four crops of a decoded clip), fine-tuning with RandAugment
(two copies), and the fifteen views of an evaluation. Both end with normalised float clips. What
ours leaves to the device is done here on the CPU, and is part of the time but in the rows "worker's
half", which tell what remains for the CPU of a machine with an accelerator. Before the clock starts
the clips are compared.

The peer decodes once for every clip that it delivers; a second row lets it decode once for all
copies of a sample. Large tensors of both take large pages (THP_MEM_ALLOC_ENABLE=0 turns that off).
Times are CPU seconds of one process without workers, one thread, in turns;
`--workers N` adds wall time with N worker processes each. They are per clip (pretraining and
fine-tuning) or per video (evaluation).

`--memory N` instead delivers N pretraining clips, four of each decoded one, through one worker and
tells how memory grows.

Run: python benchmarks/loader.py [--quick] [--gop N] [--workers N] [--memory [N]]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command does; for both contestants

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from _official_loader import evaluation_views, training_clips
from decode import FPS, NUM_FRAMES, scene
from harness import Row, measure, report
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from internvideo.data.build import open_list
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.data.samples import Sample
from internvideo.train.data import ClipDataset, EpochBatchSampler, build_loader, fetch
from internvideo.video import write_video
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.preprocessing import PRESETS

HEIGHT, WIDTH, NUM_CLIPS = 256, 340, 100
BATCH_SIZE, SEED = 2, 0
PROTOCOL = PRESETS["videomae-kinetics"]
Batches = Generator[Any, None, None]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One way to train: which frames, which augmentation, how many clips of one video."""

    source: VideoListSource
    sampling: ClipSampling
    augmentation: Augmentation
    repeats: int

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Do what a task does in a data worker."""
        frames = torch.from_numpy(sample.frames)
        rows = []
        for _ in range(self.repeats):
            draw = self.augmentation.draw(*frames.shape[1:3], rng=rng)
            tensors = self.augmentation.draw_tensors(draw)
            rows.append({"video": self.augmentation.cut(frames, draw), **tensors})
        return rows

    def sampler(self) -> EpochBatchSampler:
        """Return the order of the clips, the same for ours and the peer."""
        return EpochBatchSampler(self.source, batch_size=BATCH_SIZE, epochs=1_000_000, seed=SEED)

    def ours(self, *, num_workers: int = 0, finish: bool = True) -> Batches:
        """Yield finished batches, "b c t s s", or what the device would get to finish."""
        dataset = ClipDataset(self.source, self.prepare, seed=SEED)
        loader = iter(build_loader(dataset, self.sampler(), num_workers=num_workers))
        while True:
            tensors = fetch(loader).tensors
            video = tensors.pop("video")
            yield self.augmentation.finish(video, tensors) if finish else video

    def peer(self, *, decode_once: bool, num_workers: int = 0) -> Batches:
        """Yield the batches of the peer for the same random choices."""
        loader = DataLoader(
            OfficialDataset(self, decode_once=decode_once),
            batch_sampler=self.sampler(),
            collate_fn=torch.cat,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
        )
        yield from loader


class OfficialDataset(Dataset):
    """The peer's clips of each (epoch, index)."""

    def __init__(self, training: Training, *, decode_once: bool) -> None:
        self.training = training
        self.decode_once = decode_once

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        training = self.training
        rng = np.random.default_rng([SEED, *place])
        path = training.source.clips[place[1]].path
        indices = training.sampling.indices(NUM_FRAMES, FPS, rng, path)
        draws = [
            training.augmentation.draw(HEIGHT, WIDTH, rng=rng) for _ in range(training.repeats)
        ]
        return training_clips(
            path, indices.tolist(), draws, training.augmentation, decode_once=self.decode_once
        )


# ---------------------------------------------------------------- training


def largest_difference(training: Training, *, num_batches: int) -> float:
    """Return how far ours and the peer's clips are apart, in grey levels; noise is left out."""
    quiet = replace(training, augmentation=replace(training.augmentation, erasing_probability=0.0))
    mine, theirs = quiet.ours(), quiet.peer(decode_once=True)
    worst = max(float((next(mine) - next(theirs)).abs().max()) for _ in range(num_batches))
    return worst * 255 * min(training.augmentation.std)


def compare_training(
    case: str, training: Training, peer: Training, *, repeats: int, workers: int, limit: float
) -> list[Row]:
    """Time one training against the peer.

    Args:
        case: name of the rows.
        training: ours.
        peer: what the peer does; its augmentation is the official one.
        repeats: counted rounds.
        workers: processes for the rows of wall time; 0 leaves them out.
        limit: allowed difference of the clips in grey levels; infinite where the augmentations
            are not the same.
    """
    note = "another augmentation"
    if np.isfinite(limit):
        apart = largest_difference(training, num_batches=4)
        if apart > limit:
            raise SystemExit(f"{case}: clips differ by {apart:.3f} grey levels from the peer's")
        note = f"difference <= {apart:.2g} grey levels"
    contestants: dict[str, Batches] = {
        "ours": training.ours(),
        "worker's half": training.ours(finish=False),
        "one decode a clip": peer.peer(decode_once=False),
        f"one decode for {peer.repeats}": peer.peer(decode_once=True),
    }
    times = measure(
        {name: (lambda batches=batches: next(batches)) for name, batches in contestants.items()},
        repeats=repeats,
    )
    half = times.pop("worker's half")
    clips = BATCH_SIZE * training.repeats
    rows = rows_of(case, times, clips=clips, note=f"CPU, {note}")
    rows += rows_of(case, times | {"ours": half}, clips=clips, note="CPU, worker's half")
    if workers:
        walls = wall_times(
            {
                "ours": lambda: training.ours(num_workers=workers),
                "one decode a clip": lambda: peer.peer(decode_once=False, num_workers=workers),
            },
            num_batches=4 * repeats,
        )
        rows += rows_of(case, walls, clips=clips, note=f"wall, {workers} worker(s) each")
    return rows


def wall_times(
    contestants: dict[str, Callable[[], Batches]], *, num_batches: int
) -> dict[str, float]:
    """Return the median wall seconds of a batch over three runs, workers started anew in each."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(3):
        for name, start in contestants.items():
            batches = start()
            next(batches)
            began = time.perf_counter()
            for _ in range(num_batches):
                next(batches)
            times[name].append((time.perf_counter() - began) / num_batches)
            batches.close()
    return {name: statistics.median(values) for name, values in times.items()}


def rows_of(case: str, times: dict[str, float], *, clips: int, note: str) -> list[Row]:
    ours = times["ours"] / clips
    return [
        Row(case=case, ours=ours, peer=times[name] / clips, peer_name=name, note=note)
        for name in times
        if name != "ours"
    ]


# ---------------------------------------------------------------- evaluation


def compare_evaluation(source: VideoListSource, *, repeats: int) -> list[Row]:
    """Time the fifteen views of one video."""
    path = Path(source.clips[0].path)
    views, expected = source.read_views(0, PROTOCOL).views, evaluation_views(path, PROTOCOL)
    apart = float((views - expected).abs().max()) * 255 * min(PROTOCOL.std)
    if apart > 0.01:
        raise SystemExit(f"evaluation: views differ by {apart:.3f} grey levels from the peer's")
    times = measure(
        {
            "ours": lambda: source.read_views(0, PROTOCOL),
            "one decode a view": lambda: evaluation_views(path, PROTOCOL),
        },
        repeats=repeats,
    )
    note = f"CPU, difference <= {apart:.2g} grey levels"
    return rows_of("evaluation, 5 x 3 views", times, clips=1, note=note)


# ---------------------------------------------------------------- memory


def report_memory(training: Training, *, num_clips: int) -> None:
    """Deliver clips through one worker process and print how much memory it and we hold."""
    batches = training.ours(num_workers=1)
    per_batch = BATCH_SIZE * training.repeats
    counts, sizes = [], []
    for number in range(num_clips // per_batch):
        next(batches)
        if number % max(num_clips // per_batch // 80, 1) == 0:
            counts.append((number + 1) * per_batch)
            sizes.append(private_mib())
            print(f"{counts[-1]:7d} clips  {sizes[-1]:8.1f} MiB", flush=True)
    means = [float(np.mean(part)) for part in np.array_split(sizes, 4)]
    print("means of the quarters: " + ", ".join(f"{mean:.1f} MiB" for mean in means))
    # The first quarter fills pools and caches.
    slope = float(np.polyfit(counts[len(counts) // 4 :], sizes[len(counts) // 4 :], 1)[0]) * 1000
    print(f"growth after the first quarter: {slope:+.2f} MiB per 1000 clips")
    values = {"clips": num_clips, "quarters_mib": means, "mib_per_1000_clips": slope}
    print(json.dumps({"benchmark": "loader memory", **values}))


def private_mib() -> float:
    """Return the memory that this process and its workers hold for themselves (Linux).

    Batches on their way between them are in shared memory, which comes and goes.
    """
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    kilobytes = 0
    for process in processes:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        kilobytes += int(status.partition("RssAnon:")[2].split()[0])
    return kilobytes / 1024


# ---------------------------------------------------------------- all


def write_list(folder: Path, *, key_frame_interval: int) -> Path:
    """Write a video, and a Kinetics list that names it often."""
    frames = scene(HEIGHT, WIDTH)
    path = folder / "video.mp4"
    write_video(path, frames, fps=FPS, quality=23, key_frame_interval=key_frame_interval)
    annotations = folder / "train.csv"
    annotations.write_text(f"{path.name} 0\n" * NUM_CLIPS, encoding="utf-8")
    return annotations


def training(
    annotations: Path, preset: str, *, rule: Literal["pretrain", "dense"], repeats: int
) -> Training:
    sampling = ClipSampling(rule=rule, clip_length=16, frame_stride=4)
    return Training(
        source=open_list("kinetics", annotations, protocol=PROTOCOL, sampling=sampling),
        sampling=sampling,
        augmentation=AUGMENTATIONS[preset],
        repeats=repeats,
    )


def compare_all(annotations: Path, gop: int, arguments: argparse.Namespace) -> list[Row]:
    exact = training(annotations, "videomae-pretrain", rule="pretrain", repeats=4)
    exact = replace(exact, augmentation=replace(exact.augmentation, flip_probability=0.5))
    quick = replace(exact, augmentation=replace(exact.augmentation, exact_resize=False))
    official = training(annotations, "videomae-finetune", rule="dense", repeats=2)
    tensor = training(annotations, "videomae-finetune-fast", rule="dense", repeats=2)
    options = {"repeats": 5 if arguments.quick else 15, "workers": arguments.workers}
    suffix = f", GOP {gop}"
    return [
        *compare_training("pretraining" + suffix, exact, exact, limit=0.01, **options),
        *compare_training("pretraining-fast" + suffix, quick, exact, limit=2.01, **options),
        *compare_training("fine-tuning" + suffix, official, official, limit=1.01, **options),
        *compare_training("fine-tuning-fast" + suffix, tensor, official, limit=np.inf, **options),
        *compare_evaluation(official.source, repeats=3 if arguments.quick else 7),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Clips delivered to a training loop.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and one kind of file")
    parser.add_argument("--gop", type=int, help="frames from one key frame to the next; 250, 30")
    parser.add_argument("--workers", type=int, default=0, help="also wall time with N workers")
    parser.add_argument(
        "--memory", type=int, nargs="?", const=-1, help="only deliver N clips (20000; quick 2000)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    gops = (250,) if arguments.quick or arguments.memory else (250, 30)
    for gop in gops if arguments.gop is None else (arguments.gop,):
        with tempfile.TemporaryDirectory() as folder:
            annotations = write_list(Path(folder), key_frame_interval=gop)
            if arguments.memory is None:
                rows += compare_all(annotations, gop, arguments)
                continue
            num_clips = arguments.memory
            if num_clips < 0:
                num_clips = 2_000 if arguments.quick else 20_000
            pretraining = training(
                annotations, "videomae-pretrain-fast", rule="pretrain", repeats=4
            )
            report_memory(pretraining, num_clips=num_clips)
    if rows:
        report("loader", rows)


if __name__ == "__main__":
    main()
