from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.models.bert import BertConfig
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.umt_multimodal import UMTMultimodal, UMTMultimodalConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS
from internvideo.tasks.unmasked_teacher import multimodal
from internvideo.tasks.unmasked_teacher.multimodal import LossWeights, UMTMultimodalPretraining
from internvideo.train.config import OptimConfig
from internvideo.train.optim import build_optimizer
from internvideo.video.preprocessing import Preprocessing

WORDS = ("a", "star", "circle", "square", "cross", "moves", "left", "grows", "vanishes", "rotates")
CAPTIONS = ("A star moves left.", "a circle grows", "a square vanishes", "a cross rotates")
LOSSES = ("uta", "vtc", "vtm", "mlm")
PROTOCOL = Preprocessing(
    num_frames=2, sampling="middle", resize_rule="squash", resize_size=16, crop_size=16
)
CONFIG = UMTMultimodalConfig(
    vision=UnmaskedTeacherConfig(
        encoder=VideoViTConfig(
            image_size=16,
            num_frames=2,
            patch_size=4,
            tubelet_size=1,
            width=16,
            depth=2,
            num_heads=2,
        ),
        target_width=8,
        num_targets=2,
    ),
    text=BertConfig(
        vocab_size=15,
        max_positions=8,
        width=16,
        depth=2,
        num_heads=2,
        mlp_hidden=32,
        fusion_layer=1,
        vision_width=16,
        drop_rate=0.0,
        attention_drop_rate=0.0,
    ),
    embed_dim=12,
    context_length=8,
    vocabulary=SPECIAL_TOKENS + WORDS,
)
TEACHER = CLIPTeacherConfig(
    image_size=16, patch_size=4, width=16, depth=2, num_heads=2, embed_dim=8
)


def build(*, with_teacher: bool = True, **options) -> UMTMultimodalPretraining:
    torch.manual_seed(0)
    teacher = CLIPTeacher(TEACHER)
    return UMTMultimodalPretraining(
        UMTMultimodal(CONFIG),
        PROTOCOL,
        multimodal.UMTMultimodalPretrainingConfig(**options),
        teacher=teacher if with_teacher else None,
    )


def sample(number: int, *, frames: int = 2, caption: str | None = "") -> Sample:
    noise = np.random.default_rng(number).integers(0, 64, (frames, 16, 16, 3), dtype=np.uint8)
    caption = CAPTIONS[number] if caption == "" else caption
    return Sample(frames=noise + np.uint8(60 * number), caption=caption)


def batch(task: UMTMultimodalPretraining, *, frames: int = 2) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    rows = [row for i in range(4) for row in task.prepare(sample(i, frames=frames), rng)]
    return default_collate(rows)


def test_captions_are_cleaned_and_hidden_words_are_asked_for():
    task = build()
    (row,) = task.prepare(sample(0), np.random.default_rng(0))
    assert row["tokens"].tolist() == task.model.tokenizer("a star moves left")[0].tolist()
    asked = row["hidden_words"] >= 0
    assert asked.any()
    assert torch.equal(row["hidden_words"][asked], row["tokens"][asked])
    with pytest.raises(DataError, match="caption"):
        task.prepare(sample(0, caption=None), np.random.default_rng(0))


def test_every_loss_falls_on_a_batch_that_is_seen_again_and_again():
    task = build(video_mask_ratio=0.5)
    rows = batch(task)
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.004)
    records = []
    for _ in range(140):
        losses = task.training_loss(rows)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        records.append({name: value.item() for name, value in losses.items()})
    for record in records:
        assert record["loss"] == pytest.approx(sum(record[name] for name in LOSSES), rel=1e-5)
    last = {name: np.mean([record[name] for record in records[-10:]]) for name in LOSSES}
    assert 1 < records[0]["uta"] < 3  # unit vectors that know nothing of each other: 2
    assert last["uta"] < 0.5
    assert last["vtc"] < 0.2
    assert last["vtm"] < 0.6  # 0.64: one pair of three, whatever is seen
    assert last["mlm"] < 0.2
    assert records[-1]["accuracy"] == 1


def test_weights_scale_the_losses():
    task = build(weights=LossWeights(uta=2.0, vtc=0.5, vtm=3.0, mlm=1.5))
    reference = build()
    rows = batch(reference)
    torch.manual_seed(1)
    plain = reference.training_loss(rows)
    torch.manual_seed(1)
    scaled = task.training_loss(rows)
    expected = sum(getattr(task.config.weights, name) * plain[name] for name in LOSSES)
    torch.testing.assert_close(scaled["loss"], expected)


def test_gradient_reaches_every_parameter():
    task = build()
    task.training_loss(batch(task))["loss"].backward()
    missing = [
        n
        for n, p in task.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert missing == []


@pytest.mark.parametrize(("frames", "visible"), [(2, 2 * 4), (1, 8)])
def test_videos_and_images_are_masked_by_their_own_ratio(frames, visible):
    task = build(video_mask_ratio=0.8, image_mask_ratio=0.5)
    seen = []
    task.model.vision_encoder.register_forward_hook(lambda m, i, o: seen.append(o.tokens.shape))
    losses = task.training_loss(batch(task, frames=frames))
    assert losses["loss"].isfinite()
    assert seen == [(4, visible, 16)]


def test_a_tube_mask_compares_a_caption_with_each_frame(monkeypatch):
    similarities = []
    contrast = multimodal.blockwise_contrast

    def watched(of_video, of_text, *args, **options):
        similarities.append(of_video)
        return contrast(of_video, of_text, *args, **options)

    monkeypatch.setattr(multimodal, "blockwise_contrast", watched)
    for mask in ("tube", "random"):
        task = build(mask=mask)
        seen = []
        task.model.vision_encoder.register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
        task.training_loss(batch(task))
        tokens, model = seen[0].tokens.unflatten(1, (2, 4)), task.model
        pooled = tokens.mean(dim=2) if mask == "tube" else tokens.mean(dim=(1, 2))[:, None]
        expected = model.project_video(model.vision_encoder.pool_norm(pooled)).mean(dim=1)
        torch.testing.assert_close(similarities.pop(), expected)


def test_the_temperature_decays_as_in_the_published_training():
    task = build()
    decayed, spared = build_optimizer(task, OptimConfig(weight_decay=0.02), lr=0.1).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.02, 0.0)
    assert any(parameter is task.model.temp for parameter in decayed["params"])
    assert {parameter.ndim for parameter in spared["params"]} == {1}


def test_fine_tuning_sees_everything_and_needs_no_teacher():
    task = build(with_teacher=False, video_mask_ratio=0.0, weights=LossWeights(uta=0.0, mlm=0.0))
    rows = batch(task)
    assert "hidden_tokens" not in rows
    losses = task.training_loss(rows)
    assert losses.keys() == {"loss", "vtc", "vtm", "accuracy"}
    similarity = (
        task.model.encode_video(PROTOCOL.normalize(rows["video"]), normalize=False)
        @ task.model.encode_text(rows["tokens"]).T
    )
    logits, target = similarity / task.model.temperature(), torch.arange(4)
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, target) + cross(logits.T, target)) / 2
    torch.testing.assert_close(losses["vtc"], expected)


def test_equal_captions_are_neither_negatives_nor_strangers():
    task = build()
    rng = np.random.default_rng(0)
    rows = [task.prepare(sample(i, caption="a star grows"), rng)[0] for i in range(4)]
    losses = task.training_loss(default_collate(rows))
    assert losses["accuracy"] == 1
    assert losses["vtm"].isfinite()


def test_the_teacher_of_the_model_is_used_and_not_trained():
    torch.manual_seed(0)
    model = UMTMultimodal(replace(CONFIG, teacher=TEACHER))
    task = UMTMultimodalPretraining(model, PROTOCOL, multimodal.UMTMultimodalPretrainingConfig())
    assert task.teaching.teacher is task.model.clip_teacher
    task.training_loss(batch(task))["loss"].backward()
    assert all(p.grad is None for p in task.teaching.teacher.parameters())


def test_a_given_teacher_is_no_part_of_the_task():
    task = build()
    assert not any("teacher" in name for name in task.state_dict())
    bare = build(with_teacher=False)
    with pytest.raises(ConfigError, match="teacher"):
        bare.training_loss(batch(bare))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_mask_ratio": 1.0}, r"image_mask_ratio.* 1"),
        ({"word_ratio": 0.0}, r"word_ratio.* 0"),
        ({"teacher_interval": 9.0}, "teacher_interval"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(dict.fromkeys(LOSSES, 0.0), "all 0"), ({"vtc": -1.0}, "vtc.* -1"), ({"vct": 1.0}, "'vtc'")],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        LossWeights(**weights)
