from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from internvideo.data.samples import Sample
from internvideo.errors import DataError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.tasks.recognition import supervised
from internvideo.tasks.recognition.supervised import SupervisedConfig, SupervisedRecognition
from internvideo.video.augment import AUGMENTATIONS, Augmentation
from internvideo.video.mixup import draw_mixup, mix_clips
from internvideo.video.preprocessing import Preprocessing

PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32
)
NUM_CLASSES = 3
UNMIXED = {"mixup": 0.0, "cutmix": 0.0}


def classifier(seed: int = 0) -> VideoClassifier:
    torch.manual_seed(seed)
    return VideoClassifier(
        VideoClassifierConfig(
            num_classes=NUM_CLASSES,
            init_scale=1.0,
            image_size=32,
            num_frames=4,
            patch_size=16,
            width=32,
            depth=1,
            num_heads=2,
        )
    )


def make(*, augmentation: Augmentation | None = None, **options) -> SupervisedRecognition:
    config = SupervisedConfig(**options)
    return SupervisedRecognition(classifier(), PROTOCOL, config, augmentation=augmentation)


def sample(label: int | None = 1, seed: int = 0) -> Sample:
    frames = np.random.default_rng(seed).integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    return Sample(frames=frames, label=label, key=f"clip{seed}.mp4")


def collated(task: SupervisedRecognition, samples: list[Sample]) -> dict[str, torch.Tensor]:
    rows = [row for s in samples for row in task.prepare(s, np.random.default_rng(3))]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_without_augmentation_the_loss_is_smoothed_cross_entropy_of_the_protocols_view():
    task = make(label_smoothing=0.1, **UNMIXED)
    samples = [sample(label=i % 3, seed=i) for i in range(4)]
    output = task.training_loss(collated(task, samples))
    clips = torch.stack([PROTOCOL.transform(torch.from_numpy(s.frames)) for s in samples])
    logits = task.model(clips)
    smooth = 0.9 * F.one_hot(torch.tensor([0, 1, 2, 0]), 3) + 0.1 / 3
    expected = -(smooth * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(output["loss"], expected)
    hits = (logits.argmax(dim=1) == torch.tensor([0, 1, 2, 0])).float().mean()
    assert output["top1"] == hits
    output["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.model.parameters())


def test_repeats_are_copies_of_one_clip_side_by_side():
    task = make(repeats=3, **UNMIXED)
    batch = collated(task, [sample(label=2, seed=5), sample(label=0, seed=6)])
    assert batch["label"].tolist() == [2, 2, 2, 0, 0, 0]
    assert batch["video"].dtype == torch.uint8
    assert torch.equal(batch["video"][0], batch["video"][2])
    assert not torch.equal(batch["video"][2], batch["video"][3])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, r"clip0\.mp4.*label"),
        (3, r"clip0\.mp4.*label 3.* 3 classes"),
        (-1, r"clip0\.mp4.*label -1"),
    ],
)
def test_labels_outside_the_classes_are_refused(label, message):
    task = make()
    with pytest.raises(DataError, match=message):
        task.prepare(sample(label=label), np.random.default_rng(0))


def test_augmentation_is_split_between_worker_and_device():
    augmentation = replace(AUGMENTATIONS["videomae-finetune-fast"], size=32)
    task = make(augmentation=augmentation, repeats=2, **UNMIXED)
    batch = collated(task, [sample(seed=1), sample(seed=2)])
    assert batch["video"].dtype == torch.uint8
    assert batch["video"].shape == (4, 4, 32, 32, 3)
    assert not torch.equal(batch["video"][0], batch["video"][1])  # copies are drawn apart
    torch.manual_seed(0)
    clips = task.input.finish(batch)
    torch.manual_seed(0)
    draws = {name: value for name, value in batch.items() if "augment_" in name}
    assert torch.equal(clips, augmentation.finish(batch["video"], draws))
    assert clips.shape == (4, 3, 4, 32, 32)
    loss = task.training_loss(batch)["loss"]
    assert torch.isfinite(loss)


@pytest.mark.parametrize("only", ["mixup", "cutmix"])
def test_mixed_batches_have_mixed_clips_and_soft_targets(only, monkeypatch):
    draws = []

    def draw(*arguments, **options):
        draws.append(draw_mixup(*arguments, **options))
        return draws[-1]

    monkeypatch.setattr(supervised, "draw_mixup", draw)
    alphas = {**UNMIXED, only: 0.8}
    task = make(label_smoothing=0.1, **alphas)
    batch = collated(task, [sample(label=i % 3, seed=i) for i in range(4)])
    output = task.training_loss(batch)
    [drawn] = draws
    assert 0 < drawn.share < 1
    assert (drawn.box is not None) == (only == "cutmix")
    assert output.keys() == {"loss"}
    video = mix_clips(PROTOCOL.normalize(batch["video"]), drawn)
    own = F.one_hot(batch["label"], 3).float()
    target = drawn.share * own + (1 - drawn.share) * own.flip(0)
    target = 0.9 * target + 0.1 / 3
    expected = -(target * task.model(video).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(output["loss"], expected)


def test_mixing_follows_torchs_generator_so_that_a_run_can_go_on():
    task = make()
    batch = collated(task, [sample(label=i % 3, seed=i) for i in range(4)])

    def losses() -> list[float]:
        torch.manual_seed(7)
        return [float(task.training_loss(batch)["loss"].detach()) for _ in range(4)]

    first = losses()
    assert len(set(first)) == 4
    assert losses() == first


def test_mixup_prob_zero_is_no_mixing():
    task = make(mixup_prob=0.0)
    assert not task.config.mixes
    batch = collated(task, [sample(label=i % 3, seed=i) for i in range(4)])
    assert task.training_loss(batch).keys() == {"loss", "top1"}


class Listed:
    """Clips of which only the labels matter."""

    labels = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2)

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> int:
        return self.labels[index]

    def key(self, index: int) -> str:
        return str(index)


def test_the_loss_of_rare_classes_is_weighed_by_their_number():
    task = make(mixup_prob=0, balance="loss", label_smoothing=0.0)
    plain = make(mixup_prob=0, label_smoothing=0.0)
    plain.load_state_dict(task.state_dict())
    source = Listed()
    assert task.over(source) is source
    expected = torch.tensor([10 / 3 / 8, 10 / 3, 10 / 3])
    assert torch.allclose(task._weights[:3], expected)
    rare = collated(task, [sample(1), sample(1, seed=1)])
    assert torch.allclose(task.training_loss(rare)["loss"], plain.training_loss(rare)["loss"])
    mixed = collated(task, [sample(0), sample(1, seed=1)])
    assert not torch.allclose(task.training_loss(mixed)["loss"], plain.training_loss(mixed)["loss"])


def test_the_sampler_draws_all_classes_alike():
    clips = make(balance="sampler").over(Listed())
    orders = [clips.order(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()
    for order in orders:
        counts = np.bincount([Listed.labels[index] for index in order])
        assert counts.sum() == len(clips) == 10
        assert set(counts.tolist()) == {3, 4}
    assert clips.key(3) == "3"
