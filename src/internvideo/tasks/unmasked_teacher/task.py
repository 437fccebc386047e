"""Unmasked Teacher: align the visible tokens of a masked student with a frozen image CLIP.

    clip ──► teacher ──► attention of its class token ──► which places stay visible
               │                                             │
               └──► its features at these places ◄── cosine ─┴── student that sees only these

Li et al., 2023, arXiv 2303.16058, first stage: no pixels, no text, no labels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from internvideo.config import Fraction, Positive, config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.clip_teacher import CLIPTeacher, Observation
from internvideo.models.unmasked_teacher import AlignmentLoss, UnmaskedTeacher, alignment_loss
from internvideo.tasks.parts import Parts
from internvideo.tasks.unmasked_teacher.teaching import Teaching
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.masks import PlaceRule, draw_visible_places, flat_places, num_visible_places
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo import load_clip_teacher

__all__ = ["UnmaskedTeacherPretraining", "UnmaskedTeacherPretrainingConfig", "build"]


@config_class
class UnmaskedTeacherPretrainingConfig:
    """Alignment of the visible tokens with a frozen image CLIP, by an `UnmaskedTeacher` student."""

    kind: Literal["unmasked-teacher"] = "unmasked-teacher"
    teacher: str = Field(description="an image CLIP: a model name, a file or a directory")
    teacher_interval: Positive = Field(
        default=1.0, description="distance of the aligned layers, counted from the teacher's last"
    )
    mask: PlaceRule = Field(
        default="attention",
        description="attention: what the teacher looks at stays visible; tube: the same places in "
        "all frames; random: any places; equally many in each frame",
    )
    mask_ratio: Fraction = Field(
        default=0.8, description="share of the places of a frame that is hidden from the student"
    )
    loss: AlignmentLoss = Field(default="cosine", description="between unit vectors")


class UnmaskedTeacherPretraining(TrainableTask[UnmaskedTeacher]):
    """Trains an `UnmaskedTeacher` student; `teaching` holds its teacher, outside of the module.

    Raises:
        ConfigError: teacher and student do not fit together, or the mask leaves nothing hidden.
    """

    def __init__(
        self,
        model: UnmaskedTeacher,
        teacher: CLIPTeacher | None,
        preprocessing: Preprocessing,
        config: UnmaskedTeacherPretrainingConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        places = model.config.encoder.grid[1] * model.config.encoder.grid[2]
        if not 0 < int(places * config.mask_ratio) < places:
            raise ConfigError(
                f"task.mask_ratio {config.mask_ratio} of the {places} places of a frame hides none "
                "or all"
            )
        self.teaching = Teaching(teacher, model.config, interval=config.teacher_interval)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return the frames "t h w c"; the teacher chooses the visible places on the device."""
        return [self.input.prepare(from_numpy(sample.frames), rng)]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the distance of student and teacher at the visible places."""
        video = self.input.finish(batch)
        seen = self.teaching.observe(video)
        num_visible = num_visible_places(seen.attention.shape[2], self.config.mask_ratio)
        places = draw_visible_places(seen.attention, num_visible, rule=self.config.mask)
        return {"loss": self.align(video, seen, places)}

    def align(
        self, video: Float[Tensor, "b c t y x"], seen: Observation, places: Int[Tensor, "b t v"]
    ) -> Float[Tensor, ""]:
        """Return the loss of the student that sees only `places` of each frame."""
        targets = self.teaching.teacher.targets(seen, places)
        answers = self.model(video, flat_places(places, seen.attention.shape[2]))
        return alignment_loss(answers, targets, self.config.loss)


def build(config: UnmaskedTeacherPretrainingConfig, parts: Parts) -> UnmaskedTeacherPretraining:
    """Build the task of a recipe; the student's encoder starts from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    teacher = load_clip_teacher(config.teacher) if parts.with_weights else None
    task = UnmaskedTeacherPretraining(
        model, teacher, parts.preprocessing, config, augmentation=parts.augmentation
    )
    parts.start_encoder(model)
    return task
