"""Real people, few labels: a nano network fine-tuned on actions under a ceiling camera (FIR-RGB).

    python experiments/real_actions.py --data DIR [--seeds 3] [--out results.json]
    python experiments/real_actions.py --data DIR --tune

DIR holds `fir_activitynet.json` and `fir/`: untrimmed videos of nine actions with their segments.
The segments of the training videos train one network from three starts: random weights ("scratch"),
masked pretraining on the procedural world ("world"), and after it masked pretraining on the
training videos as they are, without labels ("world+videos"). Each segment of the validation videos
is then named. `--tune` compares learning rates on five of the training videos, learning from the
others; the validation videos are not looked at, and what is fixed below was chosen so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

import internvideo as iv
from internvideo.config import config_from_dict, config_to_dict
from internvideo.evaluation.report import wilson_interval
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.videomae import VideoMAE
from internvideo.tasks.masked.masking import draw_mask
from internvideo.train.optim import layer_numbers, parameter_groups
from internvideo.train.schedules import warmup_cosine
from internvideo.zoo import load_model

STARTS = ("scratch", "world", "world+videos")
RATES = {"scratch": 4e-3, "world": 4e-3, "world+videos": 2e-3}
EPOCHS, BATCH = 40, 24
MASKED_STEPS, MASKED_RATE = 400, 5e-4
SHIFT = 3  # pixels that a clip is moved by, at most
TUNING_VIDEOS = 5


@dataclass(frozen=True, kw_only=True)
class Segment:
    """An action in a video: its frames, whole at the size of the network, and its span in them."""

    frames: UInt8[Tensor, "n 3 s s"]
    start: float
    end: float
    label: int
    video: str


class Segments:
    """The labelled segments of both parts, and what turns some of them into a batch."""

    def __init__(self, data: Path, *, size: int, num_frames: int) -> None:
        database = json.loads((data / "fir_activitynet.json").read_text())["database"]
        found = {each["label"] for entry in database.values() for each in entry["annotations"]}
        self.labels = sorted(found)
        self.num_frames = num_frames
        self.parts: dict[str, list[Segment]] = {"training": [], "validation": []}
        for name, entry in database.items():
            [path] = (data / "fir").glob(f"{name}.*")
            frames, fps = read_small(path, size)
            self.parts[entry["subset"]] += [
                Segment(
                    frames=frames, start=each["segment"][0] * fps, end=each["segment"][1] * fps,
                    label=self.labels.index(each["label"]), video=name,
                )
                for each in entry["annotations"]
            ]  # fmt: skip

    def split(self, *, tune: bool) -> tuple[list[Segment], list[Segment]]:
        """Return what is learnt from and what is measured."""
        training = self.parts["training"]
        if not tune:
            return training, self.parts["validation"]
        held_out = sorted({each.video for each in training})[::3][:TUNING_VIDEOS]
        return (
            [each for each in training if each.video not in held_out],
            [each for each in training if each.video in held_out],
        )

    def clip(self, part: Segment, rng: np.random.Generator | None) -> UInt8[Tensor, "t 3 s s"]:
        """Return frames spread over a segment: the middles of equal bins, or drawn within them."""
        start, end, within = part.start, part.end, np.full(self.num_frames, 0.5)
        if rng is not None:
            within = rng.random(self.num_frames)
            start, end = np.array([start, end]) + rng.uniform(-0.1, 0.1, 2) * (end - start)
        places = start + (np.arange(self.num_frames) + within) / self.num_frames * (end - start)
        return part.frames[torch.from_numpy(places.astype(int)).clamp(0, len(part.frames) - 1)]

    def batch(
        self, parts: list[Segment], rng: np.random.Generator | None = None
    ) -> Float[Tensor, "b 3 t s s"]:
        """Return clips in -1..1; with a generator moved, mirrored, brighter or darker."""
        clips = []
        for part in parts:
            clip = self.clip(part, rng).float().div(127.5).sub(1)
            if rng is not None:
                clip = F.pad(clip, (SHIFT,) * 4, mode="replicate")
                y, x = rng.integers(2 * SHIFT + 1, size=2)
                size = part.frames.shape[-1]
                clip = clip[..., y : y + size, x : x + size]
                clip = clip * rng.uniform(0.8, 1.2) + rng.uniform(-0.2, 0.2)
                clip = clip.flip(3) if rng.random() < 0.5 else clip
            clips.append(clip)
        return torch.stack(clips).transpose(1, 2)


def read_small(path: Path, size: int) -> tuple[UInt8[Tensor, "n 3 s s"], float]:
    """Return all frames of a video, squashed to squares, and their rate."""
    with iv.Video(path) as video:
        parts = []
        for start in range(0, video.num_frames, 256):
            frames = video.frames(range(start, min(start + 256, video.num_frames)))
            small = frames.permute(0, 3, 1, 2).float()
            small = F.interpolate(small, (size, size), mode="bilinear", antialias=True)
            parts.append(small.round().clamp(0, 255).byte())
        return torch.cat(parts), video.fps


# --- training ---------------------------------------------------------------------------------


def optimise(
    model: nn.Module,
    losses: Callable[[int], Tensor],
    steps: int,
    *,
    lr: float,
    layer_decay: float = 1.0,
) -> None:
    """Take steps of AdamW, with warmup and cosine, down the loss of each step."""
    layers = layer_numbers(model) if layer_decay < 1 else None
    groups = parameter_groups(
        dict(model.named_parameters()), weight_decay=0.05, layers=layers, layer_decay=layer_decay
    )
    optimizer = torch.optim.AdamW(groups, lr=lr)
    model.train()
    for step in range(steps):
        factor = warmup_cosine(step, steps, 0.1 * steps)
        for group in optimizer.param_groups:
            group["lr"] = lr * factor * group["lr_scale"]
        optimizer.zero_grad()
        losses(step).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def pretrain(model: VideoMAE, data: Segments, videos: list[Segment], seed: int) -> None:
    """Fill hidden places in clips of 2 to 10 seconds from anywhere in the videos."""
    rng = np.random.default_rng([seed, 1])

    def loss(_: int) -> Tensor:
        parts = []
        for number in rng.integers(len(videos), size=BATCH):
            length = rng.uniform(25, 125)
            start = rng.uniform(0, max(1.0, len(videos[number].frames) - length))
            parts.append(replace(videos[number], start=start, end=start + length))
        masks = [draw_mask(model.config.mask_grid, 0.5, kind="tube", rng=rng) for _ in parts]
        return model(data.batch(parts, rng), torch.from_numpy(np.stack(masks))).loss

    optimise(model, loss, MASKED_STEPS, lr=MASKED_RATE)


def finetune(
    encoder: nn.Module | None, data: Segments, parts: list[Segment], *, lr: float, seed: int
) -> VideoClassifier:
    """Train a classifier of the segments, from an encoder's weights or from random ones."""
    pattern = masked_model().encoder.config
    values = config_to_dict(pattern) | {
        "num_classes": len(data.labels), "final_norm": False, "pooling": "concat",
        "init_scale": 1.0, "head_drop_rate": 0.3,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = VideoClassifier(config_from_dict(VideoClassifierConfig, values))
    if encoder is not None:
        known = model.state_dict()
        taken = {name: w for name, w in encoder.state_dict().items() if name in known}
        missing = model.load_state_dict(taken, strict=False).missing_keys
        assert all(name.startswith(("head.", "fc_norm.")) for name in missing), missing
    rng = np.random.default_rng([seed, 2])
    order = batches(len(parts), rng)

    def loss(_: int) -> Tensor:
        chosen = [parts[number] for number in next(order)]
        truth = torch.tensor([each.label for each in chosen])
        return F.cross_entropy(model(data.batch(chosen, rng)), truth, label_smoothing=0.1)

    steps = EPOCHS * (len(parts) // BATCH)
    optimise(model, loss, steps, lr=lr, layer_decay=1.0 if encoder is None else 0.9)
    return model.eval()


def train(
    start: str, data: Segments, parts: list[Segment], *, lr: float, seed: int
) -> VideoClassifier:
    """Return a classifier that was trained from one of `STARTS`."""
    torch.manual_seed(seed)
    masked = None if start == "scratch" else masked_model()
    if masked is not None and start == "world+videos":
        pretrain(masked, data, parts, seed)
    return finetune(None if masked is None else masked.encoder, data, parts, lr=lr, seed=seed)


def batches(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield numbers of segments without end, each once an epoch."""
    while True:
        order = rng.permutation(count)
        yield from order[: count // BATCH * BATCH].reshape(-1, BATCH)


def masked_model() -> VideoMAE:
    """Return the embedded masked autoencoder."""
    model = load_model("videomae-nano-pretrain").model
    assert isinstance(model, VideoMAE)
    return model.float()


# --- measuring --------------------------------------------------------------------------------


@torch.no_grad()
def answers(model: nn.Module, data: Segments, parts: list[Segment]) -> Int[Tensor, " n"]:
    """Return the class of each segment: the mean over the clip and its mirror image."""
    clips = data.batch(parts)
    return (model(clips).softmax(1) + model(clips.flip(-1)).softmax(1)).argmax(dim=1)


def probe(data: Segments, known: list[Segment], asked: list[Segment]) -> Int[Tensor, " n"]:
    """Return what logistic regression on the frozen features of videomae-nano answers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = load_model("videomae-nano").model.float().eval()
    with torch.no_grad():
        rows = [model.forward_features(data.batch(each)).pool() for each in (known, asked)]
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    fitted.fit(rows[0].numpy(), [each.label for each in known])
    return torch.from_numpy(fitted.predict(rows[1].numpy()))


def score(answer: Int[Tensor, " n"], asked: list[Segment]) -> dict[str, float]:
    """Return top-1 and the mean over the classes that occur, in percent."""
    truth = torch.tensor([each.label for each in asked])
    hits = (answer == truth).double()
    classes = [float(hits[truth == each].mean()) for each in truth.unique()]
    return {"top1": 100 * float(hits.mean()), "mean_class": 100 * statistics.fmean(classes)}


def show(name: str, scores: list[dict[str, float]], count: int) -> dict[str, Any]:
    """Print the mean over the seeds, with the 95 % interval of so many segments."""
    top1 = statistics.fmean(each["top1"] for each in scores)
    mean_class = statistics.fmean(each["mean_class"] for each in scores)
    low, high = wilson_interval(round(top1 / 100 * count), count)
    each = ", ".join(f"{score['top1']:.1f}" for score in scores)
    print(
        f"{name:40} top-1 {top1:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]   "
        f"mean class {mean_class:5.1f} %"
        f"   seeds: {each}",
        flush=True,
    )
    interval = [100 * low, 100 * high]
    return {
        "name": name, "top1": top1, "interval": interval, "mean_class": mean_class, "seeds": scores,
    }  # fmt: skip


def main() -> None:
    """Train from each start, measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--seeds", type=int, default=3, help="networks from each start")
    parser.add_argument("--tune", action="store_true", help="compare learning rates instead")
    options = parser.parse_args()
    config = masked_model().config.encoder
    data = Segments(options.data, size=config.image_size, num_frames=config.num_frames)
    known, asked = data.split(tune=options.tune)
    print(f"{len(known)} segments to learn, {len(asked)} asked; {time.process_time():.0f} s CPU")
    most = Counter(each.label for each in known).most_common(1)[0][0]
    rows = [
        show(
            "always the most frequent", [score(torch.full((len(asked),), most), asked)], len(asked)
        ),
        show(
            "linear probe of videomae-nano", [score(probe(data, known, asked), asked)], len(asked)
        ),
    ]
    rates = {start: (1e-3, 2e-3, 4e-3) if options.tune else (RATES[start],) for start in STARTS}
    arms: dict[tuple[str, float], list[dict[str, float]]] = {}
    for seed in range(1, 2 if options.tune else options.seeds + 1):
        for start in STARTS:
            for lr in rates[start]:
                model = train(start, data, known, lr=lr, seed=seed)
                scores = arms.setdefault((start, lr), [])
                scores.append(score(answers(model, data, asked), asked))
                told = ", ".join(f"{name} {value:.1f} %" for name, value in scores[-1].items())
                spent = f"{time.process_time():.0f} s CPU so far"
                print(f"  seed {seed}, {start}, lr {lr:g}: {told}; {spent}", flush=True)
    for (start, lr), scores in arms.items():
        rows.append(show(f"fine-tuned from {start}, lr {lr:g}", scores, len(asked)))
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
