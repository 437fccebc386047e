from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.models.tubelets import split_mask
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.masked.task import MaskedConfig, MaskedPretraining
from internvideo.train.data import ClipDataset, collate
from internvideo.video.augment import Augmentation
from internvideo.video.masks import running_cell_mask
from internvideo.video.preprocessing import Preprocessing

CONFIG = VideoMAEConfig(
    encoder=VideoViTConfig(
        image_size=32, patch_size=8, num_frames=4, width=16, depth=1, num_heads=2
    ),
    decoder_width=8,
    decoder_depth=1,
    decoder_num_heads=2,
)
PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32
)
CROPS = Augmentation(
    size=32, crop="multi-scale", flip_probability=0.0, antialias=True, resize_dtype="uint8"
)


def _task(*, augmentation: Augmentation | None = None, **options) -> MaskedPretraining:
    torch.manual_seed(0)
    config = MaskedConfig(**{"mask_ratio": 0.75, **options})
    return MaskedPretraining(VideoMAE(CONFIG), PROTOCOL, config, augmentation=augmentation)


def _sample(seed: int = 0) -> Sample:
    frames = np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    return Sample(frames=frames, key=f"clip {seed}")


class _Counting:
    """A source that counts how often a clip is decoded."""

    def __init__(self) -> None:
        self.decoded = 0

    def __len__(self) -> int:
        return 6

    def key(self, index: int) -> str:
        return f"clip {index}"

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        self.decoded += 1
        return _sample(index)


def test_a_clip_is_small_frames_and_the_two_parts_of_a_mask():
    (row,) = _task().prepare(_sample(), np.random.default_rng(0))
    assert row["video"].dtype == torch.uint8
    assert row["video"].shape == (4, 32, 32, 3)
    assert len(row["masked"]) == 2 * 12
    assert sorted([*row["visible"].tolist(), *row["masked"].tolist()]) == [*range(32)]
    places = row["masked"].reshape(2, 12)
    assert (places[1] - places[0] == 16).all()  # the same places at both time steps


def test_masks_are_drawn_from_the_generator_of_the_sample():
    task = _task(mask="random")
    masks = [task.prepare(_sample(), np.random.default_rng(s))[0]["masked"] for s in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_repeats_are_one_decode_with_a_crop_and_a_mask_each():
    task, source = _task(augmentation=CROPS, repeats=8), _Counting()
    dataset = ClipDataset(source, task.prepare, seed=0)
    batch = collate([dataset[0, 3], dataset[0, 5]])
    assert source.decoded == 2
    assert batch.keys == ["clip 3"] * 8 + ["clip 5"] * 8
    assert batch.tensors["video"].shape == (16, 4, 32, 32, 3)
    for rows in batch.tensors["video"].split(8):
        assert len({row.numpy().tobytes() for row in rows}) > 4  # 13 places, 10 sizes
    for rows in batch.tensors["masked"].split(8):
        assert len({tuple(row.tolist()) for row in rows}) == 8
    assert torch.isfinite(task.training_loss(batch.tensors)["loss"])


def test_the_loss_is_that_of_the_model_on_the_normalised_crop():
    task = _task(augmentation=CROPS)
    rng = np.random.default_rng(3)
    batch = default_collate(task.prepare(_sample(), rng))
    rng = np.random.default_rng(3)
    video = CROPS.apply(
        torch.from_numpy(_sample().frames), CROPS.draw(48, 64, rng=rng), generator=None
    )
    mask = torch.zeros(1, 32, dtype=torch.bool)
    mask[0, batch["masked"][0]] = True
    expected = task.model(video[None], mask).loss
    torch.testing.assert_close(task.training_loss(batch)["loss"], expected)


def test_dual_masking_reconstructs_a_half_in_running_cells():
    task = _task(decoder_mask="running-cell", decoder_mask_ratio=0.5)
    rng = np.random.default_rng(0)
    rows = [row for _ in range(16) for row in task.prepare(_sample(), rng)]
    splits = [
        split_mask(torch.from_numpy(running_cell_mask((2, 4, 4), 0.5, start=start))[None])
        for start in range(4)
    ]
    known = {tuple(split.visible[0].tolist()) for split in splits}
    assert {tuple(row["reconstructed"].tolist()) for row in rows} == known
    batch = default_collate(rows[:4])
    loss = task.training_loss(batch)["loss"]
    hidden, left_out = torch.zeros(2, 4, 32, dtype=torch.bool)
    hidden.scatter_(1, batch["masked"], True)
    left_out.scatter_(1, batch["skipped"], True)
    video = PROTOCOL.normalize(batch["video"])
    torch.testing.assert_close(loss, task.model(video, hidden, left_out).loss)
    assert not torch.equal(loss, task.model(video, hidden).loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 0.01}, r"mask_ratio 0.01 .*2x4x4"),
        ({"repeats": 0}, r"repeats.* 0"),
        (
            {"decoder_mask": "running-cell", "decoder_mask_ratio": 0.1},
            "decoder_mask_ratio 0.1 .*2x2",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        _task(**options)
