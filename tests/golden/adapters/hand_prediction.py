"""Future hand prediction: targets and displacements."""

from __future__ import annotations

import numpy as np
import torch

from golden.case import Case
from internvideo.tasks.hand_prediction.metric import displacements
from internvideo.tasks.hand_prediction.reading import HandClip, hand_clips


def metrics(case: Case) -> None:
    clips = {
        each.name: each
        for each in hand_clips(case.meta["annotations"]["clips"])
        if isinstance(each, HandClip)
    }
    targets = np.stack([clips[name].hands.reshape(20) for name in case.meta["keys"]])
    case.assert_close(torch.from_numpy(targets), "output.targets")
    views = case.tensors["input.predictions"].numpy() / case.meta["config"].get("num_clips", 1)
    measured = displacements(views, targets)
    for name, value in measured.items():
        case.assert_close(torch.tensor(value, dtype=torch.float64), f"output.{name}_disp")


ADAPTERS = {"ego4d-fhp-metrics": metrics}
