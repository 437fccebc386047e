"""Spatio-temporal action detection: boxes, windows, transforms, network, frame mAP."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.adapters.training import _groups
from golden.case import Case
from internvideo.data.key_windows import (
    clip_indices,
    middle_frame,
    second_window,
    stretched_window,
)
from internvideo.formats import box_rows
from internvideo.models.action_detector import (
    ActionDetector,
    ActionDetectorConfig,
    roi_align,
    time_mean,
)
from internvideo.tasks.action_detection import boxes as box_ops
from internvideo.tasks.action_detection.losses import box_loss
from internvideo.tasks.action_detection.metric import frame_ap
from internvideo.tasks.action_detection.transforms import (
    ColorShift,
    ViewDraw,
    padded,
    resized,
    train_view,
)
from internvideo.train.config import OptimConfig, ScheduleConfig
from internvideo.train.optim import scaled_lr
from internvideo.train.schedules import Schedule
from internvideo.video.transforms import normalize


def metrics(case: Case) -> None:
    if "output.csv" in case.tensors:
        _results(case)
        return
    tolerance = case.meta["tolerance"]
    close = tolerance if isinstance(tolerance, float) else 1e-9
    classes = case.tensors["input.class_ids"].tolist()
    with TemporaryDirectory() as name:
        files: dict[str, Path] = {}
        for key in ("gt_csv", "det_csv", "labelmap_pbtxt", "exclusion_csv"):
            files[key] = Path(name) / key.replace("_", ".")
            files[key].write_bytes(case.tensors[f"input.{key}"].numpy().tobytes())
        label_map = box_rows.read_label_map(files["labelmap_pbtxt"])
        truth = box_rows.read_rows(files["gt_csv"])
        found = box_rows.read_rows(files["det_csv"], scored=True)
        excluded = box_rows.read_excluded(files["exclusion_csv"])
    assert set(classes) <= set(label_map)
    measured = frame_ap(
        truth, found, classes, excluded=excluded, overlap=case.meta["config"]["iou"]
    )
    expected = case.tensors["output.ap"].numpy()
    np.testing.assert_allclose(measured.average_precision, expected, rtol=0, atol=close)
    assert measured.mean == pytest.approx(float(case.tensors["output.map"]), abs=close)


def _results(case: Case) -> None:
    """From boxes in resized frames and scores to the bytes of a result file."""
    counts = case.tensors["input.num_boxes"].tolist()
    movies, stamps = case.meta["config"]["movies"], case.tensors["input.timestamp"].tolist()
    parts = zip(
        movies,
        stamps,
        case.tensors["input.boxes"].split(counts),
        case.tensors["input.scores"].split(counts),
        case.tensors["input.frame_wh"].tolist(),
        case.tensors["input.video_wh"].tolist(),
        strict=True,
    )
    rows = []
    for movie, stamp, boxes, scores, frame, video in parts:
        own = box_ops.to_fractions(box_ops.resize(boxes, tuple(frame), tuple(video)), tuple(video))
        for box, values in zip(own.tolist(), scores.tolist(), strict=True):
            rows += [
                (movie, stamp, box, place + 1, value)
                for place, value in enumerate(values)
                if value >= case.meta["config"]["action_threshold"]
            ]
    with TemporaryDirectory() as name:
        box_rows.write_results(Path(name) / "result.csv", rows)
        written = (Path(name) / "result.csv").read_bytes()
    expected = case.tensors["output.csv"].numpy().tobytes()
    assert written.count(b"\r\n") == expected.count(b"\r\n") == written.count(b"\n")
    pairs = zip(
        csv.reader(written.decode().splitlines()),
        csv.reader(expected.decode().splitlines()),
        strict=True,
    )
    for own, theirs in pairs:
        assert (own[:2], own[6]) == (theirs[:2], theirs[6])
        assert [float(each) for each in own[2:6]] == pytest.approx(
            [float(each) for each in theirs[2:6]], abs=1.01e-5
        )
        assert float(own[7]) == pytest.approx(float(theirs[7]), abs=1.01e-5)


def box_arithmetic(case: Case) -> None:
    tolerance = case.meta["tolerance"]
    close = {"rtol": tolerance, "atol": tolerance}
    config, get = case.meta["config"], case.tensors
    image = tuple(config["image"])

    def same(boxes: Tensor, name: str) -> None:
        case.assert_close(boxes, f"output.{name}", **close)

    sides = box_ops.from_xywh(get["input.xywh"])
    same(sides, "xyxy")
    same(box_ops.to_xywh(sides), "back_to_xywh")
    inside = box_ops.clip(sides, image)
    same(inside, "clip_all")
    kept = box_ops.has_area(inside)
    assert torch.equal(kept.nonzero()[:, 0], get["output.clip_kept_index"])
    kept = inside[kept]
    same(kept, "clip_kept")
    same(box_ops.areas(kept), "area")
    same(box_ops.flip(kept, image[0]), "flip")
    for name in get:
        if match := re.fullmatch(r"output\.(resize(?:_uniform|_xywh)?_(\d+)x(\d+))", name):
            found = box_ops.resize(kept, image, (int(match[2]), int(match[3])))
            same(box_ops.to_xywh(found) if "xywh" in name else found, match[1])
        elif match := re.fullmatch(r"output\.(crop_(\d+)_(\d+)_(\d+)_(\d+))", name):
            same(box_ops.crop(kept, tuple(map(float, match.groups()[1:]))), match[1])
        elif match := re.fullmatch(r"output\.(extend_([\d.]+)_([\d.]+))", name):
            share = float(match[2]), float(match[3])
            same(box_ops.extend(kept, share, image), match[1])
    by = box_ops.Jitter(**config["jitter"])
    full = box_ops.jitter(kept, get["input.jitter_uniform_full"], by, image)
    same(full, "jitter_full")
    cropped = box_ops.crop(kept, tuple(config["crop"]))
    size = tuple(config["crop_image"])
    same(box_ops.jitter(cropped, get["input.jitter_uniform_crop"], by, size), "jitter_crop")


def collate(case: Case) -> None:
    clips = [case.tensors[f"input.{name}"] for name in sorted(case.group("input."))]
    batch = padded(clips, case.meta["config"]["size_divisible"])
    case.assert_close(batch, "output.batch", rtol=0.0, atol=float(case.meta["tolerance"]))


def align(case: Case) -> None:
    config, get = case.meta["config"], case.tensors
    [size, other] = config["output_size"]
    assert size == other
    maps = get["input.features"].clone().requires_grad_()
    stride = round(1 / config["spatial_scale"])
    bins = roi_align(maps, get["input.rois"], size=size, stride=stride)
    tolerance = case.meta["tolerance"]
    forward = {"rtol": tolerance["forward"], "atol": tolerance["forward"]}
    case.assert_close(bins, "output.roi_align", **forward)
    highest = F.max_pool2d(bins, size).flatten(1)
    case.assert_close(highest, "output.roi_max", **forward)
    (highest * get["input.grad_weight"]).sum().backward()
    assert maps.grad is not None
    grad = {"rtol": tolerance["grad"], "atol": tolerance["grad"]}
    case.assert_close(maps.grad, "grad.features", **grad)


def windows(case: Case) -> None:
    get = case.tensors
    for each in case.meta["ava_cases"]:
        per_second, more = each["frames_per_second_file"], each[
            "extra_frame_when_second_divisible_by_3"
        ]  # fmt: skip
        found = second_window(
            lambda second, n=per_second, more=more: n + int(more and second % 3 == 0),
            each["timestamp"],
            each["frame_span"],
        )
        expected = get[f"output.ava{each['index']}.window_second_frame"].tolist()
        assert [list(pair) for pair in found] == expected
    span = case.meta["config"]["kinetics_frame_span"]
    for each in case.meta["kinetics_cases"]:
        frames = get[f"input.kinetics{each['index']}.frames"]
        assert len(frames) == each["frames"]
        start, end = each["start"], each["end"]
        middle = middle_frame(each["timestamp"] - start, end - start, len(frames))
        assert middle == each.get("mid", middle)
        window = stretched_window(frames, middle, span)
        expected = get[f"output.kinetics{each['index']}.window"]
        assert window.shape == expected.shape
        assert (window.int() - expected.int()).abs().max() <= 1


def transform(case: Case) -> None:
    config, get = case.meta["config"], case.tensors
    indices = clip_indices(
        config["raw_frames"], clip_length=config["frames"], frame_stride=config["rate"]
    )
    assert indices.tolist() == get["output.frame_index"].tolist()
    frames, boxes = resized(get["input.clip"], get["input.boxes"], config["short_side"])
    exact = {"rtol": 0.0, "atol": 0.0}
    close = {"rtol": 1e-5, "atol": 1e-4}
    case.assert_close(frames, "output.resized", **exact)
    case.assert_close(boxes, "output.resized_boxes", **close)
    if config["train"]:
        draws = case.meta["random_draws_in_order"]
        x, y, *rest = (each[-1] for each in draws if each[0] == "random")
        shifts = [each[-1] for each in draws if each[0] == "randint"]
        color = None
        if shifts:
            color = ColorShift(hue=shifts[0], saturation=shifts[1], value=shifts[2])
        mirrored = bool(rest) and rest[0] < config["flip"]
        steps = (
            (ViewDraw(x=x, y=y), "cropped"),
            (ViewDraw(x=x, y=y, color=color), "color"),
            (ViewDraw(x=x, y=y, color=color, mirrored=mirrored), "flipped"),
        )
        whole = frames, boxes
        for drawn, name in steps:
            frames, boxes = train_view(*whole, drawn, crop_size=config["crop"])
            if f"output.{name}" in get:
                case.assert_close(frames, f"output.{name}", **exact)
            if f"output.{name}_boxes" in get:
                case.assert_close(boxes, f"output.{name}_boxes", **close)
    else:
        case.assert_close(boxes, "output.flipped_boxes", **close)
    mean, std = (tuple(value / 255 for value in config[name]) for name in ("mean", "std"))
    case.assert_close(normalize(frames, mean, std), "output.final", **close)


def optimizer(case: Case) -> None:
    config = case.meta["config"]
    model = ActionDetector(
        ActionDetectorConfig(image_size=32, num_frames=2, patch_size=16, width=8,
                             depth=config["depth"], num_heads=2, num_classes=3)
    )  # fmt: skip
    optim = OptimConfig(
        lr=config["base_lr"],
        lr_batch_size=256,
        layer_decay=config["layer_decay"],
        weight_decay=config["weight_decay"],
    )
    groups = _groups(model, optim)
    found = {name: [scale, decay] for scale, decay, names in groups for name in names}
    assert found.keys() == case.meta["parameter_table"].keys()
    for name, expected in case.meta["parameter_table"].items():
        assert found[name] == pytest.approx(expected, rel=case.meta["tolerance"])
    schedule = Schedule(
        optim,
        ScheduleConfig(
            rule="videomae",
            epochs=config["epochs"],
            warmup_epochs=config["warmup_epochs"],
            min_lr=config["min_lr"],
        ),
        lr=scaled_lr(optim, global_batch_size=config["total_batch"]),
        steps_per_epoch=config["iters_per_epoch"],
    )
    rates = [schedule.lr(step) for step in range(len(case.tensors["output.lr"]))]
    close = case.meta["tolerance"]
    np.testing.assert_allclose(rates, case.tensors["output.lr"].numpy(), rtol=0, atol=close)


def network(case: Case) -> None:
    config, get = case.meta["config"], case.tensors
    size = case.meta["input_size"]
    tolerance = case.meta["tolerance"]
    forward = {"rtol": tolerance["forward"], "atol": tolerance["forward"]}
    grad = {"rtol": tolerance["grad"], "atol": tolerance["grad"]}
    model = ActionDetector(
        ActionDetectorConfig(
            image_size=config["img_size"],
            patch_size=config["patch_size"],
            num_frames=config["num_frames"],
            tubelet_size=config.get("tubelet_size", 2),
            width=config["embed_dim"],
            depth=config["depth"],
            num_heads=config["num_heads"],
            mlp_ratio=config.get("mlp_ratio", 4.0),
            init_values=config.get("init_values") or 0.0,
            num_classes=config["num_classes"],
            head=config["head_type"],
            head_drop_rate=0.0,
        )
    )
    state = case.group("state.")
    model.load_state_dict(state, strict=True)
    video, boxes = get["input.video"], get["input.boxes"]
    assert tuple(video.shape[-2:]) == (size["H"], size["W"])
    counts = get["input.num_boxes"]
    clips = torch.repeat_interleave(torch.arange(len(counts)), counts)[:, None].float()
    picture = (float(size["W"]), float(size["H"]))

    grown = box_ops.extend(boxes, box_ops.EXTENSION, picture)
    case.assert_close(grown, "output.eval.proposals", **forward)
    model.eval()
    with torch.no_grad():
        rois = torch.cat([clips, grown], dim=1)
        maps = time_mean(model, video)
        case.assert_close(maps, "output.eval.feature_map", **forward)
        bins = roi_align(maps, rois, size=model.config.roi_size, stride=model.config.roi_stride)
        case.assert_close(bins, "output.eval.roi_align", **forward)
        case.assert_close(model.box_features(maps, rois), "output.eval.roi_max", **forward)
        logits = model(video, rois)
        case.assert_close(logits, "output.eval.logits", **forward)
        scores = logits.sigmoid() * get["input.box_scores"]
        case.assert_close(scores, "output.eval.scores", **forward)

    model.train()
    drawn = get["input.train.jitter_uniform"]
    moved = box_ops.jitter(boxes, drawn, box_ops.Jitter(), picture)
    case.assert_close(moved, "output.train.proposals", **forward)
    logits = model(video, torch.cat([clips, moved], dim=1))
    case.assert_close(logits, "output.train.logits", **forward)
    loss = box_loss(logits, get["input.labels"].float())
    case.assert_close(loss, "output.train.loss", **forward)
    loss.backward()
    parameters = dict(model.named_parameters())
    for name in case.group("grad."):
        found = parameters[name].grad
        assert found is not None, name
        case.assert_close(found, f"grad.{name}", **grad)


ADAPTERS = {
    "metrics-ava": metrics,
    "stal-boxes": box_arithmetic,
    "stal-collate": collate,
    "stal-optim": optimizer,
    "stal-roialign": align,
    "stal-transform-eval": transform,
    "stal-transform-train": transform,
    "stal-vit": network,
    "stal-windows": windows,
}
