"""How many labels does masked pretraining save? Fine-tuning on the world, pretrained or scratch.

Both arms fine-tune the same `VideoClassifier` (its head sees the tokens of all frames side by
side) on the same 300, 1 000 or 10 000 labelled clips, for equally many steps, and are measured on
the same unseen ones. Each arm gets its own peak learning rate for every label count, chosen with
another set of labelled clips on validation clips, never on the test clips. Controls: linear probes
of the frozen pretrained and of a frozen random encoder, and fine-tuning on clips that show one of
their frames all the time.

    python benchmarks/label_efficiency.py --pretrained runs/NAME/model --out label_efficiency.jsonl

Every finished run is a line of the `--out` file and is not run again, so the command can be stopped
and repeated. Accuracies are percent; "pair" asks of each clip of the nine action pairs that are
each other played backwards which of the two it is (chance 50 %), "merged" takes both for one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness import machine
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from internvideo.config import config_from_dict, config_to_dict
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.videomae import VideoMAE
from internvideo.models.vit import VideoViT
from internvideo.reproduce.measures import fit_linear, settle_batch_norm
from internvideo.train.optim import layer_numbers, parameter_groups
from internvideo.train.schedules import warmup_cosine
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import ACTIONS, REVERSAL_PAIRS, World
from internvideo.zoo import load_encoder_weights, load_model

# Worlds that no recipe trains on; a labelled set is a block of the first, chosen by the seed.
LABELLED_WORLD, VALIDATION_WORLD, TEST_WORLD = 7_100_001, 7_100_002, 7_100_003
BLOCK = 10_000
TUNING_SEED = 0
BATCH_SIZE = 32
LAYER_DECAY = 0.9
LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 0.05
WARMUP = 0.1

_REVERSED = {a: b for pair in REVERSAL_PAIRS for a, b in (pair, pair[::-1])}
REVERSALS = [ACTIONS.index(_REVERSED[name]) if name in _REVERSED else -1 for name in ACTIONS]
"""For each action the number of its time reversal, or -1."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run.

    Attributes:
        epochs: passes over the labelled clips, for each number of them; about 10 000 clips in all.
        one_frame: the number of labels at which the control of that name is trained, on one seed.
        rates: peak learning rates to begin with, for each number of clips.
        more_rates: how many may be added where the best is the first or the last.
        seeds: of the measured runs; each has its own labelled clips.
        num_test: clips on which a run is measured.
    """

    epochs: dict[int, int]
    one_frame: int
    rates: dict[int, tuple[float, ...]]
    more_rates: int
    seeds: tuple[int, ...]
    num_test: int


FULL = Plan(
    epochs={300: 30, 1_000: 10, 10_000: 1},
    one_frame=1_000,
    rates={300: (1e-3, 2e-3, 4e-3, 8e-3), 1_000: (1e-3, 2e-3, 4e-3), 10_000: (1e-3, 2e-3)},
    more_rates=3,
    seeds=(1, 2, 3),
    num_test=2_000,
)
QUICK = Plan(
    epochs={64: 1, 96: 1},
    one_frame=96,
    rates={64: (1e-3,), 96: (1e-3,)},
    more_rates=0,
    seeds=(1, 2),
    num_test=64,
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: `stage` "tune" measures on validation clips, "test" on test clips."""

    stage: str
    arm: str
    labels: int
    seed: int
    lr: float = 0.0
    epochs: int = 0

    @property
    def cost(self) -> float:
        """Return clips to go through, roughly, in units of a clip trained on."""
        trained = self.labels * self.epochs if self.epochs else self.labels / 3
        return trained + 700


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a classifier reaches; percent."""

    accuracy: float
    pair: float
    merged: float


# --- data -------------------------------------------------------------------------------------


class Clips:
    """World clips at the input size of the model, painted once and kept while they are needed."""

    def __init__(self, preprocessing: Preprocessing, num_test: int) -> None:
        self.preprocessing = preprocessing
        self.num_test = num_test
        self.painted = lru_cache(maxsize=3)(self._paint)

    def labelled(
        self, seed: int, count: int
    ) -> tuple[UInt8[Tensor, "n t s s 3"], Int[Tensor, " n"]]:
        """Return the first `count` clips of the block of this seed, and their actions."""
        return self.painted(LABELLED_WORLD, seed * BLOCK, count)

    def unseen(self, stage: str) -> tuple[UInt8[Tensor, "n t s s 3"], Int[Tensor, " n"]]:
        """Return the clips on which a run of this stage is measured."""
        world = VALIDATION_WORLD if stage == "tune" else TEST_WORLD
        return self.painted(world, 0, self.num_test)

    def _paint(self, seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        world = World(seed=seed)
        frames, labels = [], []
        for index in range(start, start + count):
            clip = world[index]
            frames.append(self.preprocessing.resize(torch.from_numpy(clip.frames)))
            labels.append(ACTIONS.index(clip.truth.action))
        return torch.stack(frames), torch.tensor(labels)


def one_frame(
    video: UInt8[Tensor, "b t s s 3"], rng: np.random.Generator
) -> UInt8[Tensor, "b t s s 3"]:
    """Show a random frame of each clip all the time."""
    chosen = torch.from_numpy(rng.integers(video.shape[1], size=len(video)))
    return video[torch.arange(len(video)), chosen][:, None].expand_as(video)


# --- the two ways to train --------------------------------------------------------------------


class Laboratory:
    """Runs single trainings from one pretrained model."""

    def __init__(self, pretrained: Path, plan: Plan) -> None:
        loaded = load_model(pretrained)
        if not isinstance(loaded.model, VideoMAE) or loaded.preprocessing is None:
            raise SystemExit(f"{pretrained} holds no VideoMAE with its preprocessing")
        self.directory = pretrained
        self.encoder = loaded.model.encoder
        self.preprocessing: Preprocessing = loaded.preprocessing
        self.clips = Clips(loaded.preprocessing, plan.num_test)

    def run(self, run: Run) -> dict[str, Any]:
        """Return the score of a run and what it took."""
        torch.manual_seed(run.seed)
        started = time.process_time()
        score = self._probe(run) if run.arm.endswith("probe") else self._finetune(run)
        return {**asdict(score), "cpu_seconds": round(time.process_time() - started, 1)}

    def _finetune(self, run: Run) -> Score:
        model = self._classifier()
        if run.arm != "scratch":
            load_encoder_weights(model, self.directory)
        video, labels = self.clips.labelled(run.seed, run.labels)
        look = one_frame if run.arm == "one-frame" else None
        rng = np.random.default_rng([run.seed, run.labels])
        groups = parameter_groups(
            dict(model.named_parameters()),
            weight_decay=WEIGHT_DECAY,
            layers=layer_numbers(model),
            layer_decay=1.0 if run.arm == "scratch" else LAYER_DECAY,
        )
        optimizer = torch.optim.AdamW(groups, lr=run.lr)
        total = run.epochs * (run.labels // BATCH_SIZE)
        for step, index in enumerate(_batches(run, rng)):
            factor = warmup_cosine(step, total, WARMUP * total)
            for group in optimizer.param_groups:
                group["lr"] = run.lr * factor * group["lr_scale"]
            batch = video[index] if look is None else look(video[index], rng)
            logits = model(self.preprocessing.normalize(batch))
            loss = F.cross_entropy(logits, labels[index], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        video, labels = self.clips.unseen(run.stage)
        if look is not None:
            video = look(video, np.random.default_rng(run.seed))
        return measure(self._outputs(model, model, video), labels)

    def _probe(self, run: Run) -> Score:
        """Fit a linear classifier on frozen features; its decay is chosen on validation clips."""
        encoder = self.encoder
        video, labels = self.clips.labelled(run.seed, run.labels)
        if run.arm == "random-probe":
            encoder = VideoViT(self.encoder.config)
            first = self.preprocessing.normalize(video[:300])
            settle_batch_norm(encoder, lambda: encoder(first))
        known = self._features(encoder, video)
        mean, deviation = known.mean(dim=0), known.std(dim=0) + 1e-4
        heads = [
            fit_linear((known - mean) / deviation, labels, len(ACTIONS), decay, max_iter=100)
            for decay in (0.1, 0.01, 1e-3)
        ]
        scores = {}
        for stage in ("tune", "test"):
            unseen, truth = self.clips.unseen(stage)
            features = (self._features(encoder, unseen) - mean) / deviation
            scores[stage] = [measure(head(features), truth) for head in heads]
        best = max(range(len(heads)), key=lambda index: scores["tune"][index].accuracy)
        return scores["test"][best]

    def _classifier(self) -> VideoClassifier:
        values = config_to_dict(self.encoder.config) | {
            "num_classes": len(ACTIONS),
            "final_norm": False,
            "pooling": "concat",
            "init_scale": 1.0,
        }
        return VideoClassifier(config_from_dict(VideoClassifierConfig, values))

    def _features(
        self, encoder: VideoViT, video: UInt8[Tensor, "n t s s 3"]
    ) -> Float[Tensor, "n k"]:
        """Return mean, maximum and deviation of the tokens of each clip."""

        def pooled(clip: Tensor) -> Tensor:
            tokens = encoder(clip).tokens
            return torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), tokens.std(dim=1)], dim=1)

        return self._outputs(encoder, pooled, video)

    @torch.inference_mode()
    def _outputs(
        self, model: nn.Module, function: Callable[[Tensor], Tensor], video: Tensor
    ) -> Tensor:
        model.eval()
        parts = [function(self.preprocessing.normalize(part)) for part in video.split(100)]
        return torch.cat(parts)


def _batches(run: Run, rng: np.random.Generator) -> Iterator[Tensor]:
    for _ in range(run.epochs):
        order = torch.from_numpy(rng.permutation(run.labels))
        yield from order[: run.labels // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE)


def measure(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> Score:
    """Return accuracy, that among action and reversal (pair), and that up to reversal (merged)."""
    reversal = torch.tensor(REVERSALS)[labels]
    paired = reversal >= 0
    chosen = logits.argmax(dim=1)
    own, other = (logits[paired].gather(1, x[paired, None]) for x in (labels, reversal))
    return Score(
        accuracy=_percent(chosen == labels),
        pair=_percent(own > other),
        merged=_percent((chosen == labels) | (chosen == reversal)),
    )


def _percent(hits: Tensor) -> float:
    return round(100 * float(hits.double().mean()), 2)


# --- the plan, run by run ---------------------------------------------------------------------


class Ledger:
    """The finished runs: a line of JSON each, written at once.

    Args:
        path: the file.
        pretrained: hash of the pretrained weights; runs that used other weights do not count.
        encoder: hash of the encoder's shape, which is all that runs from scratch depend on.
    """

    def __init__(self, path: Path, *, pretrained: str, encoder: str) -> None:
        self.path = path
        self.pretrained = pretrained
        self.encoder = encoder
        self.entries: dict[Run, dict[str, Any]] = {}
        names = {field.name for field in fields(Run)}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            entry = json.loads(line)
            run = Run(**{name: entry[name] for name in names})
            if entry["start"] == self._start(run):
                self.entries[run] = entry

    def get(self, run: Run, compute: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
        """Return the line of a run; compute and write it if it is not there yet."""
        if run not in self.entries:
            entry = {**asdict(run), **compute(run), "start": self._start(run)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            self.entries[run] = entry
        return self.entries[run]

    def _start(self, run: Run) -> str:
        return self.encoder if run.arm in ("scratch", "random-probe") else self.pretrained


class Study:
    """The whole comparison, in an order that gives the cheap answers first."""

    def __init__(
        self, plan: Plan, ledger: Ledger, compute: Callable[[Run], dict[str, Any]]
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.compute = compute
        self.done: set[Run] = set()
        self.spent, self.todo, self.seconds = 0.0, self._total_cost(), 0.0

    def tests(self) -> list[Run]:
        """Run everything; return the measured runs."""
        runs = []
        for labels in self.plan.epochs:
            best = {arm: self._tuned(arm, labels) for arm in ("pretrained", "scratch")}
            for seed in self.plan.seeds:
                for arm in ("pretrained-probe", "random-probe"):
                    runs.append(Run(stage="test", arm=arm, labels=labels, seed=seed))
                    self._do(runs[-1])
                for arm, lr in best.items():
                    runs.append(self._training("test", arm, labels, seed, lr))
                    self._do(runs[-1])
            if labels == self.plan.one_frame:
                seed = self.plan.seeds[0]
                runs.append(self._training("test", "one-frame", labels, seed, best["pretrained"]))
                self._do(runs[-1])
        return runs

    def _tuned(self, arm: str, labels: int) -> float:
        """Return the best learning rate of an arm, by validation clips.

        Rates twice as high or half as high are added until the best is not the first or last.
        """
        rates = list(self.plan.rates[labels])
        for _ in range(self.plan.more_rates):
            best = self._best(rates, arm, labels)
            if best == rates[-1]:
                rates.append(2 * best)
            elif best == rates[0]:
                rates.insert(0, best / 2)
        return self._best(rates, arm, labels)

    def _best(self, rates: list[float], arm: str, labels: int) -> float:
        runs = [self._training("tune", arm, labels, TUNING_SEED, lr) for lr in rates]
        return max(runs, key=lambda run: self._do(run)["accuracy"]).lr

    def _training(self, stage: str, arm: str, labels: int, seed: int, lr: float) -> Run:
        epochs = self.plan.epochs[labels]
        return Run(stage=stage, arm=arm, labels=labels, seed=seed, lr=lr, epochs=epochs)

    def _do(self, run: Run) -> dict[str, Any]:
        known, began = run in self.ledger.entries, time.perf_counter()
        entry = self.ledger.get(run, self.compute)
        if run not in self.done:
            self.done.add(run)
            self.todo -= run.cost
        if not known:
            self.spent += run.cost
            self.seconds += time.perf_counter() - began
            left = max(0.0, self.todo) * self.seconds / self.spent / 60
            print(
                f"{run.stage} {run.labels:>6} {run.arm:<16} seed {run.seed} lr {run.lr:g} "
                f"x{run.epochs}: {entry['accuracy']:.1f} (pair {entry['pair']:.1f}); "
                f"about {left:.0f} min left",
                flush=True,
            )
        return entry

    def _total_cost(self) -> float:
        """Return the cost of all trainings (the probes are cheap)."""
        plan = self.plan
        fixed = bool(plan.more_rates) + len(plan.seeds)
        return sum(
            2 * (len(plan.rates[labels]) + fixed) * labels * epochs
            for labels, epochs in plan.epochs.items()
        )


def summary(runs: list[Run], ledger: Ledger) -> list[dict[str, Any]]:
    """Return a row for each label count and arm."""
    groups: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.labels, run.arm), []).append(run)
    rows = []
    for (labels, arm), members in groups.items():
        entries = [ledger.entries[run] for run in members]
        accuracy = [entry["accuracy"] for entry in entries]
        rows.append(
            {
                "labels": labels,
                "arm": arm,
                "accuracy_mean": round(statistics.fmean(accuracy), 2),
                "accuracy_sd": round(statistics.stdev(accuracy), 2) if len(accuracy) > 1 else None,
                "accuracies": accuracy,
                "pair_mean": round(statistics.fmean(entry["pair"] for entry in entries), 2),
                "merged_mean": round(statistics.fmean(entry["merged"] for entry in entries), 2),
                "seeds": [run.seed for run in members],
                "lr": members[0].lr or None,
                "epochs": members[0].epochs or None,
            }
        )
    return rows


def gains(rows: list[dict[str, Any]]) -> dict[int, list[float]]:
    """Return pretrained minus scratch in points, seed by seed, for each label count."""
    accuracies = {(row["labels"], row["arm"]): row["accuracies"] for row in rows}
    return {
        labels: [
            round(ours - theirs, 2)
            for ours, theirs in zip(accuracies[labels, "pretrained"], scratch, strict=True)
        ]
        for (labels, arm), scratch in accuracies.items()
        if arm == "scratch"
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"label efficiency · {machine()}")
    for column in ("labels", "arm", "accuracy", "sd", "pair", "merged", "lr", "epochs", "seeds"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for row in rows:
        sd = "" if row["accuracy_sd"] is None else f"{row['accuracy_sd']:.1f}"
        table.add_row(
            str(row["labels"]),
            row["arm"],
            f"{row['accuracy_mean']:.1f}",
            sd,
            f"{row['pair_mean']:.1f}",
            f"{row['merged_mean']:.1f}",
            "" if row["lr"] is None else f"{row['lr']:g}",
            str(row["epochs"] or ""),
            str(len(row["seeds"])),
        )
    Console(width=120).print(table)
    for labels, differences in gains(rows).items():
        print(f"{labels} labels: pretrained - scratch = {differences} points, seed by seed")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def main() -> None:
    """Run what is missing, then print and write the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pretrained", type=Path, required=True, help="directory of a VideoMAE")
    parser.add_argument("--out", type=Path, required=True, help="the runs, one JSON line each")
    parser.add_argument("--summary", type=Path, help="write the table as JSON here")
    parser.add_argument("--quick", action="store_true", help="a smoke run: numbers mean nothing")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    laboratory = Laboratory(arguments.pretrained, plan)
    shape = json.dumps(config_to_dict(laboratory.encoder.config), sort_keys=True)
    ledger = Ledger(
        arguments.out,
        pretrained=_digest((arguments.pretrained / "model.safetensors").read_bytes()),
        encoder=_digest(shape.encode()),
    )
    runs = Study(plan, ledger, laboratory.run).tests()
    rows = summary(runs, ledger)
    show(rows)
    if arguments.summary is not None:
        report = {
            "command": "python benchmarks/label_efficiency.py --pretrained MODEL --out RUNS",
            "machine": machine(),
            "test_clips": plan.num_test,
            "gains": gains(rows),
            "rows": rows,
        }
        arguments.summary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"benchmark": "label_efficiency", "rows": rows}))


if __name__ == "__main__":
    main()
