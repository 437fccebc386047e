"""Future hand prediction: targets and displacements, the network and its loss."""

from __future__ import annotations

import numpy as np
import torch

from golden.case import Case
from internvideo.annotations import VideoAnnotation
from internvideo.formats.ego4d_fhp import records
from internvideo.models.uniformer_video import UniFormerVideo, UniFormerVideoConfig
from internvideo.tasks.hand_prediction.losses import hand_loss
from internvideo.tasks.hand_prediction.metric import displacements, targets_of


def metrics(case: Case) -> None:
    clips = {
        each.id: each
        for each in records(case.meta["annotations"]["clips"], "annotations")
        if isinstance(each, VideoAnnotation)
    }
    targets = np.stack([targets_of(clips[name]) for name in case.meta["keys"]])
    case.assert_close(torch.from_numpy(targets), "output.targets")
    views = case.tensors["input.predictions"].numpy() / case.meta["config"].get("num_clips", 1)
    measured = displacements(views, targets)
    for name, value in measured.items():
        case.assert_close(torch.tensor(value, dtype=torch.float64), f"output.{name}_disp")


def network(case: Case) -> None:
    config = case.meta["config"]
    model = UniFormerVideo(
        UniFormerVideoConfig(
            num_classes=config["num_classes"],
            widths=tuple(config["embed_dim"]),
            depths=tuple(config["depth"]),
            head_dim=config["head_dim"],
            mlp_ratio=config.get("mlp_ratio", 4.0),
            drop_path_rate=0.0,
        )
    ).eval()
    model.load_state_dict(case.group("state."), strict=True)
    video, mask = case.tensors["input.video"], case.tensors["input.mask"]
    features = model.forward_features(video).volume().permute(0, 4, 1, 2, 3)
    case.assert_close(features, "output.features")
    logits = model(video)
    case.assert_close(logits, "output.logits")
    case.assert_close(logits * mask, "output.masked")
    loss = hand_loss(logits, case.tensors["input.target"], mask)
    case.assert_close(loss, "output.loss")
    loss.backward()
    for name in case.group("grad."):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        case.assert_close(gradient, f"grad.{name}")


ADAPTERS = {"ego4d-fhp": network, "ego4d-fhp-metrics": metrics}
