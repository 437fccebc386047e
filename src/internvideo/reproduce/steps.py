"""The study as a list of steps: what each does, and which others it needs.

    seed-N/clips ─┬─► masked ───┬─► masked-actions ────┬──► target-union
                  │             ├─► target-direct      ├──► interaction ──► downstream
                  │             └─► probes ◄─┐         │
                  ├─► contrast ─┬────────────┴─► contrast-actions
                  │             └─► zero-shot
                  └─► scratch-actions

Every step has a directory of its own. A training is a recipe of the library with other numbers, and
leaves what every training leaves; `result.json` appears when the step is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvideo.reproduce.budget import Budget
from internvideo.world import ACTIONS

__all__ = ["TARGET_ACTIONS", "Step", "fingerprints", "plan"]

TARGET_ACTIONS = ACTIONS[:14]
"""The label set of the target data set; that of the union is `ACTIONS`."""

PEOPLE_CLASSES = 9
"""Actions of the real videos."""

_WORLDS = 8_000_000  # no recipe trains on these


@dataclass(frozen=True, kw_only=True)
class Step:
    """A piece of the study that one process carries out.

    Attributes:
        name: and directory, such as "seed-1/masked".
        work: what is done, a key of `work.WORKS`.
        options: its arguments, plain values; directories are relative to that of the study.
        needs: names of the steps that come before.
        cost: roughly, in clips that are trained on; long ones begin early.
    """

    name: str
    work: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    cost: float = 0.0


def fingerprints(steps: list[Step]) -> dict[str, str]:
    """Return a hash of what each step does, with all that it builds on; needs come first."""
    found: dict[str, str] = {}
    for step in steps:
        content = [step.work, step.options, [found[name] for name in step.needs]]
        text = json.dumps(content, sort_keys=True)
        found[step.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def plan(budget: Budget, people: Path | None = None) -> list[Step]:
    """Return the steps of the study; needs come before those who need them.

    Args:
        budget: its numbers.
        people: folder of real videos, where the claims are tested on them too.
    """
    seeds = [_Seed(budget, seed) for seed in budget.seeds]
    steps = [step for seed in seeds for step in seed.steps()]
    if people is not None:
        steps += [step for seed in seeds for step in seed.people(people)]
    return steps


class _Seed:
    """The steps of one seed."""

    def __init__(self, budget: Budget, seed: int) -> None:
        self.budget = budget
        self.seed = seed

    def name(self, step: str) -> str:
        return f"seed-{self.seed}/{step}"

    def clips(self, part: str) -> str:
        return f"{self.name('clips')}/{part}.safetensors"

    def steps(self) -> Iterator[Step]:
        budget = self.budget
        yield self._paint()
        yield self._training(
            "masked",
            "world_videomae-nano",
            {"schedule.epochs": budget.masked_epochs, **self._encoder("model.encoder")},
            cost=budget.clips * budget.masked_epochs / 2,
        )
        yield self._training(
            "contrast",
            "world_viclip-nano",
            {
                "init": None,
                "schedule.epochs": budget.contrast_epochs,
                "model.text.width": budget.text_width,
                **self._encoder("model.vision"),
            },
            cost=budget.clips * budget.contrast_epochs,
        )
        for start, rate in (("scratch", 0.016), ("masked", 0.008), ("contrast", 0.008)):
            yield self._recognition(f"{start}-actions", "labelled", start, rate)
        yield self._recognition("target-direct", "target", "masked", 0.008)
        yield self._recognition("target-union", "target", "masked-actions", 0.008)
        measured = {"train": self.clips("train"), "test": self.clips("test"), "seed": self.seed}
        yield Step(
            name=self.name("zero-shot"),
            work="zero-shot",
            options={"model": self.name("contrast"), **measured},
            needs=(self.name("clips"), self.name("contrast")),
            cost=budget.test,
        )
        yield Step(
            name=self.name("probes"),
            work="probes",
            options={
                "models": {each: self.name(each) for each in ("masked", "contrast")},
                "num_train": budget.probe_clips,
                **measured,
            },
            needs=(self.name("clips"), self.name("masked"), self.name("contrast")),
            cost=budget.probe_clips + budget.test,
        )

        yield self._interaction()
        yield from self._downstream()

    def people(self, folder: Path) -> Iterator[Step]:
        """Test some of the claims on real videos."""
        budget = self.budget
        clips = Step(
            name=self.name("people-clips"),
            work="cut",
            options={
                "folder": str(folder.resolve()),
                "seed": self.seed,
                "num_videos": budget.people_videos,
            },
            cost=100 * budget.people_videos,
        )
        yield clips
        adapted = self._training(
            "people-masked",
            "world_videomae-nano",
            {
                "data.annotations": f"{clips.name}/windows.safetensors",
                "schedule.epochs": budget.people_windows_epochs,
                **self._encoder("model.encoder"),
            },
            cost=100 * budget.people_videos * budget.people_windows_epochs,
            start="masked",
        )
        yield dataclasses.replace(adapted, needs=(*adapted.needs, clips.name))
        for start, rate in (("scratch", 0.016), ("people-masked", 0.008), ("contrast", 0.008)):
            name = f"people-{start.removeprefix('people-')}-actions"
            yield self._recognition(name, "people", start, rate)
        yield self._interaction(people=True)

    def _interaction(self, *, people: bool = False) -> Step:
        """Let the two post-pretrained classifiers look at each other, on the same labels."""
        budget, prefix = self.budget, "people-" if people else ""
        towers = [self.name(f"{prefix}{start}-actions") for start in ("masked", "contrast")]
        epochs = budget.people_epochs if people else budget.label_epochs
        overrides: dict[str, Any] = {
            "task.masked": f"{towers[0]}/model",
            "task.multimodal": f"{towers[1]}/model",
            "model.stages": budget.depth,
            "evaluation": None,
            "data.num_clips": budget.labels,
            "schedule.epochs": epochs,
            "schedule.warmup_epochs": epochs / 10,
            "runtime.batch_size": 32,
        }
        needs, test = towers, self.clips("test")
        if people:
            folder = self.name("people-clips")
            needs, test = [*towers, folder], f"{folder}/test.safetensors"
            overrides |= {
                "data.annotations": f"{folder}/train.safetensors",
                "data.num_clips": None,
                "model.num_classes": PEOPLE_CLASSES,
                "runtime.batch_size": 16,
            }
        step = self._training(
            f"{prefix}interaction",
            "world_internvideo-nano",
            overrides,
            cost=budget.labels * budget.label_epochs / 2,
        )
        return Step(
            name=step.name,
            work="interact",
            options={**step.options, "test": test},
            needs=(*step.needs, *needs),
            cost=step.cost,
        )

    def _downstream(self) -> Iterator[Step]:
        """Paint clips with two actions, then try other tasks on the frozen features."""
        budget, world = self.budget, _WORLDS + 10 * self.seed + 4
        counts = {"train": budget.probe_clips // 3, "test": budget.probe_clips // 5}
        two = {
            part: {"world": world + number, "num_clips": count, "num_events": 2}
            for number, (part, count) in enumerate(counts.items())
        }
        yield Step(
            name=self.name("two-actions"),
            work="paint",
            options={"parts": two, "captions": {}, "captions_per_clip": 0},
            cost=sum(counts.values()),
        )
        one = {
            "train": {
                "file": self.clips("train"),
                "start": min(budget.labels, budget.clips - budget.probe_clips),
                "num_clips": budget.probe_clips,
                "num_events": 1,
            },
            "test": {"file": self.clips("test"), "start": 0, "num_clips": None, "num_events": 1},
        }
        parts = one | {
            f"two-{part}": {
                "file": f"{self.name('two-actions')}/{part}.safetensors",
                "start": 0,
                "num_clips": None,
                "num_events": 2,
            }
            for part in two
        }
        names = {
            "masked": "masked-actions",
            "multimodal": "contrast-actions",
            "fused": "interaction",
        }
        yield Step(
            name=self.name("downstream"),
            work="downstream",
            options={
                "models": {name: self.name(step) for name, step in names.items()},
                "parts": parts,
                "seed": self.seed,
            },
            needs=(
                self.name("clips"),
                self.name("two-actions"),
                *(self.name(step) for step in names.values()),
            ),
            cost=budget.probe_clips,
        )

    def _paint(self) -> Step:
        """Paint all clips of the seed once: what is read often is cheap to read."""
        budget, world = self.budget, _WORLDS + 10 * self.seed
        parts = {
            "train": {"world": world, "num_clips": budget.clips},
            "test": {"world": world + 1, "num_clips": budget.test},
            "target": {
                "world": world + 2,
                "num_clips": budget.target_labels,
                "actions": list(TARGET_ACTIONS),
            },
            "target-test": {
                "world": world + 3,
                "num_clips": budget.test,
                "actions": list(TARGET_ACTIONS),
            },
        }
        captions = {"action_only": 0.4, "appearance_only": 0.2}
        return Step(
            name=self.name("clips"),
            work="paint",
            options={"parts": parts, "captions": captions, "captions_per_clip": 6},
            cost=budget.clips,
        )

    def _training(
        self, name: str, recipe: str, overrides: dict[str, Any], *, cost: float, start: str = ""
    ) -> Step:
        needs = [self.name("clips")]
        given: dict[str, Any] = {
            "data.kind": "clip-file",
            "data.annotations": self.clips("train"),
            "runtime.seed": self.seed,
            "runtime.num_workers": 0,
            "runtime.threads": 1,
        }
        if start:
            needs.append(self.name(start))
            given["init"] = f"{self.name(start)}/model"
        return Step(
            name=self.name(name),
            work="train",
            options={"recipe": recipe, "overrides": given | overrides},
            needs=tuple(needs),
            cost=cost,
        )

    def _recognition(self, name: str, data: str, start: str, rate: float) -> Step:
        """Fine-tune a classifier on labelled clips, and measure it."""
        budget, needs = self.budget, [self.name("clips")]
        file, test = self.clips("train"), self.clips("test")
        count, epochs, classes = budget.labels, budget.label_epochs, len(ACTIONS)
        batch = 32
        if data == "target":
            file, test = self.clips("target"), self.clips("target-test")
            count, epochs = budget.target_labels, budget.target_epochs
            classes = len(TARGET_ACTIONS)
        elif data == "people":
            folder = self.name("people-clips")
            needs, batch = [folder], 16
            file, test = f"{folder}/train.safetensors", f"{folder}/test.safetensors"
            count, epochs, classes = None, budget.people_epochs, PEOPLE_CLASSES
        overrides: dict[str, Any] = {
            "evaluation": None,
            "data.annotations": file,
            "data.num_clips": count,
            "model.num_classes": classes,
            "optim.lr": rate,
            "schedule.epochs": epochs,
            "schedule.warmup_epochs": epochs / 10,
            "runtime.batch_size": batch,
            **self._encoder("model"),
        }
        if start == "scratch":
            overrides["init"] = None
        else:
            overrides["optim.layer_decay"] = 0.9
        step = self._training(
            name,
            "world_videomae-nano_actions",
            overrides,
            cost=(count or 200) * epochs,
            start="" if start == "scratch" else start,
        )
        return Step(
            name=step.name,
            work="recognise",
            options={**step.options, "test": test},
            needs=tuple(dict.fromkeys([*needs, *step.needs])),
            cost=step.cost,
        )

    def _encoder(self, place: str) -> dict[str, Any]:
        """Return the size of the network, as overrides."""
        budget = self.budget
        heads = max(1, budget.width // 32)
        return {
            f"{place}.width": budget.width,
            f"{place}.depth": budget.depth,
            f"{place}.num_heads": heads,
            f"{place}.stem.channels": list(budget.channels),
        }
