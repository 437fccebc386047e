"""Asking models about clips of the world, whole and as one frame repeated.

    clip ──► all frames, decoded once ──┬──► clip  ──┬──► scores of all actions, of all colours
                                        └──► still ──┘

The still is the control: what a model says of it, it can say without watching. A two-tower model is
asked with sentences that were held out of its training captions, and a class scores the mean of the
cosines over its sentences; a classifier is asked for its classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import tee
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.engine import Answerer, Batch, Seen, answers
from internvideo.pipeline import VideoModel
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier
from internvideo.video.frames import FramesInMemory
from internvideo.video.read_ahead import read_ahead
from internvideo.world import ACTIONS, COLORS, Encoding, World, action_prompts, color_prompts
from internvideo.world.scene import Scene

__all__ = ["ClassScores", "ClipScores", "SentenceScores", "ask_clips"]

_BATCH_VIEWS = 64
_FPS = float(Encoding().fps)


class ClipScores(Answerer[Float[Tensor, "2 k"]]):
    """Scores the classes of a clip, and of one of its frames repeated.

    Args:
        model: with the protocol to use.
        scores: from normalised clips to the scores of their classes.
    """

    def __init__(self, model: VideoModel, scores: Callable[[Tensor], Tensor]) -> None:
        super().__init__(model.model, model.preprocessing)
        self.name = model.name
        self.scores = scores

    def see(self, scene: Scene, frames: UInt8[Tensor, "t h w c"]) -> Seen:
        """Return the views of a clip, and then of the frame that its own number draws."""
        drawn = int(np.random.default_rng([scene.seed, scene.index]).integers(len(frames)))
        still = frames[drawn].expand_as(frames)
        views = [self.protocol.load(FramesInMemory(each, fps=_FPS)) for each in (frames, still)]
        return Seen(f"clip {scene.index}", torch.cat(views), scene.index)

    def answer(self, batch: Batch) -> list[Float[Tensor, "2 k"]]:
        """Return the scores of each clip and of its still, averaged over the views."""
        return [rows.unflatten(0, (2, -1)).mean(dim=1) for _, rows in batch.each(self.scores)]


class SentenceScores(ClipScores):
    """Scores actions and then colours by sentences that the model was not trained on.

    Raises:
        ConfigError: the model has no text tower.
    """

    def __init__(self, model: VideoModel) -> None:
        prompts = {action: tuple(action_prompts(action)) for action in ACTIONS}
        prompts |= {color: tuple(color_prompts(color)) for color in COLORS}
        self.classifier = ZeroShotClassifier(
            model.loaded.two_towers, model.preprocessing, prompts, name=model.name
        )
        super().__init__(model, self.classifier.scores)

    def classification(self, video: str, scores: Float[Tensor, " k"]) -> Classification:
        """Return what the scores of a clip say of its action."""
        actions = scores[: len(ACTIONS)]
        return Classification.from_scores(
            video,
            ACTIONS,
            actions.tolist(),
            self.classifier.probabilities(actions).tolist(),
            model=self.name,
            protocol=self.protocol.describe(),
        )


class ClassScores(ClipScores):
    """Scores actions by the classes of a classifier.

    Raises:
        ConfigError: its classes are not the actions of the world.
    """

    def __init__(self, model: VideoModel) -> None:
        if model.labels != ACTIONS:
            raise ConfigError(f"the classes of {model.name} are not the actions of the world")
        super().__init__(model, lambda clips: model.model(clips).float().softmax(dim=1))


def ask_clips(
    models: Sequence[ClipScores],
    world: World,
    num_clips: int,
    read: Callable[[int], UInt8[Tensor, "t h w c"]] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "n 2 k"]]:
    """Return what each model says of the first clips of a world; each clip is read once.

    Args:
        models: any number of them.
        world: knows the truth.
        num_clips: how many.
        read: returns all frames of a clip, in a thread; None renders them in memory.
        progress: called with (clips done, clips in all).

    Raises:
        VideoError: a clip cannot be read.
    """

    def see(number: int) -> list[Seen]:
        frames = torch.from_numpy(world[number].frames) if read is None else read(number)
        return [model.see(world.scene(number), frames) for model in models]

    threads = os.cpu_count() or 1
    clips = read_ahead(see, range(num_clips), threads=threads, depth=2 * _BATCH_VIEWS)
    asked: list[Iterator] = [
        answers(model, map(itemgetter(place), each), batch_size=_BATCH_VIEWS)
        for place, (model, each) in enumerate(zip(models, tee(clips, len(models)), strict=True))
    ]
    rows = []
    for row in zip(*asked, strict=True):
        rows.append([scores for _, scores in row])
        if progress is not None:
            progress(len(rows), num_clips)
    return [torch.stack(each) for each in zip(*rows, strict=True)]
