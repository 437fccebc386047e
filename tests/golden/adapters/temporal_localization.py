"""Temporal localisation: the detector, its labels and losses, truncation and time grids."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from golden.case import Case
from internvideo.annotations import Segment, VideoAnnotation
from internvideo.data.features import FeatureSequence
from internvideo.evaluation.localizer import padded, padded_length
from internvideo.evaluation.segment_decoding import decode, in_seconds
from internvideo.evaluation.segment_nms import SegmentNMS
from internvideo.evaluation.segments import Segments
from internvideo.models.actionformer import ActionFormer, Candidates
from internvideo.models.actionformer_config import ActionFormerConfig, RowGrid, Selection
from internvideo.tasks.temporal_localization.labels import (
    Points,
    Targets,
    assign,
    joined,
    pyramid_points,
    stride_ranges,
)
from internvideo.tasks.temporal_localization.losses import (
    LossNormalizer,
    detection_loss,
    iou_loss,
    sigmoid_focal_loss,
)
from internvideo.tasks.temporal_localization.sequences import Sequence, actions_of, cut, on_grid
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.optim import build_optimizer
from internvideo.train.schedules import Schedule
from internvideo.zoo.tables import OFFICIAL_ACTIONFORMER

FORK = "fork"


def listed(value: Any) -> tuple:
    return tuple(value) if isinstance(value, list) else (value,)


def model_config(config: dict, **fields: Any) -> ActionFormerConfig:
    """Return our configuration for one in the reference's terms."""
    widths, training = listed(config["embd_dim"]), config.get("train_cfg", {})
    embeds, stem, branch = config["backbone_arch"]
    values = {
        "input_dims": listed(config["input_dim"]),
        "embed_dims": widths if isinstance(config["input_dim"], list) else (),
        "num_classes": config["num_classes"],
        "width": sum(widths),
        "num_heads": config["n_head"],
        "windows": listed(config["n_mha_win_size"]),
        "num_embed": embeds,
        "num_stem": stem,
        "num_branch": branch,
        "max_length": config["max_seq_len"],
        "head_width": sum(widths),
        "padding": "reference",
        **fields,
    }
    names = {
        "embed_kernel": "embd_kernel_size",
        "embed_norm": "embd_with_ln",
        "positions": "use_abs_pe",
        "relative": "use_rel_pe",
        "neck": "fpn_type",
        "neck_norm": "fpn_with_ln",
        "first_level": "fpn_start_level",
        "head_width": "head_dim",
        "head_kernel": "head_kernel_size",
        "head_depth": "head_num_layers",
        "head_norm": "head_with_ln",
    }
    values |= {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
    named = {
        "drop_rate": "dropout",
        "drop_path_rate": "droppath",
        "prior": "cls_prior_prob",
    }
    values |= {ours: training[theirs] for ours, theirs in named.items() if theirs in training}
    if "backbone_type" in config:
        attends = config["backbone_type"] == "convTransformer"
        values["backbone"] = "attention" if attends else "convolution"
    if "head_empty_cls" in training:
        values["absent_classes"] = tuple(training["head_empty_cls"])
    return ActionFormerConfig(**values)


def numbered(case: Case, prefix: str) -> list[Tensor]:
    """Return the tensors `prefix0`, `prefix1`, …"""
    group = case.group(prefix)
    return [group[str(n)] for n in range(len(group)) if str(n) in group]


def actionformer(case: Case) -> None:
    config, tolerance = case.meta["config"], case.meta["tolerance"]
    # In evaluation mode, for the case has neither dropout nor stochastic depth.
    model = ActionFormer(model_config(config)).eval()
    model.load_state_dict(OFFICIAL_ACTIONFORMER.to_ours(case.group("state.")), strict=True)
    near = {"rtol": tolerance["features_logits"], "atol": tolerance["features_logits"]}
    training(case, model, near)
    for number, num_rows in enumerate(case.meta["infer_lens"]):
        features = case.tensors[f"input.infer.feats.{number}"].T
        assert len(features) == num_rows
        inference(case, model, features, number, near)


def training(case: Case, model: ActionFormer, near: dict) -> None:
    config, tolerance = case.meta["config"], case.meta["tolerance"]
    videos = [each.T for each in numbered(case, "input.train.feats.")]
    features, valid = padded(videos, config["max_seq_len"])
    case.assert_close(features.sum(dim=(1, 2)), "output.train.batched_inputs_sum", rtol=1e-4)
    if valid is not None:
        assert torch.equal(valid[:, None], case.tensors["output.train.batched_masks"].bool())
    levels, _ = model.pyramid(features, valid)
    for level, x in enumerate(levels):
        case.assert_close(x.transpose(1, 2), f"output.train.fpn_feat.{level}", **near)
    found = model(features, valid)
    assert_candidates(case, found, "output.train", near)
    masks = numbered(case, "output.train.fpn_mask.")
    own = found.valid or [torch.ones_like(mask[:, 0]).bool() for mask in masks]
    for ours, theirs in zip(own, masks, strict=True):
        assert torch.equal(ours[:, None], theirs.bool())

    ranges = [tuple(map(float, each)) for each in config["regression_range"]]
    points = pyramid_points(config["max_seq_len"], model.config.strides, ranges)
    for level, each in enumerate(points):
        assert torch.equal(as_rows(each), case.tensors[f"output.train.points.{level}"])
    setting = config["train_cfg"]
    radius = setting["center_sample_radius"] if setting["center_sample"] == "radius" else None
    targets = []
    for number in range(len(videos)):
        segments = case.tensors[f"input.train.segments.{number}"]
        labels = case.tensors[f"input.train.labels.{number}"]
        targets.append(
            assign(joined(points), segments, labels, config["num_classes"], radius=radius)
        )
        case.assert_close(targets[-1].classes, f"output.train.gt_cls.{number}", **near)
        case.assert_close(targets[-1].offsets, f"output.train.gt_offsets.{number}", **near)

    normalizer = LossNormalizer(case.meta["loss_normalizer"]["before"])
    weight = setting["loss_weight"] if setting["loss_weight"] > 0 else None

    def losses() -> Any:
        return detection_loss(
            torch.cat(found.logits, dim=1),
            torch.cat(found.offsets, dim=1),
            torch.stack([each.classes for each in targets]),
            torch.stack([each.offsets for each in targets]),
            torch.cat([mask.bool()[:, 0] for mask in masks], dim=1),
            normalizer,
            label_smoothing=setting["label_smoothing"],
            boundary_weight=weight,
        )

    first = losses()
    steps = case.meta["loss_normalizer"]
    torch.testing.assert_close(normalizer.value.item(), steps["after_first"], rtol=1e-6, atol=0)
    loose = {"rtol": tolerance["losses"], "atol": tolerance["losses"]}
    case.assert_close(first.total, "output.train.final_loss", **loose)
    case.assert_close(first.classes, "output.train.cls_loss", **loose)
    case.assert_close(first.boundaries, "output.train.reg_loss", **loose)
    case.assert_close(losses().total, "output.train.final_loss_second_call", **loose)
    torch.testing.assert_close(normalizer.value.item(), steps["after_second"], rtol=1e-6, atol=0)
    first.total.backward()
    gradients(case, model)


def gradients(case: Case, model: ActionFormer) -> None:
    tolerance = case.meta["tolerance"]["grads"]
    own = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is not None for grad in own.values())
    official = OFFICIAL_ACTIONFORMER.to_official(own)
    assert case.group("grad.").keys() <= official.keys()
    for name, expected in case.group("grad.").items():
        atol = max(tolerance * float(expected.abs().max()), 1e-7)
        case.assert_close(official[name], f"grad.{name}", rtol=tolerance, atol=atol)
    norm = torch.stack([grad.norm() for grad in official.values()]).norm()
    case.assert_close(norm, "output.train.grad_total_norm", rtol=tolerance, atol=tolerance)


def assert_candidates(case: Case, found: Candidates, prefix: str, near: dict) -> None:
    assert len(found.logits) == len(numbered(case, f"{prefix}.cls_logits."))
    for level, (logits, offsets) in enumerate(zip(found.logits, found.offsets, strict=True)):
        case.assert_close(logits, f"{prefix}.cls_logits.{level}", **near)
        case.assert_close(offsets, f"{prefix}.offsets.{level}", **near)


@torch.no_grad()
def inference(case: Case, model: ActionFormer, features: Tensor, number: int, near: dict) -> None:
    prefix, setting = f"output.infer.{number}", case.meta["config"]["test_cfg"]
    tolerance = case.meta["tolerance"]
    found = model(*padded([features], padded_length(model.config, len(features))))
    assert_candidates(case, found, prefix, near)
    decoding = Selection(
        min_score=setting["pre_nms_thresh"],
        per_level=setting["pre_nms_topk"],
        min_length=setting["duration_thresh"],
    )
    (segments,) = decode(found, model.config.strides, decoding)
    assert_segments(case, segments, f"{prefix}.pre_nms", tolerance)

    about = case.meta["video_meta"]
    sequence = FeatureSequence(
        features=features,
        fps=about["fps"],
        stride=about["feat_stride"],
        window=about["feat_num_frames"],
        duration=len(features) * 4 / 30 + 0.3,
    )
    suppression = SegmentNMS(
        method={"soft": "gaussian"}.get(setting["nms_method"], setting["nms_method"]),
        per_class=setting["multiclass_nms"],
        sigma=setting["nms_sigma"],
        iou_threshold=setting["iou_threshold"],
        min_score=setting["min_score"],
        max_segments=setting["max_seg_num"],
        voting=setting["voting_thresh"],
        votes="score" if FORK in case.meta["reference"] else "score-iou",
    )
    final = in_seconds(suppression(segments), sequence)
    assert_segments(case, final, f"{prefix}.final", tolerance)


def assert_segments(case: Case, found: Segments, prefix: str, tolerance: dict) -> None:
    """Compare segments; the order of those that score the same does not count."""
    ours = [torch.from_numpy(each) for each in (found.times, found.scores, found.labels)]
    names = ("segments", "scores", "labels")
    theirs = [case.tensors[f"{prefix}.{name}"] for name in names]
    case.assert_close(ours[1], f"{prefix}.scores", rtol=0, atol=tolerance["scores"])
    near = (ours[1].double() - theirs[1].double()[:, None]).abs() <= 1e-6 + tolerance["scores"]
    apart = (ours[0].double() - theirs[0].double()[:, None]).abs().amax(dim=-1)
    same = near & (apart <= tolerance["segments"]) & (ours[2] == theirs[2][:, None])
    assert same.any(dim=0).all(), f"{case.name}: {prefix}: segments of ours that are not theirs"
    assert same.any(dim=1).all(), f"{case.name}: {prefix}: segments of theirs that are not ours"


def as_rows(points: Points) -> Tensor:
    return torch.stack([points.times, points.lowest, points.highest, points.strides], dim=1)


def labels(case: Case) -> None:
    meta, tolerance = case.meta, case.meta["tolerance"]
    ranges = [tuple(map(float, each)) for each in meta["regression_range"]]
    if ranges == list(stride_ranges(meta["fpn_strides"])):
        ranges = list(stride_ranges(meta["fpn_strides"]))
    points = pyramid_points(meta["feat_len"], meta["fpn_strides"], ranges)
    for level, each in enumerate(points):
        assert torch.equal(as_rows(each), case.tensors[f"output.points.{level}"])
    segments, classes = case.tensors["input.segments"], case.tensors["input.labels"]
    modes = {name.split(".cls")[0] for name in case.group("output.") if name.endswith(".cls")}
    assert modes
    for mode in modes:
        radius = float(mode.removeprefix("radius")) if mode.startswith("radius") else None
        none = mode == "empty"
        found = assign(
            joined(points),
            segments[:0] if none else segments,
            classes[:0] if none else classes,
            meta["num_classes"],
            radius=radius,
        )
        assert_targets(case, found, mode, tolerance)


def assert_targets(case: Case, found: Targets, mode: str, tolerance: float) -> None:
    for ours, name in ((found.classes, "cls"), (found.offsets, "reg")):
        case.assert_close(ours, f"output.{mode}.{name}", rtol=tolerance, atol=tolerance)


def losses(case: Case) -> None:
    tolerance, focal = case.meta["tolerance"], case.meta["focal"]
    near = {"rtol": tolerance, "atol": tolerance}
    logits, predicted = (
        case.tensors[f"input.{name}"].requires_grad_() for name in ("logits", "pred_offsets")
    )
    targets, smooth = case.tensors["input.targets"], case.tensors["input.targets_smooth"]
    case.assert_close(sigmoid_focal_loss(logits, targets, **focal), "output.focal", **near)
    case.assert_close(
        sigmoid_focal_loss(logits, targets, alpha=-1, gamma=1),
        "output.focal_alpha_off_gamma1",
        **near,
    )
    smoothed = sigmoid_focal_loss(logits, smooth, **focal)
    case.assert_close(smoothed, "output.focal_smooth", **near)
    wanted = case.tensors["input.gt_offsets"]
    case.assert_close(iou_loss(predicted, wanted, distance=False), "output.giou", **near)
    distance = iou_loss(predicted, wanted)
    case.assert_close(distance, "output.diou", **near)
    (smoothed.sum() + distance.sum()).backward()
    for name, tensor in (("logits", logits), ("pred_offsets", predicted)):
        if f"grad.{name}" in case.tensors:
            case.assert_close(tensor.grad, f"grad.{name}", **near)


def optim_groups(case: Case) -> None:
    model = ActionFormer(model_config(case.meta["config"]))
    defaults = case.meta["defaults"]
    decay, none = defaults["weight_decay"]
    optim = OptimConfig(
        lr=1e-4, betas=tuple(defaults["betas"]), eps=defaults["eps"], weight_decay=decay
    )
    optimizer = build_optimizer(model, optim, lr=1e-4)
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == (optim.betas, optim.eps)
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[float, set[str]] = {decay: set(), none: set()}
    for group in optimizer.param_groups:
        found[group["weight_decay"]] |= {names[id(p)] for p in group["params"]}
    assert found == {decay: set(case.meta["decay"]), none: set(case.meta["no_decay"])}


def lr_schedule(case: Case) -> None:
    meta = case.meta
    optim, total = OptimConfig(lr=meta["base_lr"]), meta["total_steps"]
    for name, expected in meta["lr_at_step"].items():
        fields: dict[str, Any] = {"rule": "videomae", "min_lr": meta["eta_min"]}
        if name == "multistep":
            steps = meta["multistep"]
            fields = {
                "rule": "multistep",
                "milestones": tuple(map(float, steps["milestones_after_warmup"])),
                "gamma": steps["gamma"],
            }
        config = ScheduleConfig(steps=total, warmup_steps=meta["warmup_steps"], **fields)
        schedule = Schedule(optim, config, lr=meta["base_lr"], steps_per_epoch=1)
        ours = [schedule.lr(step) for step in range(len(expected))]
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-12)


def truncate(case: Case) -> None:
    near = {"rtol": case.meta["tolerance"], "atol": case.meta["tolerance"]}
    for number, meta in enumerate(case.meta["cases"]):
        segments = case.tensors[f"input.segments.{number}"]
        features = torch.arange(meta["feat_len"], dtype=torch.float32)[:, None]
        whole = Sequence(features, segments, torch.arange(len(segments)))
        window = cut(
            whole,
            meta["window_start"],
            meta["max_seq_len"],
            least_share=meta["trunc_thresh"],
            reach=meta["offset"] or 0.0,
        )
        case.assert_close(window.features.T, f"output.feats.{number}", **near)
        case.assert_close(window.segments, f"output.segments.{number}", **near)
        assert torch.equal(window.labels, case.tensors[f"output.labels.{number}"])


def dataset(case: Case) -> None:
    fork = FORK in case.meta["reference"]
    near = {"rtol": case.meta["tolerance"], "atol": case.meta["tolerance"]}
    for mode, setting in case.meta["modes"].items():
        for number, about in enumerate(case.meta["annotations"]["database"].values()):
            rows = rows_of(case, number, setting, about, fork=fork)
            for split in ("train", "test"):
                prefix = f"output.{mode}.{split}.{number}"
                outside = ("clip" if fork else "drop") if setting["dataset"] == "anet" else "keep"
                found = actions_of(
                    annotation(about),
                    rows,
                    one_class=setting["num_classes"] == 1,
                    merge_repeated=setting["dataset"] == "anet",
                    outside=outside if split == "train" else "keep",
                )
                case.assert_close(found.segments, f"{prefix}.segments", **near)
                assert torch.equal(found.labels, case.tensors[f"{prefix}.labels"])
                numbers = [rows.stride, rows.window, rows.fps, rows.duration]
                case.assert_close(
                    torch.tensor(numbers, dtype=torch.float64),
                    f"{prefix}.stride_nframes_fps_duration",
                    **near,
                )
                if f"{prefix}.feats" in case.tensors:
                    case.assert_close(rows.features.T, f"{prefix}.feats", **near)


def rows_of(case: Case, number: int, setting: dict, about: dict, *, fork: bool) -> FeatureSequence:
    """Return the rows of a video as the data set of a mode makes them."""
    features = case.tensors[f"input.a.{number}"]
    if fork:  # other features, brought to the length of these
        own = case.tensors[f"input.mae.{number}"]
        plain = FeatureSequence(features=own, fps=1, stride=1, window=1)
        features = plain.resized(len(features)).features
    elif setting["dataset"] == "ego4d":  # several folders, side by side
        features = torch.cat([features, case.tensors[f"input.b.{number}"]], dim=1)
    fps, duration = setting["default_fps"] or about["fps"], about["duration"]
    stride, window = setting["feat_stride"], setting["num_frames"]
    spread = stride <= 0
    if spread:
        stride = window = duration * fps / len(features)
    video = FeatureSequence(
        features=features, fps=fps, stride=stride, window=window, duration=duration
    )
    grid = RowGrid(
        keep_every=setting.get("downsample_rate", 1),
        resize_to=setting["max_seq_len"] if setting["force_upsampling"] else None,
        resized_window=setting["num_frames"] if fork and spread else 1.0,
    )
    return on_grid(video, grid)


def annotation(about: dict) -> VideoAnnotation:
    segments = [
        Segment(start=each["segment"][0], end=each["segment"][1], label=each["label_id"])
        for each in about["annotations"]
    ]
    return VideoAnnotation(path="video", segments=tuple(segments))


ADAPTERS = {
    "tal-truncate": truncate,
    "tal-dataset": dataset,
    "actionformer": actionformer,
    "tal-labels": labels,
    "tal-losses": losses,
    "tal-optim-groups": optim_groups,
    "tal-lr-schedule": lr_schedule,
}
