"""Language queries and moment queries on the procedural world: small trained models, and none.

Both tasks ask about the same untrimmed videos of 1 to 5 minutes, seen through windows of
viclip-nano (16 frames every 8). The rival needs no training: stretches of windows that are like the
sentence, or like sentences on the class; its threshold is chosen on the validation videos of
training. What is measured are videos of another seed; intervals are a bootstrap over videos.

Everything is written below `world-moments` in the current folder, and found there the next time.

    python benchmarks/world_moments.py --train           some 40 minutes on two cores
    python benchmarks/world_moments.py                   measures what was trained
    python benchmarks/world_moments.py --quick           a few videos, to see that it runs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from internvideo.cli.application import run
from internvideo.data.world import EVALUATION_SEED
from internvideo.data.writing import write_world
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import Report
from internvideo.formats import find_format
from internvideo.formats.files import Collection
from internvideo.tasks.registry import find_task
from internvideo.world import Encoding, World, action_prompts
from internvideo.world.annotation import annotate
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import load_model

HOME = Path("world-moments")
TRAIN_SEED, SIZE, LONGEST = 31, 32, 300
TOWERS, WINDOW, STRIDE = "viclip-nano", 16, 8
SHARES = {"train": (0.92, 0.08), "test": (0.0, 1.0)}
SEEDS = {"train": TRAIN_SEED, "test": EVALUATION_SEED}
RECIPES = {
    "language-queries": "world_vslnet-nano",
    "moment-queries": "world_actionformer-nano_mq",
}
FILES = {"language-queries": "nlq_val.json", "moment-queries": "moments_val.json"}
THRESHOLDS = {
    "language-queries": (0.5, 0.6, 0.7, 0.8, 0.9),
    "moment-queries": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
}
SHOWN = {
    "language-queries": ("r1_iou0.3", "r1_iou0.5", "r5_iou0.3", "r5_iou0.5"),
    "moment-queries": ("mAP", "recall@1x@0.50", "recall@5x@0.50"),
}


def write(part: str, num_videos: int) -> None:
    """Write videos with both kinds of annotation, and the features of their windows."""
    folder = HOME / part
    if (folder / "features" / "videos.jsonl").exists():
        return
    world, encoding = World(seed=SEEDS[part], size=SIZE), Encoding()
    written = write_world(
        folder, num_videos, kind="ego4d-nlq", world=world, splits=SHARES[part], workers=2
    )
    whole = replace(world, untrimmed=True, num_frames=LONGEST * encoding.fps)
    moments = find_format("ego4d-mq")
    assert moments.layout is not None
    num_train = round(SHARES[part][0] * num_videos)
    videos = [
        annotate(
            whole, whole.scene(number), path=str(path.relative_to(folder)), fps=encoding.fps,
            scale=encoding.scale, id=path.stem, split="train" if number < num_train else "val",
        )
        for number, path in enumerate(written.videos)
    ]  # fmt: skip
    moments.load().write(
        Collection(
            directory=folder, videos=videos, classes=world.style.actions, layout=moments.layout
        )
    )
    sentences = {action: action_prompts(action) for action in world.style.actions}
    (folder / "sentences.json").write_text(json.dumps(sentences))
    extract = ("extract", str(folder / "clips"), "--model", TOWERS, "--window", str(WINDOW))
    succeed([*extract, "--stride", str(STRIDE), "--out", str(folder / "features")])


def succeed(line: list[str]) -> None:
    """Run a command line of internvideo; stop where it fails."""
    if code := run(line):
        raise SystemExit(code)


def measure(task: str, model: LoadedModel, part: str, threshold: float | None = None) -> Report:
    """Measure a model on the validation split of a part."""
    room, folder = find_task(task), HOME / part
    data = AnnotatedData(path=str(folder / FILES[task]))
    videos = room.open(data, model.protocol)
    options: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    if threshold is not None and task == "moment-queries":
        options["sentences"] = folder / "sentences.json"
    ask: Callable[..., Report] | None = room.evaluate
    assert ask is not None
    return ask(model, videos, loop=EvalLoop(), features=[str(folder / "features")], **options)


def show(name: str, task: str, report: Report) -> None:
    """Print the numbers of one model, with their intervals where there are some."""
    numbers = report.numbers()
    intervals = {
        **numbers.get("intervals", {}),
        "mAP": numbers.get("mAP_interval"),
        "recall@1x@0.50": numbers.get("recall@1x@0.50_interval"),
    }
    cells = []
    for measured in SHOWN[task]:
        bounds = intervals.get(measured)
        beside = "" if not bounds else f" ({bounds[0]:.1f} … {bounds[1]:.1f})"
        cells.append(f"{measured} {numbers[measured]:.1f}{beside}")
    print(f"{name:42}", " · ".join(cells))


def main() -> None:
    """Write, train and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", action="store_true", help="train both models first")
    parser.add_argument(
        "--quick", action="store_true", help="12 videos for training, 4 for testing"
    )
    options = parser.parse_args()
    write("train", 12 if options.quick else 400)
    write("test", 4 if options.quick else 100)
    towers = load_model(TOWERS)
    for task, recipe in RECIPES.items():
        print(f"\n{task}, {EVALUATION_SEED=}")
        trials = {each: measure(task, towers, "train", each) for each in THRESHOLDS[task]}
        first = "mean_r1" if task == "language-queries" else "mAP"
        best = max(trials, key=lambda each: trials[each].metrics()[first])
        rival = measure(task, towers, "test", best)
        show(f"{TOWERS}, threshold {best:g}", task, rival)
        out = HOME / "runs" / recipe
        if options.train:
            succeed(["train", recipe, "--out", str(out)])
        if (out / "model").is_dir():
            show(recipe, task, measure(task, load_model(str(out / "model")), "test"))


if __name__ == "__main__":
    main()
