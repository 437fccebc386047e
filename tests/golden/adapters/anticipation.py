"""Short-term anticipation: average precision."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from golden.case import Case
from internvideo.tasks.anticipation.metric import Contacts, Picture, average_precision


def _contacts(given: dict[str, Tensor]) -> Contacts:
    empty = torch.zeros(0)
    return Contacts(
        given.get("boxes", empty).double().numpy().reshape(-1, 4),
        given.get("nouns", empty).long().numpy().reshape(-1),
        given.get("verbs", empty).long().numpy().reshape(-1),
        given.get("ttcs", empty).double().numpy().reshape(-1),
    )


def metrics(case: Case) -> None:
    config = case.meta["config"]
    pictures = []
    for number in range(config["images"]):
        found = case.group(f"input.{number}.pred.")
        scores = found.get("scores", torch.zeros(0)).double().numpy().reshape(-1)
        true = _contacts(case.group(f"input.{number}.gt."))
        pictures.append(Picture(true, _contacts(found), np.asarray(scores)))
    for name in case.group("output."):
        match = re.fullmatch(r"\w*?top(\d+)\.(m?ap)_box(?:_(\w+))?", name)
        assert match, f"{name} is no name of a metric"
        value = average_precision(
            pictures,
            [part for part in ("noun", "verb", "ttc") if part in (match[3] or "").split("_")],
            by_noun=match[2] == "map",
            top_k=int(match[1]),
            overlap=config["iou"],
            ttc_tolerance=config["ttc_tolerance"],
            count_all_classes=config["count_all_classes"],
        )
        case.assert_close(torch.tensor(value, dtype=torch.float64), f"output.{name}")


ADAPTERS = {"ego4d-sta-metrics": metrics}
