"""A small world with boxes, and a detector of its actions that has learnt nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from internvideo.data.writing import write_world
from internvideo.models.action_detector import ActionDetector, ActionDetectorConfig
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import ACTIONS, Encoding, World
from internvideo.zoo.hub import LoadedModel, Record

PROTOCOL = Preprocessing(
    num_frames=4, sampling="center", frame_stride=2, resize_size=32, crop_size=32,
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
)  # fmt: skip


@pytest.fixture(scope="package")
def world(tmp_path_factory):
    """Return the folder of four videos, and its files."""
    folder = tmp_path_factory.mktemp("ava")
    small = World(seed=5, size=16, objects=("star", "heart"))
    write_world(folder, 4, kind="ava", world=small, splits=(0.5, 0.5), encoding=Encoding(fps=4))
    return SimpleNamespace(
        folder=folder, train=folder / "ava_train.csv", val=folder / "ava_val.csv"
    )


@pytest.fixture(scope="package")
def detector():
    torch.manual_seed(0)
    config = ActionDetectorConfig(
        image_size=32, num_frames=4, patch_size=8, width=16, depth=1, num_heads=2,
        num_classes=len(ACTIONS), roi_size=3, roi_stride=8,
    )  # fmt: skip
    model = ActionDetector(config).eval()
    return LoadedModel(model, Record(preprocessing=PROTOCOL, labels=tuple(ACTIONS)))
