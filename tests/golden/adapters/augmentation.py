"""Crops, RandAugment, mixup and cutmix."""

from __future__ import annotations

import random

import numpy as np
import torch

from golden.case import Case
from internvideo.video import crops
from internvideo.video.mixup import draw_mixup, mix_clips, mix_labels
from internvideo.video.randaugment import (
    OPERATIONS,
    Operation,
    apply_randaugment,
    operation_argument,
    parse_randaugment,
)
from internvideo.video.transforms import CropBox


def videomae_crops(case: Case) -> None:
    for row in case.meta["multiscale"]:
        width, height = row["image_wh"]
        sizes = crops.multi_scale_crop_sizes(height, width, row["input_size"])
        assert [[w, h] for h, w in sizes] == row["crop_wh_candidates"]
        for h, w in sizes:
            offsets = crops.multi_scale_crop_offsets(height, width, h, w)
            assert [[x, y] for y, x in offsets] == row["offsets_wh"][f"({w}, {h})"]
    rng = random.Random()
    for row in case.meta["random_resized_crop_params"]:
        if row["python_seed"] is not None:
            rng.seed(row["python_seed"])
        for expected in row["ijhw"]:
            box = crops.draw_random_resized_crop(
                row["height"], row["width"], scale=row["scale"], ratio=row["ratio"], rng=rng
            )
            assert list(box) == expected, row
    frames = case.tensors["input.clip"].permute(1, 2, 3, 0)
    for row in case.meta["resized_crop"]:
        name = f"output.resized_crop.{row['index']}"
        size = case.tensors[name].shape[-1]
        clip = crops.resized_crop(frames, CropBox(*row["ijhw"]), size).permute(3, 0, 1, 2)
        case.assert_close(clip, name)


def _ours(name: str) -> str:
    """Return our name of an operation: all of ours grow stronger with the magnitude."""
    return name.removesuffix("Increasing").removesuffix("Rel")


def _assert_argument(name: str, magnitude: float, negative: bool, expected: list[float]) -> float:
    argument = operation_argument(_ours(name), magnitude, negative=negative)
    assert abs(argument - (expected[0] if expected else 0.0)) < 1e-9, name
    return argument


def _assert_pixels(image: torch.Tensor, operation: Operation, expected: torch.Tensor) -> None:
    frames = np.stack([image.numpy()] * 2)
    result = torch.from_numpy(apply_randaugment(frames, [operation]))
    assert torch.equal(result[0], result[1]), operation
    assert (result[0].int() - expected.int()).abs().max() <= 1, operation


def videomae_randaugment_ops(case: Case) -> None:
    assert tuple(map(_ours, case.meta["ops"])) == OPERATIONS
    compared = 0
    for row in case.meta["level_args"]:
        name, magnitude, negative = row["op"], row["magnitude"], row["negated"]
        argument = _assert_argument(name, magnitude, negative, row["args"])
        key = f"output.{name}.m{magnitude}.{'neg' if negative else 'pos'}"
        if key in case.tensors:
            operation = Operation(_ours(name), argument)
            _assert_pixels(case.tensors["input.image"], operation, case.tensors[key])
            compared += 1
    assert compared == len(case.group("output."))


def uniformerv2_randaug_ops(case: Case) -> None:
    config = case.meta["config"]
    assert tuple(map(_ours, config["ops"])) == OPERATIONS
    rule = parse_randaugment(config["policy"])
    assert (rule.magnitude, rule.num_operations, rule.magnitude_std) == (7.0, 4, 0.5)
    (image,) = case.group("input.").values()
    outputs = case.group("output.")
    assert outputs.keys() == config["op_args"].keys()
    for key, expected in outputs.items():
        name, _, rest = key.partition(".")
        magnitude, _, sign = rest.rpartition(".")
        arguments = config["op_args"][key]
        argument = _assert_argument(name, float(magnitude), sign == "neg", arguments)
        _assert_pixels(image, Operation(_ours(name), argument), expected)


def videomae_mixup(case: Case) -> None:
    config = case.meta["config"]
    clips, labels = case.tensors["input.x"], case.tensors["input.label"]
    for row in case.meta["draws"]:
        draw = draw_mixup(
            *clips.shape[-2:],
            mixup=config["mixup"],
            cutmix=config["cutmix"],
            prob=config["prob"],
            switch_prob=config["switch_prob"],
            rng=np.random.RandomState(row["np_seed"]),
        )
        assert (draw.box is not None) == row["use_cutmix"], row
        if draw.box is None:
            assert abs(draw.share - row["lam_before_box_correction"]) < 1e-9, row
        case.assert_close(mix_clips(clips, draw), f"output.x.{row['index']}", rtol=0)
        targets = mix_labels(
            labels, config["num_classes"], draw, smoothing=config["label_smoothing"]
        )
        case.assert_close(targets, f"output.target.{row['index']}", rtol=0)


ADAPTERS = {
    "videomae-crops": videomae_crops,
    "videomae-randaugment-ops": videomae_randaugment_ops,
    "uniformerv2-randaug-ops": uniformerv2_randaug_ops,
    "videomae-mixup": videomae_mixup,
}
