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
from internvideo.models.clip_teacher import CLIPTeacher, Observation, last_layers, resize_frames
from internvideo.models.tubelets import tubelet_grid
from internvideo.models.unmasked_teacher import AlignmentLoss, UnmaskedTeacher, alignment_loss
from internvideo.video.augment import Augmentation
from internvideo.video.masks import (
    PlaceRule,
    draw_visible_places,
    flat_places,
    num_visible_places,
)
from internvideo.video.preprocessing import Preprocessing

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
        self.augmentation = augmentation
        self.mask: PlaceRule = mask
        self.mask_ratio = mask_ratio
        self.loss: AlignmentLoss = loss
        places = model.config.encoder.grid[1] * model.config.encoder.grid[2]
        if not 0 < int(places * mask_ratio) < places:
            raise ConfigError(
                f"task.mask_ratio {mask_ratio} of the {places} places of a frame hides none or all"
            )
        self._teacher: tuple[CLIPTeacher, ...] = ()  # a tuple: not a submodule
        self._layers: tuple[int, ...] = ()
        if teacher is not None:
            self._teacher = (teacher,)
            self._layers = _teacher_layers(model, teacher, teacher_interval)

    @property
    def teacher(self) -> CLIPTeacher:
        """The frozen teacher.

        Raises:
            ConfigError: the task was built without one.
        """
        if not self._teacher:
            raise ConfigError("this task was built without its teacher, it cannot train")
        return self._teacher[0]

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the frames "t h w c"; which places stay visible the teacher says on the device."""
        frames = torch.from_numpy(sample.frames)
        if self.augmentation is None:
            return [{"video": self.preprocessing.resize(frames)}]
        draw = self.augmentation.draw(frames.shape[1], frames.shape[2], rng=rng)
        tensors = self.augmentation.draw_tensors(draw)
        return [{"video": self.augmentation.cut(frames, draw), **tensors}]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the distance of student and teacher at the visible places."""
        if self.augmentation is None:
            video = self.preprocessing.normalize(batch["video"])
        else:
            video = self.augmentation.finish(batch["video"], batch)
        seen = self.observe(video)
        num_visible = num_visible_places(seen.attention.shape[2], self.mask_ratio)
        places = draw_visible_places(seen.attention, num_visible, rule=self.mask)
        return {"loss": self.align(video, seen, places)}

    def observe(self, video: Float[Tensor, "b c t y x"]) -> Observation:
        """Let the teacher look at normalised clips, resized so that its patches are the student's.

        Raises:
            ValueError: the clips cannot be cut into the student's patches.
        """
        teacher = self.teacher
        if teacher.proj.device != video.device:
            teacher.to(video.device)
        _, rows, columns = tubelet_grid(
            video, tubelet_size=1, patch_size=self.model.config.encoder.patch_size
        )
        patch = teacher.config.patch_size
        return teacher.observe(resize_frames(video, (rows * patch, columns * patch)), self._layers)

    def align(
        self, video: Float[Tensor, "b c t y x"], seen: Observation, places: Int[Tensor, "b t v"]
    ) -> Float[Tensor, ""]:
        """Return the loss of the student that sees only `places` of each frame."""
        targets = self.teacher.targets(seen, places)
        answers = self.model(video, flat_places(places, seen.attention.shape[2]))
        return alignment_loss(answers, targets, self.loss)


def _teacher_layers(
    model: UnmaskedTeacher, teacher: CLIPTeacher, interval: float
) -> tuple[int, ...]:
    """Return the layers of the teacher, one for each of the student's."""
    student, config = model.config, teacher.config
    if config.embed_dim != student.target_width:
        raise ConfigError(
            f"the teacher's features have width {config.embed_dim}, model.target_width is "
            f"{student.target_width}; make them equal"
        )
    try:
        return last_layers(config.depth, student.num_targets, interval)
    except ValueError as error:
        raise ConfigError(f"task.teacher_interval: {error}") from None
