"""The frozen image CLIP that both stages of the unmasked teacher learn from."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.models.clip_teacher import CLIPTeacher, Observation, last_layers, resize_frames
from internvideo.models.tubelets import tubelet_grid

__all__ = ["Teaching", "of_task"]


class Teaching:
    """A teacher with the layers that a student agrees with.

    No module: the teacher has nothing to train, so a task that holds one keeps it out of the
    optimiser, the checkpoints and the saved models. It follows the clips to their device.

    Args:
        teacher: the frozen model.
        target_width: width of the features that the student predicts.
        num_targets: layers that the student predicts.
        interval: distance of the teacher's layers, counted from its last.
        key: where a recipe has the student's configuration, for messages.

    Raises:
        ConfigError: teacher and student do not fit together.
    """

    def __init__(
        self,
        teacher: CLIPTeacher,
        *,
        target_width: int,
        num_targets: int,
        interval: float,
        key: str = "model",
    ) -> None:
        config = teacher.config
        if config.embed_dim != target_width:
            raise ConfigError(
                f"the teacher's features have width {config.embed_dim}, {key}.target_width is "
                f"{target_width}; make them equal"
            )
        try:
            self.layers = last_layers(config.depth, num_targets, interval)
        except ValueError as error:
            raise ConfigError(f"task.teacher_interval: {error}") from None
        self.teacher = teacher

    def observe(self, video: Float[Tensor, "b c t y x"], *, patch_size: int) -> Observation:
        """Let the teacher look at normalised clips, resized so that its patches are the student's.

        Args:
            video: the clips of the student.
            patch_size: of the student, pixels.

        Raises:
            ConfigError: the clips cannot be cut into the student's patches.
        """
        teacher = self.teacher
        if teacher.proj.device != video.device:
            teacher.to(video.device)
        _, rows, columns = tubelet_grid(video, tubelet_size=1, patch_size=patch_size)
        patch = teacher.config.patch_size
        return teacher.observe(resize_frames(video, (rows * patch, columns * patch)), self.layers)


def of_task(teaching: Teaching | None) -> Teaching:
    """Return what a task teaches with.

    Raises:
        ConfigError: the task was built without a teacher, to hold weights only.
    """
    if teaching is None:
        raise ConfigError("this task was built without its teacher, it cannot train")
    return teaching
