"""Video-language contrast and captioning: how ViCLIP and InternVideo-MM are pretrained."""

from __future__ import annotations

from internvideo.tasks.contrastive.task import ContrastiveConfig, build
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="contrastive",
    objectives=(
        Objective(config=ContrastiveConfig, models=("viclip", "internvideo-mm"), build=build),
    ),
)
