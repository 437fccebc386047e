"""Does tensor RandAugment (`…-fast`) train as well as the published one? Fine-tuning on the world.

`videomae-nano-pretrain` is fine-tuned on 1 000 labelled clips, written as mp4 and read back, for 30
epochs: with crops and erasing alone, with RandAugment by Pillow on the whole frames as published,
and with tensor RandAugment on the crops. Tested on 800 other clips; no mirrored clips, most of
which would show another action.

    python benchmarks/fast_augmentation.py --out runs/augmentation

Every finished run is kept and not run again, and a stopped one goes on, so the command can be
stopped and repeated. A run takes 5 to 9 minutes on an idle core; `--quick` is one short seed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
from pathlib import Path
from typing import Any

from harness import machine
from rich.console import Console
from rich.table import Table

from internvideo.data import write_world
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.train.log import read_log
from internvideo.world import World

NUM_CLIPS, NUM_LABELLED, WORLD_SEED = 4000, 1000, 77
RULE = "rand-m7-n4-mstd0.5-inc1"
CROPS: dict[str, Any] = {
    "size": 32,
    "crop": "random-resized",
    "scale": [0.5, 1.0],
    "flip_probability": 0,
    "erasing_probability": 0.25,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "resize_dtype": "uint8",
}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "crops and erasing": CROPS,
    "and RandAugment": {**CROPS, "randaugment": RULE},
    "and tensor RandAugment": {
        **CROPS,
        "randaugment": RULE,
        "randaugment_kind": "tensor",
        "exact_resize": False,
    },
}


def write_clips(folder: Path) -> tuple[Path, Path]:
    """Write the world, unless that is done, and return the lists to train and to test with."""
    training, test = folder / "labelled.csv", folder / "test_800.csv"
    if not test.exists():
        write_world(folder, NUM_CLIPS, world=World(seed=WORLD_SEED))
        lines = {split: (folder / f"{split}.csv").read_text() for split in ("train", "val", "test")}
        first = lines["train"].splitlines(keepends=True)[:NUM_LABELLED]
        training.write_text("".join(first))
        test.write_text(lines["val"] + lines["test"])
    return training, test


def accuracy(
    augmentation: str, seed: int, lists: tuple[Path, Path], out: Path, epochs: int
) -> float:
    """Train one classifier and return its share of hits in percent."""
    training, test = lists
    directory = out / f"{augmentation.replace(' ', '-')}-{seed}"
    log = directory / "log.jsonl"
    recipe = load_recipe(
        "world_videomae-nano_actions",
        [
            "init=videomae-nano-pretrain",
            f"data={json.dumps({'kind': 'kinetics', 'annotations': str(training)})}",
            f"evaluation.data={json.dumps({'kind': 'kinetics', 'annotations': str(test)})}",
            "evaluation.every_epochs=1000",
            f"augmentation={json.dumps(AUGMENTATIONS[augmentation])}",
            f"schedule.epochs={epochs}",
            "schedule.warmup_epochs=2",
            "runtime.num_workers=0",
            f"runtime.seed={seed}",
        ],
    )
    if not (directory / "model").exists():
        run_recipe(recipe, directory)
    return next(record["val_top1"] for record in reversed(read_log(log)) if "val_top1" in record)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train with crops, with the published RandAugment, and with the tensor one."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/augmentation"),
        help="folder of clips and runs: repeat the command to go on",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each augmentation")
    parser.add_argument("--quick", action="store_true", help="one seed of three epochs: a try")
    arguments = parser.parse_args()
    seeds, epochs = (1, 3) if arguments.quick else (arguments.seeds, 30)
    out = arguments.out / ("quick" if arguments.quick else "whole")
    lists = write_clips(arguments.out / "world")
    results = {
        name: [accuracy(name, seed, lists, out, epochs) for seed in range(seeds)]
        for name in AUGMENTATIONS
    }
    table = Table(
        "augmentation", "accuracy of each seed", "mean", title=f"RandAugment · {machine()}"
    )
    for name, values in results.items():
        told = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(name, told, f"{sum(values) / len(values):.1f}")
    Console().print(table)
    print(json.dumps({"benchmark": "fast_augmentation", "top1": results}))


if __name__ == "__main__":
    main()
