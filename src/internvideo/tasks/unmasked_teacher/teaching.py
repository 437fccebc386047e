"""The frozen image CLIP that both stages of the unmasked teacher learn from."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.models.clip_teacher import CLIPTeacher, Observation, last_layers, resize_frames
from internvideo.models.tubelets import tubelet_grid
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig

__all__ = ["Teaching"]


class Teaching:
    """A teacher with the layers that a student agrees with.

    Not a module: the teacher has nothing to train, so a task that holds one keeps it out of the
    optimiser, the checkpoints and the saved models. It follows the clips to their device.

    Args:
        teacher: the frozen model; None makes a task that can hold weights, but not train.
        student: the student's encoder, and the features that it predicts.
        interval: distance of the teacher's layers, counted from its last.
        key: where a recipe has `student`, for messages.

    Raises:
        ConfigError: teacher and student do not fit together.
    """

    def __init__(
        self,
        teacher: CLIPTeacher | None,
        student: UnmaskedTeacherConfig,
        *,
        interval: float,
        key: str = "model",
    ) -> None:
        self._teacher = teacher
        self._patch_size = student.encoder.patch_size
        if teacher is None:
            return
        config = teacher.config
        if config.embed_dim != student.target_width:
            raise ConfigError(
                f"the teacher's features have width {config.embed_dim}, {key}.target_width is "
                f"{student.target_width}; make them equal"
            )
        try:
            self._layers = last_layers(config.depth, student.num_targets, interval)
        except ValueError as error:
            raise ConfigError(f"task.teacher_interval: {error}") from None

    @property
    def teacher(self) -> CLIPTeacher:
        """The frozen model.

        Raises:
            ConfigError: the task has no teacher.
        """
        if self._teacher is None:
            raise ConfigError("this task was built without its teacher, it cannot train")
        return self._teacher

    def observe(self, video: Float[Tensor, "b c t y x"]) -> Observation:
        """Let the teacher look at normalised clips, resized so that its patches are the student's.

        Raises:
            ConfigError: there is no teacher, or the clips cannot be cut into the student's patches.
        """
        teacher = self.teacher
        if teacher.proj.device != video.device:
            teacher.to(video.device)
        _, rows, columns = tubelet_grid(video, tubelet_size=1, patch_size=self._patch_size)
        patch = teacher.config.patch_size
        return teacher.observe(resize_frames(video, (rows * patch, columns * patch)), self._layers)
