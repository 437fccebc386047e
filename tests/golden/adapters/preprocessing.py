"""Frame sampling, crops and pixel preparation: everything below `internvideo.video`."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from golden.case import Case
from internvideo.video import augment, sampling, transforms
from internvideo.video.preprocessing import PRESETS, Preprocessing, frame_mask
from internvideo.video.transforms import CLIP_MEAN, CLIP_STD, CropBox


class FakeVideo:
    """Frames in memory that behave like a video."""

    fps = 25.0

    def __init__(self, frames: Tensor) -> None:
        self.data = frames
        self.num_frames = len(frames)

    def frames(self, indices) -> Tensor:
        return self.data[torch.as_tensor(indices)]


# ---------------------------------------------------------------- VideoMAE


def videomae_sampling(case: Case) -> None:
    rules = case.meta["sampling"]
    runners = {
        "dense_test": _dense_test,
        "dense_val": _dense,
        "dense_train": _dense,
        "sparse_test": _sparse_test,
        "kinetics_sparse_val": _kinetics_sparse,
        "ssv2_test_file_numbers": _ssv2_test,
        "ssv2_train_val_file_numbers": _ssv2,
        "pretrain_train": _pretrain,
        "activitynet_sparse_train": _activitynet,
    }
    for name, rows in rules.items():
        for row in rows:
            _assert_indices(runners[name](row), _expected(row), row)


def _expected(row: dict) -> list | None:
    for name in ("views", "indices", "draws", "file_numbers"):
        if name in row:
            return row[name]
    assert "error" in row, row
    return None


def _assert_indices(actual, expected, row: dict) -> None:
    actual = np.asarray(actual)
    if expected is None:  # the reference crashes; ours stays inside the video
        length = row["video_len"]
        assert actual.min() >= 0
        assert actual.max() < length
        assert actual.shape[-1] == row.get("num_frames", row.get("clip_len"))
    else:
        assert actual.tolist() == expected, row


def _rng(row: dict) -> np.random.RandomState | None:
    seed = row.get("np_seed")
    return None if seed is None else np.random.RandomState(seed)


def _draws(row: dict, rule) -> list:
    rng = _rng(row)
    drawn = [
        rule(
            row["video_len"],
            clip_length=row["clip_len"],
            frame_stride=row["frame_interval"],
            rng=rng,
        )
        for _ in row.get("draws", [0])
    ]
    return drawn if "draws" in row else drawn[0]


def _dense(row: dict):
    return _draws(row, sampling.dense_indices)


def _pretrain(row: dict):
    return _draws(row, sampling.pretrain_indices)


def _dense_test(row: dict):
    return sampling.dense_test_indices(
        row["video_len"],
        clip_length=row["clip_len"],
        frame_stride=row["frame_interval"],
        num_clips=row["num_clips"],
    )


def _sparse_test(row: dict):
    return sampling.sparse_test_indices(
        row["video_len"], clip_length=row["num_frames"], num_clips=row["num_clips"]
    )


def _ssv2_test(row: dict):
    return _sparse_test(row) + 1


def _ssv2(row: dict):
    rule = sampling.segment_indices
    return rule(row["video_len"], clip_length=row["num_frames"], rng=_rng(row)) + 1


def _kinetics_sparse(row: dict):
    return sampling.kinetics_sparse_indices(row["video_len"], clip_length=row["num_frames"])


def _activitynet(row: dict):
    return sampling.activitynet_indices(
        row["video_len"],
        clip_length=row["num_frames"],
        duration=row["duration"],
        start=row["start"],
        end=row["end"],
        rng=_rng(row),
    )


def videomae_testviews(case: Case) -> None:
    config = case.meta["config"]
    video = FakeVideo(case.tensors["input.video_uint8"])
    test = dataclasses.replace(
        PRESETS["videomae-kinetics"],
        num_frames=config["clip_len"],
        frame_stride=config["frame_interval"],
        num_clips=config["num_clips"],
        num_crops=config["num_crops"],
        resize_size=config["short_side"],
        crop_size=config["short_side"],  # the reference does not use the crop size in tests
    )
    for view, (clip, crop) in zip(test.load(video), case.meta["view_order"], strict=True):
        case.assert_close(view, f"output.view.{clip}.{crop}", rtol=0)
    validation = dataclasses.replace(
        PRESETS["videomae-validation"],
        num_frames=config["clip_len"],
        frame_stride=config["frame_interval"],
        resize_size=config["short_side"],
        crop_size=config["crop"],
    )
    case.assert_close(validation.load(video)[0], "output.validation", rtol=0)


# ---------------------------------------------------------------- ViCLIP


def viclip_preprocess(case: Case) -> None:
    config, tolerance = case.meta["config"], case.meta["tolerance"]
    mean, std = tuple(case.meta["mean"]), tuple(case.meta["std"])
    frames = transforms.reverse_channels(case.tensors["input.frames_bgr"])
    video = FakeVideo(frames)
    for number, (num_frames, (width, height)) in enumerate(config["demo"]):
        indices = sampling.demo_indices(len(frames), clip_length=num_frames)
        resized = transforms.resize(frames[torch.from_numpy(indices)], (height, width))
        clip = transforms.normalize(resized, mean, std).transpose(0, 1)[None]
        case.assert_close(clip, f"output.demo{number}", rtol=0, **tolerance["demo"])
    for number, (num_frames, size) in enumerate(config["eval"]):
        protocol = dataclasses.replace(
            PRESETS["viclip-eval"],
            num_frames=num_frames,
            resize_size=size,
            crop_size=size,
            mean=mean,
            std=std,
        )
        (indices,) = protocol.sample(len(frames))
        assert indices.tolist() == case.tensors[f"output.eval{number}_indices"].tolist()
        resized = protocol.resize(video.frames(indices)).permute(0, 3, 1, 2)
        expected = case.tensors[f"output.eval{number}_uint8_after_resize"]
        difference = (resized.int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 1e-3
        clip = protocol.load(video)[0].transpose(0, 1)
        same = difference == 0
        expected = case.tensors[f"output.eval{number}"]
        atol = tolerance["eval"]["atol"]
        torch.testing.assert_close(clip[same], expected[same], atol=atol, rtol=0)


# ---------------------------------------------------------------- UniFormerV2


def uniformerv2_sampling(case: Case) -> None:
    for number, row in enumerate(case.meta["config"]["cases"]):
        length, clip_length = row["video_frames"], row["num_frames"]
        clips = sampling.uniform_test_indices(
            length, clip_length=clip_length, num_clips=row["num_clips"]
        )
        clip = clips[row["clip_idx"]]
        assert clip.tolist() == case.tensors[f"output.k400.{number}"].tolist(), row
        assert (clip + 1).tolist() == case.tensors[f"output.sth.{number}"].tolist(), row
        low = case.tensors[f"output.train_low.{number}"].numpy()
        high = case.tensors[f"output.train_high.{number}"].numpy()
        rng = np.random.default_rng(number)
        drawn = np.stack(
            [
                sampling.uniform_indices(length, clip_length=clip_length, rng=rng)
                for _ in range(1000)
            ]
        )
        assert np.all((low <= drawn) & (drawn <= high))
        narrow = high - low <= 40  # so narrow that 1000 draws reach both ends
        assert np.array_equal(drawn.min(axis=0)[narrow], low[narrow])
        assert np.array_equal(drawn.max(axis=0)[narrow], high[narrow])
    for number, row in enumerate(case.meta["config"]["anet_cases"]):
        clips = sampling.uniform_test_indices(
            row["video_frames"],
            clip_length=row["num_frames"],
            num_clips=row["num_clips"],
            duration=row["total_time"],
            start=row["start"],
            end=row["end"],
        )
        expected = case.tensors[f"output.anet.{number}"].tolist()
        assert clips[row["clip_idx"]].tolist() == expected, row


def uniformerv2_preprocess(case: Case) -> None:
    config = case.meta["config"]
    frames = case.tensors["input.frames"]
    protocol = dataclasses.replace(
        PRESETS["uniformerv2-kinetics"],
        num_frames=len(frames),
        resize_size=config["size"],
        crop_size=config["size"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    for crop in range(protocol.num_crops):
        case.assert_close(protocol.transform(frames, crop_index=crop), f"output.crop{crop}")
    training = dataclasses.replace(
        augment.AUGMENTATIONS["uniformerv2-kinetics"],
        size=config["size"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    box = config["rrc_box"]
    drawn = augment.AugmentationDraw(CropBox(box["i"], box["j"], box["h"], box["w"]), flip=False)
    case.assert_close(training.apply(frames, drawn), "output.rrc")


# ---------------------------------------------------------------- InternVideo-MM, retrieval, VQA


def internvideo_mm_frames(case: Case) -> None:
    for length, clip_length in case.meta["config"]["cases"]:
        key = f"{length}.{clip_length}"
        if f"output.{key}" in case.tensors:
            expected = case.tensors[f"output.{key}"].tolist()
            indices = sampling.linspace_indices(length, clip_length=clip_length)
            assert indices.tolist() == expected, key
            continue
        expected = case.tensors[f"output.uniform.{key}"].tolist()
        indices = sampling.viclip_indices(length, clip_length=clip_length, pad=False)
        assert indices.tolist() == expected, key
        low = case.tensors[f"output.rand_low.{key}"].numpy()
        high = case.tensors[f"output.rand_high.{key}"].numpy()
        _assert_draws(length, clip_length, low, high)


def _assert_draws(length: int, clip_length: int, low: np.ndarray, high: np.ndarray) -> None:
    """Draw 200 times; where the reference cannot (an empty interval), demand valid frames."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        drawn = sampling.viclip_indices(
            length, clip_length=clip_length, rule="rand", rng=rng, pad=False
        )
        if np.any(high < low):
            low, high = np.zeros_like(low), np.full_like(high, length - 1)
        assert np.all((low <= drawn) & (drawn <= high))


def internvideo_mm_preprocess(case: Case) -> None:
    config = case.meta["config"]
    frames = case.tensors["input.frames"]
    resized = transforms.resize_short_side(frames, config["scale"], antialias=True)
    assert torch.equal(resized, case.tensors["output.resized"])
    protocol = dataclasses.replace(
        PRESETS["internvideo-mm"],
        num_frames=len(frames),
        resize_size=config["scale"],
        crop_size=config["crop"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    case.assert_close(protocol.transform(frames), "output.video", rtol=0)


def vqa_frame_sampling(case: Case) -> None:
    for row in case.meta["cases"]:
        length, clip_length, mode = row["vlen"], row["num_frames"], row["mode"]
        if mode == "rand":
            low, high = np.array(row["allowed_inclusive"]).T
            _assert_draws(length, clip_length, low, high)
            continue
        rule, _, offset = mode.partition("=")
        indices = sampling.viclip_indices(
            length,
            clip_length=clip_length,
            rule="middle" if rule == "uniform" else rule,
            offset=int(offset or 0),
            pad=False,
        )
        assert indices.tolist() == row["positions"], row


def vqa_transform(case: Case) -> None:
    frames = case.tensors["input.video"].permute(0, 2, 3, 1)
    size = case.tensors["output.video"].shape[-1]
    protocol = dataclasses.replace(
        PRESETS["internvideo-mm-qa"],
        resize_rule="short-side",
        resize_size=size * 256 // 224,
        crop_size=size,
    )
    case.assert_close(protocol.transform(frames).transpose(0, 1), "output.video")


def retrieval_transform(case: Case) -> None:
    for name, image in case.group("input.").items():
        expected = case.tensors[f"output.{name}"]
        size = expected.shape[-1]
        protocol = Preprocessing(
            num_frames=1,
            resize_size=size,
            crop_size=size,
            interpolation="bicubic",
            antialias=True,
            mean=CLIP_MEAN,
            std=CLIP_STD,
        )
        case.assert_close(protocol.transform(image[None])[:, 0], f"output.{name}")


def retrieval_frame_sampling(case: Case) -> None:
    for row in case.meta["cases"]:
        arguments = {
            "fps": row["fps"],
            "max_frames": row["max_frames"],
            "rate": row["feature_framerate"],
            "start": row["start"],
            "end": row["end"],
        }
        if row["fn"] == "decord":
            indices = sampling.per_second_indices(row["num_frames"], **arguments)
        else:
            keep = ("head", "tail", "even")[row["slice_framepos"]]
            indices = sampling.whole_second_indices(row["num_frames"], keep=keep, **arguments)
        assert indices.tolist() == row["positions"], row
        assert len(indices) == sum(row["mask"]), row
        if not row["start"] and row.get("slice_framepos", 2) == 2:  # what a protocol can say
            protocol = Preprocessing(
                num_frames=row["max_frames"],
                sampling="per-second" if row["fn"] == "decord" else "whole-second",
                frame_rate=float(row["feature_framerate"]),
                max_seconds=None if row["end"] is None else float(row["end"]),
                resize_size=8,
                crop_size=8,
            )
            assert protocol.sample(row["num_frames"], row["fps"])[0].tolist() == row["positions"]
            clip = protocol.transform(torch.zeros(len(indices), 8, 8, 3, dtype=torch.uint8))
            assert frame_mask(clip).tolist() == [bool(seen) for seen in row["mask"]], row


ADAPTERS = {
    "videomae-sampling": videomae_sampling,
    "videomae-testviews": videomae_testviews,
    "viclip-preprocess": viclip_preprocess,
    "uniformerv2-sampling-indices": uniformerv2_sampling,
    "uniformerv2-preprocess": uniformerv2_preprocess,
    "internvideo-mm-frames": internvideo_mm_frames,
    "internvideo-mm-preprocess": internvideo_mm_preprocess,
    "vqa-frame-sampling": vqa_frame_sampling,
    "vqa-transform": vqa_transform,
    "retrieval-transform": retrieval_transform,
    "retrieval-frame-sampling": retrieval_frame_sampling,
}
