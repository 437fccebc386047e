"""Small heads for other tasks on frozen features: what do the fused features bring to each?

Every encoder is frozen and seen through the same tokens, one a frame; the heads are linear but for
that of the questions. So this compares features, not systems: the tasks' own rooms have the full
models. The heads learn from clips on which no encoder learnt a label.

    task           head                                        measure
    ────────────   ─────────────────────────────────────────   ─────────────────────────────────
    retrieval      clip and words of its caption to one space  caption → clip, recall at 5
    questions      clip and words of the question → answer     accuracy
    localisation   frame → action, clips with two actions      accuracy of the frames
    detection      middle frame → box; clip → action           box at IoU 0.5 with the right action
    open set       clip → action, 20 known ones                AUROC of the confidence, 8 unknown
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.data.clip_file import ClipFile
from internvideo.reproduce.measures import LinearProbe, labels_of, outputs, percent
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import HELD_OUT_ACTIONS, CaptionMix, World
from internvideo.world.scene import Scene

__all__ = ["TASKS", "Encoded", "encode", "scenes"]

_STEPS, _BATCH, _RATE = 300, 64, 2e-3
_SPACE = 128
_TOP = 5
_OVERLAP = 0.5
_RIDGE = 10.0
_PLAIN = CaptionMix(action_only=0.0, appearance_only=0.0, plain=1.0)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Clips as a frozen encoder sees them.

    Attributes:
        clips: "n k": mean, maximum and deviation of the tokens.
        frames: "n t d": the token of each frame.
        truth: the scenes.
        labels: the actions.
    """

    clips: Float[Tensor, "n k"]
    frames: Float[Tensor, "n t d"]
    truth: list[Scene]
    labels: Int[Tensor, " n"]

    def take(self, index: Tensor) -> Encoded:
        """Return some of the clips."""
        truth = [self.truth[number] for number in index.tolist()]
        return Encoded(self.clips[index], self.frames[index], truth, self.labels[index])


def scenes(clips: ClipFile, *, num_events: int = 1) -> list[Scene]:
    """Return the truth about clips of a world, which their names tell."""
    worlds: dict[int, World] = {}
    found: list[Scene] = []
    for index in range(len(clips)):
        _, seed, number = clips.key(index).split("-")
        world = World(seed=int(seed), actions=clips.class_names, num_events=num_events)
        found.append(worlds.setdefault(int(seed), world).scene(int(number)))
    return found


def encode(
    clips: ClipFile, models: Sequence[tuple[Any, Preprocessing]], *, num_events: int = 1
) -> Encoded:
    """Return clips as one encoder sees them, or several side by side."""

    def tokens(model: Any) -> Callable[[Tensor], Tensor]:
        return lambda video: model.forward_features(video).per_step()

    frames = torch.cat([outputs(tokens(model), clips, way) for model, way in models], dim=2)
    pooled = torch.cat([frames.mean(dim=1), frames.amax(dim=1), frames.std(dim=1)], dim=1)
    return Encoded(pooled, frames, scenes(clips, num_events=num_events), labels_of(clips))


def retrieval(train: Encoded, test: Encoded) -> float:
    """Return the share of captions whose clip is among the five best of all test clips."""
    known, asked = _captions(train.truth), _captions(test.truth)
    words = _Words(known)
    clip = _Scaled(train.clips)
    video = nn.Linear(train.clips.shape[1], _SPACE)
    text = nn.Linear(len(words), _SPACE)
    said, seen = words(known), clip(train.clips)

    def loss(index: Tensor) -> Tensor:
        scores = _cosines(text(said[index]), video(seen[index])) / 0.07
        target = torch.arange(len(index))
        return F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)

    _learn([video, text], loss, len(known))
    with torch.no_grad():
        scores = _cosines(text(words(asked)), video(clip(test.clips)))
    rank = (scores > scores.diagonal()[:, None]).sum(dim=1)
    return percent(rank < _TOP)


def questions(train: Encoded, test: Encoded) -> float:
    """Return the share of right answers to questions about the clips."""
    known, asked = _questions(train.truth), _questions(test.truth)
    words = _Words([text for _, text, _ in known])
    answers = sorted({answer for *_, answer in known})
    number = {answer: place for place, answer in enumerate(answers)}
    clip = _Scaled(train.clips)
    head = nn.Sequential(
        nn.Linear(train.clips.shape[1] + len(words), 256), nn.GELU(), nn.Linear(256, len(answers))
    )
    seen, said = clip(train.clips), words([text for _, text, _ in known])
    place = torch.tensor([index for index, *_ in known])
    truth = torch.tensor([number[answer] for *_, answer in known])

    def loss(index: Tensor) -> Tensor:
        both = torch.cat([seen[place[index]], said[index]], dim=1)
        return F.cross_entropy(head(both), truth[index])

    _learn([head], loss, len(known))
    with torch.no_grad():
        index = torch.tensor([index for index, *_ in asked])
        said = words([text for _, text, _ in asked])
        best = head(torch.cat([clip(test.clips)[index], said], dim=1)).argmax(dim=1)
    right = torch.tensor([number.get(answer, -1) for *_, answer in asked])
    return percent(best == right)


def localisation(train: Encoded, test: Encoded) -> float:
    """Return the share of frames whose action is named, in clips with two actions."""
    probe = LinearProbe(train.frames.flatten(0, 1), _timeline(train))
    return percent(probe(test.frames.flatten(0, 1)).argmax(dim=1) == _timeline(test))


def detection(train: Encoded, test: Encoded) -> float:
    """Return the share of lone objects that are found, with their action, in the middle frame."""
    train, test = (each.take(_lone(each)) for each in (train, test))
    middle = train.frames.shape[1] // 2
    scale = _Scaled(train.frames[:, middle])
    boxes, truth = _boxes(train, middle), _boxes(test, middle)
    found = _ridge(scale(train.frames[:, middle]), boxes)(scale(test.frames[:, middle]))
    named = LinearProbe(train.clips, train.labels)(test.clips).argmax(dim=1) == test.labels
    return percent((_overlap(found, truth) >= _OVERLAP) & named)


def open_set(train: Encoded, test: Encoded) -> float:
    """Return how well the confidence of a classifier tells known actions from unknown ones."""
    train = train.take((~_unknown(train)).nonzero()[:, 0])
    order = train.labels.unique()
    probe = LinearProbe(train.clips, torch.searchsorted(order, train.labels))
    sure = probe(test.clips).softmax(dim=1).amax(dim=1)
    new = _unknown(test)
    above = (sure[~new, None] > sure[None, new]).double()
    equal = (sure[~new, None] == sure[None, new]).double()
    return round(100 * float((above + equal / 2).mean()), 2)


TASKS: dict[str, Callable[[Encoded, Encoded], float]] = {
    "retrieval": retrieval,
    "questions": questions,
    "localisation": localisation,
    "detection": detection,
    "open set": open_set,
}
"""Features of training and of test clips → the measure in percent."""


class _Words:
    """Sentences as counts of the words that the training sentences have."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = sorted({word for text in texts for word in text.split()})
        self.places = {word: place for place, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.places)

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n w"]:
        counts = torch.zeros(len(texts), len(self))
        for row, text in enumerate(texts):
            for word in text.split():
                if word in self.places:
                    counts[row, self.places[word]] += 1
        return counts


class _Scaled:
    """Features less the mean of the training ones, over their deviation."""

    def __init__(self, features: Float[Tensor, "n d"]) -> None:
        self.mean, self.deviation = features.mean(dim=0), features.std(dim=0) + 1e-4

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return (features - self.mean) / self.deviation


def _learn(heads: Sequence[nn.Module], loss: Callable[[Tensor], Tensor], count: int) -> None:
    parameters = [each for head in heads for each in head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss(torch.randperm(count)[:_BATCH]).backward()
        optimizer.step()
        schedule.step()


def _cosines(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def _captions(truth: Sequence[Scene]) -> list[str]:
    return [World(seed=scene.seed).captions(scene, 1, _PLAIN)[0] for scene in truth]


def _questions(truth: Sequence[Scene]) -> list[tuple[int, str, str]]:
    """Return (number of the clip, question, answer)."""
    return [
        (index, asked.question, asked.answer)
        for index, scene in enumerate(truth)
        for asked in World(seed=scene.seed).questions(scene)
    ]


def _timeline(clips: Encoded) -> Int[Tensor, " m"]:
    """Return the action of each frame of all clips."""
    names = World().class_names
    found = torch.zeros(clips.frames.shape[:2], dtype=torch.long)
    for row, scene in enumerate(clips.truth):
        for event in scene.events:
            found[row, event.start : event.end] = names.index(event.action)
    return found.flatten()


def _lone(clips: Encoded) -> Int[Tensor, " m"]:
    rows = [row for row, scene in enumerate(clips.truth) if len(scene.actors) == 1]
    return torch.tensor(rows, dtype=torch.long)


def _unknown(clips: Encoded) -> Bool[Tensor, " n"]:
    return torch.tensor([scene.action in HELD_OUT_ACTIONS for scene in clips.truth])


def _boxes(clips: Encoded, frame: int) -> Float[Tensor, "n 4"]:
    boxes = [scene.actors[0].boxes(scene.size)[0][frame] / scene.size for scene in clips.truth]
    return torch.from_numpy(np.stack(boxes)).float()


def _ridge(x: Float[Tensor, "n d"], y: Float[Tensor, "n k"]) -> Callable[[Tensor], Tensor]:
    mean = y.mean(dim=0)
    weights = torch.linalg.solve(x.T @ x + _RIDGE * torch.eye(x.shape[1]), x.T @ (y - mean))
    return lambda other: other @ weights + mean


def _overlap(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Return intersection over union, pair by pair."""
    size = (torch.minimum(a, b)[:, 2:] - torch.maximum(a, b)[:, :2]).clamp_min(0)
    both = size.prod(dim=1)
    areas = [(each[:, 2:] - each[:, :2]).clamp_min(0).prod(dim=1) for each in (a, b)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-9)
