"""Masked video modelling: hide most of a clip, reconstruct it; and a viewer of the results."""

from __future__ import annotations

from internvideo.tasks.masked.task import MaskedConfig, build
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="masked",
    objectives=(Objective(config=MaskedConfig, models=("videomae/pretraining",), build=build),),
)
