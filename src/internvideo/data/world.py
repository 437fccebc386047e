"""Clips of the procedural world, rendered when they are read."""

from __future__ import annotations

import numpy as np

from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.samples import ClipViews, Sample
from internvideo.errors import DataError
from internvideo.video import Preprocessing
from internvideo.video.frames import FramesInMemory
from internvideo.world import CaptionMix, Encoding, World

__all__ = ["EVALUATION_SEED", "WorldSource"]

EVALUATION_SEED = 7_000_001
"""World of all reports; recipes train on small seeds, so no model has seen its clips."""


class WorldSource:
    """A range of the clips of a world; the label of a clip is the number of its action.

    Args:
        world: where the clips come from.
        num_clips: how many.
        start: number of the first one.
        captions: what the captions speak of.
        sampling: how the frames of a training clip are drawn; None takes them all.
    """

    def __init__(
        self,
        world: World,
        *,
        num_clips: int,
        start: int = 0,
        captions: CaptionMix | None = None,
        sampling: ClipSampling | None = None,
    ) -> None:
        self.world = world
        self.num_clips = num_clips
        self.start = start
        self.captions = captions or CaptionMix()
        self.sampling = sampling

    def __len__(self) -> int:
        return self.num_clips

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Return clip `index` with one caption drawn from the mix."""
        clip = self.world[self.start + index]
        caption = self.world.caption(clip.truth, rng, mix=self.captions)
        frames = clip.frames
        if self.sampling is not None:
            frames = frames[self.sampling.indices(len(frames), Encoding().fps, rng)]
        label = self.world.label_of(clip.truth)
        return Sample(frames=frames, caption=caption, label=label, key=self.key(index))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The actions, or the shapes where these are the classes."""
        return self.world.class_names

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Return all views of clip `index`."""
        clip = self.world[self.start + index]
        views = protocol.load(FramesInMemory(clip.frames, fps=float(Encoding().fps)))
        return ClipViews(views, self.world.label_of(clip.truth), self.key(index))

    def key(self, index: int) -> str:
        """Return the name of a clip."""
        return f"world-{self.world.seed}-{self.start + index}"

    def label(self, index: int) -> int:
        """Return the label of a clip without painting it."""
        return self.world.label_of(self.world.scene(self.start + index))

    def check_labels(self, num_classes: int) -> None:
        """Check that every clip has a label from 0 to `num_classes - 1`.

        Raises:
            DataError: the world has more actions.
        """
        if (count := len(self.class_names)) > num_classes:
            raise DataError(
                f"the world has {count} {self.world.classes}, but the model's head only "
                f"{num_classes} classes; set model.num_classes: {count}"
            )
