"""Short-term anticipation: average precision, the network and its losses."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.case import Case
from internvideo.models.contact_anticipator import (
    ContactAnticipator,
    ContactAnticipatorConfig,
    box_embedding,
)
from internvideo.tasks.anticipation.losses import contact_losses
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


def _rois(boxes: list[Tensor]) -> Tensor:
    numbered = [F.pad(each, (1, 0), value=float(clip)) for clip, each in enumerate(boxes)]
    return torch.cat(numbered)


def network(case: Case) -> None:
    config, get = case.meta["config"], case.tensors
    shape = ContactAnticipatorConfig(
        image_size=config["img_size"],
        num_frames=config["all_frames"],
        patch_size=config["patch_size"],
        tubelet_size=config["tubelet_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        norm_eps=config["ln_eps"],
        num_verbs=config["num_verbs"],
        roi_size=config["roi_resolution"],
        roi_stride=config["scale_factor"],
    )
    model = ContactAnticipator(shape)
    model.load_state_dict(case.group("state."), strict=True)
    clips = range(len(get["input.video"]))

    def of_all(name: str) -> list[Tensor]:
        return [get[f"input.{name}.{clip}"] for clip in clips]

    verbs, ttcs = model(get["input.video"], _rois(of_all("boxes")))
    case.assert_close(verbs, "output.train_verb_logits")
    case.assert_close(ttcs, "output.train_ttc")
    true = torch.cat(of_all("verb_labels")), torch.cat(of_all("ttc_targets"))
    losses = contact_losses(verbs, ttcs, *true)
    weights = config["loss_weights_verb_ttc"]
    loss = weights[0] * losses[0] + weights[1] * losses[1]
    case.assert_close(loss, "output.loss")
    loss.backward()
    for name in case.group("grad."):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        case.assert_close(gradient, f"grad.{name}")

    boxes = get["input.eval_boxes"]
    case.assert_close(box_embedding(boxes, shape.width), "output.box_embed")
    told = "eval_verb_probs", "eval_ttc_with_box_embed"
    plain = "eval_verb_probs_evalcode", "eval_ttc_plain"
    for embedded, names in ((True, told), (False, plain)):
        asked = ContactAnticipator(replace(shape, ttc_box_embedding=embedded)).eval()
        asked.load_state_dict(case.group("state."), strict=True)
        verbs, ttcs = asked(get["input.eval_video"], _rois([boxes]))
        case.assert_close(verbs.softmax(dim=1), f"output.{names[0]}")
        case.assert_close(ttcs, f"output.{names[1]}")


ADAPTERS = {"ego4d-sta": network, "ego4d-sta-metrics": metrics}
