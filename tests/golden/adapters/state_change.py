"""State change object detection: average precision, the detector, denoising and its losses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from golden.case import Case
from internvideo.models.dino import DINO, DINOConfig
from internvideo.models.swin import SwinConfig
from internvideo.models.uniformer_pyramid import UniFormerPyramidConfig
from internvideo.tasks.state_change.denoising import DenoisingConfig, Drawn, noisy_queries
from internvideo.tasks.state_change.finding import best_boxes
from internvideo.tasks.state_change.losses import LossWeights, TrueBoxes, detection_losses, total
from internvideo.tasks.state_change.metric import PictureBoxes, box_ap


def coco(case: Case) -> None:
    given = case.group("input.")
    numbers = sorted({int(name.split(".")[0]) for name in given})
    pictures = [
        PictureBoxes(
            given[f"{n}.gt_xywh"].numpy().reshape(-1, 4),
            given[f"{n}.det_xywh"].numpy().reshape(-1, 4),
            given[f"{n}.det_score"].numpy().reshape(-1),
        )
        for n in numbers
    ]
    measured = box_ap(pictures, limits=case.meta["config"]["maxDets"])
    tolerance = case.tolerance()
    for name, expected in case.group("output.").items():
        actual = _number(measured, name)
        assert actual == pytest.approx(
            expected.item(), rel=tolerance["rtol"], abs=tolerance["atol"], nan_ok=True
        ), name


def _number(measured, name: str) -> float:
    """Return what a stored output is called; the reference says -1 where nothing counts."""
    if match := re.fullmatch(r"AP(?:_all)?_maxdet(\d+)", name):
        value = measured.ap(limit=int(match[1]))
    elif match := re.fullmatch(r"AP(\d\d)", name):
        value = measured.ap(overlap=int(match[1]) / 100)
    elif match := re.fullmatch(r"AR@(\d+)", name):
        value = measured.ar(limit=int(match[1]))
    else:
        kind, size = name.split("_")
        value = {"AP": measured.ap, "AR": measured.ar}[kind](size=size)
    return -1.0 if value != value else value


def backbone_config(config: dict[str, Any], state: dict[str, torch.Tensor]) -> Any:
    if config["type"] != "UniFormer":
        return SwinConfig(
            width=config["embed_dims"],
            depths=tuple(config["depths"]),
            num_heads=tuple(config["num_heads"]),
            window_size=config["window_size"],
            mlp_ratio=config.get("mlp_ratio", 4),
            drop_path_rate=0.0,
        )
    third = "hybrid" if config.get("hybrid") else "global"
    return UniFormerPyramidConfig(
        widths=tuple(config["embed_dim"]),
        depths=tuple(config["layers"]),
        head_dim=config["head_dim"],
        mlp_ratio=config.get("mlp_ratio", 4),
        third_stage="windows" if config.get("windows") else third,
        window_size=config.get("window_size", 14),
        layer_scale=not state or any(name.endswith("gamma_1") for name in state),
        drop_path_rate=0.0,
    )


def network(case: Case) -> DINO:
    config, state = case.meta["config"], case.group("state.")
    head, neck = config["bbox_head"], config["neck"]
    transformer = head["transformer"]
    encoder, decoder = transformer["encoder"], transformer["decoder"]
    attention = encoder["transformerlayers"]["attn_cfgs"]
    inside = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    model = DINO(
        DINOConfig(
            backbone=backbone_config(config["backbone"], inside),
            num_classes=head["num_classes"],
            width=head["in_channels"],
            num_levels=neck["num_outs"],
            num_heads=attention.get("num_heads", 8),
            num_points=attention.get("num_points", 4),
            encoder_depth=encoder["num_layers"],
            decoder_depth=decoder["num_layers"],
            mlp_hidden=encoder["transformerlayers"]["feedforward_channels"],
            num_queries=head["num_query"],
            norm_groups=neck["norm_cfg"]["num_groups"],
            position_temperature=head["positional_encoding"]["temperature"],
        )
    )
    lacking, unknown = model.load_state_dict(state, strict=False)
    assert not unknown
    assert inside or not [name for name in lacking if name.startswith("bbox_head.")]
    assert not inside or not lacking
    return model.eval()


def loss_weights(head: dict[str, Any]) -> LossWeights:
    costs = head["train_cfg"]["assigner"]
    return LossWeights(
        class_cost=float(costs["cls_cost"]["weight"]),
        box_cost=float(costs["reg_cost"]["weight"]),
        overlap_cost=float(costs["iou_cost"]["weight"]),
        class_loss=float(head["loss_cls"]["loss_weight"]),
        box_loss=float(head["loss_bbox"]["loss_weight"]),
        overlap_loss=float(head["loss_iou"]["loss_weight"]),
        alpha=float(head["loss_cls"]["alpha"]),
        gamma=float(head["loss_cls"]["gamma"]),
    )


def true_boxes(case: Case) -> list[TrueBoxes]:
    given, sizes = case.group("input."), case.tensors["input.img_shapes"].tolist()
    found = []
    for number, (height, width) in enumerate(sizes):
        boxes = given[f"gt_boxes.{number}"].reshape(-1, 4)
        labels = given.get(f"gt_labels.{number}", torch.zeros(len(boxes), dtype=torch.long))
        found.append(TrueBoxes(boxes, labels.long(), (height, width)))
    return found


def shown_pixels(sizes: list[list[int]], height: int, width: int) -> torch.Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return torch.stack([(rows < h) & (columns < w) for h, w in sizes])


def check_losses(case: Case, model: DINO, losses: dict[str, torch.Tensor]) -> None:
    stored = case.group("output.loss.")
    assert losses.keys() == stored.keys()
    for name, loss in losses.items():
        case.assert_close(loss, f"output.loss.{name}")
    case.assert_close(total(losses), "output.loss_total")
    total(losses).backward()
    parameters = dict(model.named_parameters())
    for name in case.group("grad."):
        case.assert_close(parameters[name].grad, f"grad.{name}")


def rescaled(own: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """Return by what a picture was enlarged along x and y, which the case does not say."""
    x, y = (own[:, axis::2].sum() / stored[:, axis::2].sum() for axis in (0, 1))
    return torch.stack([x, y, x, y])


def dino(case: Case) -> None:
    model, head = network(case), case.meta["config"]["bbox_head"]
    images, sizes = case.tensors["input.image"], case.tensors["input.img_shapes"].tolist()
    shown = shown_pixels(sizes, images.shape[2], images.shape[3])
    for number, found in enumerate(model.backbone(images)):
        case.assert_close(found, f"output.backbone.{number}")
    maps = model.pyramid(images)
    for number, found in enumerate(maps):
        case.assert_close(found, f"output.neck.{number}")
    found = model.detect(maps, shown)
    case.assert_close(found.logits, "output.all_cls")
    case.assert_close(found.boxes, "output.all_box_cxcywh")
    case.assert_close(found.start_logits, "output.topk_score")
    case.assert_close(found.start_boxes, "output.topk_anchor")
    for number, size in enumerate(sizes):
        best = best_boxes(
            found.logits[-1, number], found.boxes[-1, number], tuple(size),
            limit=case.meta["config"]["test_cfg"]["max_per_img"],
        )  # fmt: skip
        stored = case.tensors[f"output.det.{number}.boxes_score"]
        own = best.boxes.detach() / rescaled(best.boxes.detach(), stored[:, :4])
        scored = torch.cat([own, best.scores.detach()[:, None]], dim=1)
        case.assert_close(scored, f"output.det.{number}.boxes_score")
        assert torch.equal(best.labels, case.tensors[f"output.det.{number}.labels"])
    if "output.loss_total" in case.tensors:
        losses = detection_losses(found, true_boxes(case), loss_weights(head))
        check_losses(case, model, losses)


def denoising_config(given: dict[str, Any]) -> DenoisingConfig:
    noise, groups = given.get("noise_scale", {}), given.get("group_cfg", {})
    return DenoisingConfig(
        num_queries=given.get("num_dn_queries", groups.get("num_dn_queries", 100)),
        label_noise=float(given.get("label_noise", noise.get("label", 0.5))),
        box_noise=float(given.get("box_noise", noise.get("box", 1.0))),
    )


def denoising(case: Case) -> None:
    model, head = network(case), case.meta["config"]["bbox_head"]
    true, given = true_boxes(case), case.group("input.")
    drawn = Drawn(
        labels=given["rand.label_p"], classes=given["rand.new_label"],
        signs=given["rand.sign01"], parts=given["rand.part"],
    )  # fmt: skip
    noisy = noisy_queries(model, true, denoising_config(head["dn_cfg"]), drawn)
    queries = noisy.queries
    case.assert_close(queries.labels, "output.dn_label_query")
    case.assert_close(queries.boxes, "output.dn_box_query")
    assert torch.equal(queries.blocked, case.tensors["output.attn_mask"].bool())
    assert noisy.num_queries == case.tensors["output.pad_size"].item()
    assert noisy.num_groups == case.tensors["output.groups"].item()
    maps = [given[f"neck.{number}"] for number in range(model.config.num_levels)]
    sizes = given["img_shapes"].tolist()
    shown = shown_pixels(sizes, *(4 * extent for extent in maps[0].shape[2:]))
    losses = detection_losses(model.detect(maps, shown, queries), true, loss_weights(head), noisy)
    check_losses(case, model, losses)


ADAPTERS = {"ego4d-scod-coco": coco, "ego4d-scod-dino": dino, "ego4d-scod-dn": denoising}
