"""Unmasked Teacher: align the visible tokens of a masked student with a frozen image CLIP.

    clip ──► teacher ──► attention of its class token ──► which places stay visible
               │                                             │
               └──► its features at these places ◄── cosine ─┴── student that sees only these

Li et al., 2023, arXiv 2303.16058, first stage: no pixels, no text, no labels.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.models.clip_teacher import CLIPTeacher, Observation
from internvideo.models.unmasked_teacher import AlignmentLoss, UnmaskedTeacher, alignment_loss
from internvideo.tasks.unmasked_teacher.teaching import Teaching, of_task
from internvideo.video.augment import Augmentation
from internvideo.video.masks import (
    PlaceRule,
    draw_visible_places,
    flat_places,
    num_visible_places,
)
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

__all__ = ["UnmaskedTeacherPretraining"]


class UnmaskedTeacherPretraining(nn.Module):
    """Trains an `UnmaskedTeacher` student.

    The teacher is no part of the module: it has nothing to train, every process keeps all of it,
    and neither checkpoints nor saved models hold it. It follows the clips to their device.

    Args:
        model: the student.
        teacher: None makes a task that can hold weights, but not train.
        preprocessing: frames per clip, resolution and pixel statistics, for student and teacher.
        augmentation: how a training clip is cropped; None resizes as `preprocessing` says.
        mask: "attention" keeps what the teacher looks at, "tube" the same places in all frames,
            "random" any places; equally many in each frame.
        mask_ratio: share of the places of a frame that is hidden from the student.
        loss: "cosine" (the paper), "mse" or "smooth-l1", all between unit vectors.
        teacher_interval: distance of the teacher's layers that are aligned, counted from its last.

    Raises:
        ConfigError: teacher and student do not fit together, or the mask leaves nothing hidden.
    """

    def __init__(
        self,
        model: UnmaskedTeacher,
        teacher: CLIPTeacher | None,
        preprocessing: Preprocessing,
        *,
        augmentation: Augmentation | None = None,
        mask: PlaceRule = "attention",
        mask_ratio: float = 0.8,
        loss: AlignmentLoss = "cosine",
        teacher_interval: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.input = TrainingInput(preprocessing, augmentation)
        self.mask: PlaceRule = mask
        self.mask_ratio = mask_ratio
        self.loss: AlignmentLoss = loss
        places = model.config.encoder.grid[1] * model.config.encoder.grid[2]
        if not 0 < int(places * mask_ratio) < places:
            raise ConfigError(
                f"task.mask_ratio {mask_ratio} of the {places} places of a frame hides none or all"
            )
        self._teaching = (
            None
            if teacher is None
            else Teaching(
                teacher,
                target_width=model.config.target_width,
                num_targets=model.config.num_targets,
                interval=teacher_interval,
            )
        )

    @property
    def teacher(self) -> CLIPTeacher:
        """The frozen teacher.

        Raises:
            ConfigError: the task was built without one.
        """
        return of_task(self._teaching).teacher

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the frames "t h w c"; which places stay visible the teacher says on the device."""
        return [self.input.prepare(torch.from_numpy(sample.frames), rng)]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the distance of student and teacher at the visible places."""
        video = self.input.finish(batch)
        seen = self.observe(video)
        num_visible = num_visible_places(seen.attention.shape[2], self.mask_ratio)
        places = draw_visible_places(seen.attention, num_visible, rule=self.mask)
        return {"loss": self.align(video, seen, places)}

    def observe(self, video: Float[Tensor, "b c t y x"]) -> Observation:
        """Let the teacher look at normalised clips, see `Teaching.observe`."""
        patch_size = self.model.config.encoder.patch_size
        return of_task(self._teaching).observe(video, patch_size=patch_size)

    def align(
        self, video: Float[Tensor, "b c t y x"], seen: Observation, places: Int[Tensor, "b t v"]
    ) -> Float[Tensor, ""]:
        """Return the loss of the student that sees only `places` of each frame."""
        targets = self.teacher.targets(seen, places)
        answers = self.model(video, flat_places(places, seen.attention.shape[2]))
        return alignment_loss(answers, targets, self.loss)
