from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.contrastive.task import (
    ContrastiveConfig,
    ContrastivePretraining,
    caption_loss,
)
from internvideo.train.config import OptimConfig
from internvideo.train.contrast import contrastive_loss
from internvideo.train.optim import build_optimizer
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing

WORDS = ("a", "dog", "red", "star", "moves", "left")
TEXT = CLIPTextConfig(
    vocab_size=len(WORDS) + 4, context_length=8, width=64, depth=1, num_heads=1, embed_dim=8
)
VISION = VideoViTConfig(
    image_size=16, num_frames=4, patch_size=8, tubelet_size=1, width=16, depth=1, num_heads=2
)
PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=16, crop_size=16
)
CAPTIONS = ("a red star", "a dog moves left", "a red star", "star")


def viclip() -> ViCLIP:
    torch.manual_seed(0)
    vision = ViCLIPVisionConfig(
        image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, embed_dim=8
    )
    return ViCLIP(
        ViCLIPConfig(vision=vision, text=TEXT, embed_dim=8, vocabulary=WORDS, temp_init=0.07)
    )


def multimodal(decoder_depth: int = 1) -> InternVideoMM:
    torch.manual_seed(0)
    return InternVideoMM(
        InternVideoMMConfig(
            vision=VISION,
            text=TEXT,
            embed_dim=8,
            vocabulary=WORDS,
            decoder_depth=decoder_depth,
            decoder_queries=4,
            projection_norm="batch",
        )
    )


def make(model, *, augmentation: Augmentation | None = None, **options) -> ContrastivePretraining:
    config = ContrastiveConfig(**options)
    return ContrastivePretraining(model, PROTOCOL, config, augmentation=augmentation)


def sample(seed: int, caption: str | None, *, frames: int = 4) -> Sample:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 24, 32, 3), dtype=np.uint8)
    return Sample(frames=pixels, caption=caption, key=f"clip{seed}.mp4")


def batch(task: ContrastivePretraining, captions=CAPTIONS, *, frames: int = 4):
    rng = np.random.default_rng(0)
    rows = [task.prepare(sample(i, c, frames=frames), rng) for i, c in enumerate(captions)]
    return default_collate([row for each in rows for row in each])


def test_contrast_is_that_of_both_towers_over_equal_captions():
    task = make(viclip()).eval()
    data = batch(task)
    told = task.training_loss(data)
    model = task.model
    video = model.encode_video(PROTOCOL.normalize(data["video"]))
    ids = data["tokens"]
    expected = contrastive_loss(
        video, model.encode_text(ids), model.temperature(), ids=data["caption_id"]
    )
    torch.testing.assert_close(told["loss"], expected, rtol=1e-5, atol=1e-5)
    assert data["caption_id"][0] == data["caption_id"][2]
    assert set(told) == {"loss", "accuracy", "cut"}


def test_contrast_and_captions_add_up_and_reach_every_tensor():
    task = make(multimodal(), caption_weight=0.5).train()
    told = task.training_loss(batch(task))
    torch.testing.assert_close(told["loss"], told["contrast"] + 0.5 * told["caption"])
    told["loss"].backward()
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert any("caption_decoder" in name for name in trained)


def test_captions_are_predicted_to_the_end_and_no_further():
    ids = torch.tensor([[2, 4, 9, 0, 0], [2, 5, 6, 7, 9]])
    logits = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    logarithms = logits.log_softmax(-1)
    wanted = [(0, 0, 4), (0, 1, 9), (1, 0, 5), (1, 1, 6), (1, 2, 7), (1, 3, 9)]
    expected = -torch.stack([logarithms[place] for place in wanted]).mean()
    torch.testing.assert_close(caption_loss(logits, ids), expected)
    assert caption_loss(logits.bfloat16(), ids).dtype == torch.float32


@pytest.mark.parametrize("build", [viclip, multimodal])
def test_a_frozen_text_tower_stays_as_it_is(build):
    task = make(build(), freeze_text=True)
    task.train()
    assert not any(module.training for module in task.model.text_encoder.modules())
    assert task.model.training
    optimizer = build_optimizer(task, OptimConfig(lr=0.1), lr=0.1)
    before = {n: t.clone() for n, t in task.model.state_dict().items()}
    task.training_loss(batch(task))["loss"].backward()
    optimizer.step()
    changed = {n for n, t in task.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed
    assert not [name for name in changed if name.startswith("text_encoder.")]


def test_without_captions_the_decoder_is_left_alone():
    task = make(multimodal())
    told = task.training_loss(batch(task))
    assert "caption" not in told
    told["loss"].backward()
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    assert not [name for name in trained if "caption_decoder" in name]
    assert [name for name, p in trained.items() if p.grad is None] == []


def test_dropped_patches_are_drawn_in_training():
    task = make(viclip(), mask_ratio=0.75)
    data = batch(task)
    torch.manual_seed(1)
    first = task.training_loss(data)["loss"]
    assert task.training_loss(data)["loss"] != first
    torch.manual_seed(1)
    assert task.training_loss(data)["loss"] == first


def test_still_images_are_clips_of_one_frame():
    for model, options in ((viclip(), {}), (multimodal(), {"caption_weight": 1.0})):
        task = make(model, **options).train()
        data = batch(task, frames=1)
        assert data["video"].shape == (4, 1, 16, 16, 3)
        assert task.training_loss(data)["loss"].isfinite()


def test_clips_are_augmented():
    augmentation = Augmentation(size=16, resize_dtype="uint8", scale=(0.5, 1.0))
    plain, task = make(viclip()), make(viclip(), augmentation=augmentation)
    rows = [task.prepare(sample(0, "a star"), np.random.default_rng(i))[0] for i in range(6)]
    assert len({row["video"].numpy().tobytes() for row in rows}) == 6
    assert {bool(row["augment_flip"]) for row in rows} == {True, False}
    data = default_collate(rows)
    flipped = {**data, "augment_flip": ~data["augment_flip"]}
    torch.testing.assert_close(task.input.finish(flipped), task.input.finish(data).flip(-1))
    assert "augment_flip" not in batch(plain)


def test_cleaned_captions_are_equal_where_the_words_are():
    task = make(viclip(), clean_captions=True)
    data = batch(task, ["A red star!", "a red star", "A dog..."])
    assert data["caption_id"][0] == data["caption_id"][1]
    assert torch.equal(data["tokens"][0], data["tokens"][1])


@pytest.mark.parametrize("caption", [None, "", " \n"])
def test_a_clip_without_a_caption_is_named(caption):
    with pytest.raises(DataError, match=r"clip7\.mp4.*caption"):
        make(viclip()).prepare(sample(7, caption), np.random.default_rng(0))


def test_a_caption_without_words_is_named():
    with pytest.raises(DataError, match=r"clip7\.mp4.*'\?!'"):
        make(viclip(), clean_captions=True).prepare(sample(7, "?!"), np.random.default_rng(0))


def test_long_captions_are_cut_counted_and_told_once(caplog):
    task = make(viclip())
    long = "a red star moves left a red star moves left"
    fits = "a red star moves left left"  # with start and end exactly the context
    with caplog.at_level(logging.WARNING):
        data = batch(task, [long, fits, "a dog", long])
    assert data["cut"].tolist() == [True, False, False, True]
    assert task.training_loss(data)["cut"].item() == 0.5
    assert len(caplog.records) == 1
    assert "of 12 tokens is cut to the context of 8" in caplog.text
    assert data["tokens"][0, -1] == task.captions.tokenizer.end_id


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (multimodal, {"mask_ratio": 0.9}, "task.mask_ratio 0.9.*InternVideoMM"),
        (viclip, {"mask_ratio": 1.0}, "task.mask_ratio 1"),
        (viclip, {"caption_weight": 1.0}, "task.caption_weight 1.0.*ViCLIP"),
        (lambda: multimodal(0), {"caption_weight": 1.0}, "task.caption_weight 1.0"),
    ],
)
def test_what_a_model_cannot_do_is_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        make(build(), **options)


@pytest.mark.parametrize("build", [viclip, multimodal])
def test_low_precision_gives_a_loss_in_float32(build):
    weight = 1.0 if build is multimodal else 0.0
    task = make(build(), caption_weight=weight).train()
    data = batch(task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = task.training_loss(data)["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, task.training_loss(data)["loss"], rtol=0.1, atol=0.1)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())


def test_padding_costs_nothing_and_changes_nothing():
    task = make(multimodal(), caption_weight=1.0).eval()
    data = batch(task)
    wider = {**data, "tokens": F.pad(data["tokens"][:, :6], (0, 2))}
    torch.testing.assert_close(task.training_loss(wider)["loss"], task.training_loss(data)["loss"])
    seen = []
    task.model.text_encoder.register_forward_hook(lambda m, i, o: seen.append(o.tokens.shape[1]))
    task.training_loss(data)
    assert seen == [6]  # start, "a dog moves left", end
