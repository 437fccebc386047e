"""Zero-shot evaluation on the world: what does a model see that it was never told by these words?

    clips ──► embed_video_batch ──┐
                                  ├──► cosine ──► scores of all actions, of all colours
    held-out sentences ──► embed_text

The clips are unseen (another seed of the world) and the sentences were held out of the training
captions. A class scores the mean of the cosines over its sentences, as in ViCLIP's evaluation. The
encoder can be anything with the two methods of `ClipEncoder`: a `VideoModel`, or a model in the
middle of its training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from internvideo.data.world import EVALUATION_SEED
from internvideo.demo.action_tally import ActionTally, rate
from internvideo.demo.report import WorldReport
from internvideo.world import (
    ACTIONS,
    COLORS,
    World,
    action_prompts,
    color_prompts,
    generate,
)
from internvideo.world.scene import Scene

__all__ = [
    "ClipBatch",
    "ClipEncoder",
    "one_frame_repeated",
    "rendered_clips",
    "world_report",
    "written_clips",
]


class ClipEncoder(Protocol):
    """What is evaluated: embeddings of clips and sentences in one space (of any length)."""

    def embed_video_batch(self, frames: UInt8[Tensor, "b t h w c"]) -> Float[Tensor, "b d"]:
        """Embed raw clips of equal shape; the encoder samples, resizes and normalises."""
        ...

    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embed sentences."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class ClipBatch:
    """Some clips and the truth about them.

    Attributes:
        frames: uint8 RGB, "b t h w c".
        truths: their scenes, in the same order.
    """

    frames: UInt8[Tensor, "b t h w c"]
    truths: Sequence[Scene]


def rendered_clips(
    world: World, num_clips: int, *, batch_size: int = 64, workers: int = 1
) -> Iterator[ClipBatch]:
    """Yield the first clips of a world straight from the renderer, with no video file between."""
    for start in range(0, num_clips, batch_size):
        count = min(batch_size, num_clips - start)
        frames, truths = generate(world, count, start=start, workers=workers)
        yield ClipBatch(torch.from_numpy(frames), truths)


def written_clips(
    world: World, paths: Sequence[Path], *, batch_size: int = 64, threads: int = 2
) -> Iterator[ClipBatch]:
    """Yield clips read back from their video files; file `i` is clip `i` of the world.

    The files of the next batch are decoded while the caller works on this one.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(_read_all_frames, path) for path in paths[: 2 * batch_size]]
        for start in range(0, len(paths), batch_size):
            frames = [future.result() for future in pending[:batch_size]]
            del pending[:batch_size]
            ahead = start + 2 * batch_size
            pending += [
                pool.submit(_read_all_frames, path) for path in paths[ahead : ahead + batch_size]
            ]
            truths = [world.scene(start + place) for place in range(len(frames))]
            yield ClipBatch(torch.stack(frames), truths)


def world_report(
    encoder: ClipEncoder,
    num_clips: int = 600,
    *,
    seed: int = EVALUATION_SEED,
    clips: Iterable[ClipBatch] | None = None,
    source: str = "rendered in memory",
    single_frame: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> WorldReport:
    """Measure zero-shot recognition of actions and colours on unseen clips.

    Args:
        encoder: a `VideoModel` with a text tower, or anything else with its two methods.
        num_clips: clips to look at.
        seed: seed of their world; must not be one that the model was trained on.
        clips: where the clips come from; by default they are rendered in memory. Their truth must
            be that of the world of this seed.
        source: how the clips were read, for the record.
        single_frame: also run the control in which one frame of each clip is repeated.
        progress: called with (clips done, clips in all).

    Returns:
        Rates with chance and interval, per-action rows, and the confusion matrix.
    """
    began = time.perf_counter()
    actions, colors = _text_classes(encoder)
    clips = rendered_clips(World(seed=seed), num_clips) if clips is None else clips
    scores, color_scores, control, truths = [], [], [], []
    for batch in clips:
        embedding = encoder.embed_video_batch(batch.frames)
        scores.append((embedding @ actions.T).float().cpu())
        color_scores.append((embedding @ colors.T).float().cpu())
        if single_frame:
            stills = one_frame_repeated(batch)
            control.append((encoder.embed_video_batch(stills) @ actions.T).float().cpu())
        truths += batch.truths
        if progress is not None:
            progress(len(truths), num_clips)
    return _summarize(
        truths,
        torch.cat(scores),
        torch.cat(color_scores),
        torch.cat(control) if control else None,
        seed=seed,
        source=source,
        seconds=time.perf_counter() - began,
    )


def _read_all_frames(path: Path) -> UInt8[Tensor, "t h w c"]:
    from internvideo.video import Video

    with Video(path) as video:
        return video.frames(range(video.num_frames))


def _text_classes(encoder: ClipEncoder) -> tuple[Float[Tensor, "a d"], Float[Tensor, "k d"]]:
    """Return one vector per action and one per colour: the mean over its held-out sentences.

    The mean is not normalised again: its product with a clip is the mean of the cosines.
    """
    vectors = [
        torch.stack([encoder.embed_text(prompts).mean(dim=0) for prompts in groups])
        for groups in (
            [action_prompts(action) for action in ACTIONS],
            [color_prompts(color) for color in COLORS],
        )
    ]
    return vectors[0], vectors[1]


def one_frame_repeated(batch: ClipBatch) -> UInt8[Tensor, "b t h w c"]:
    """Replace all frames of each clip by one of them, drawn by the clip's own number."""
    num_frames = batch.frames.shape[1]
    chosen = [
        int(np.random.default_rng([truth.seed, truth.index]).integers(num_frames))
        for truth in batch.truths
    ]
    stills = batch.frames[torch.arange(len(chosen)), chosen]
    return stills[:, None].expand_as(batch.frames)


def _summarize(
    truths: Sequence[Scene],
    scores: Float[Tensor, "n a"],
    color_scores: Float[Tensor, "n k"],
    control: Float[Tensor, "n a"] | None,
    *,
    seed: int,
    source: str,
    seconds: float,
) -> WorldReport:
    tally = ActionTally(truths, scores)
    lone = torch.tensor([len(truth.actors) == 1 for truth in truths])
    color = torch.tensor([list(COLORS).index(truth.actors[0].color) for truth in truths])
    colors_hit = (color_scores.argmax(dim=1) == color)[lone]
    return WorldReport(
        rates={
            **tally.rates(),
            "color_accuracy": rate(colors_hit, 1 / len(COLORS)),
            **({} if control is None else ActionTally(truths, control).control_rates()),
        },
        actions=ACTIONS,
        per_action=tally.per_action(),
        confusion=tuple(tuple(row) for row in tally.confusion().tolist()),
        num_clips=len(truths),
        seed=seed,
        source=source,
        prompts_per_action=min(len(action_prompts(action)) for action in ACTIONS),
        seconds=seconds,
    )
