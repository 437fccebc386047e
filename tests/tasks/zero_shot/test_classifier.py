from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch

from internvideo.errors import ConfigError, DataError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.tasks.zero_shot.classifier import (
    ZeroShotClassifier,
    class_embeddings,
    prompt_probabilities,
    zero_shot_metrics,
)
from internvideo.tasks.zero_shot.prompting import class_prompts, prompt_templates
from internvideo.video.preprocessing import Preprocessing

WORDS = ("a", "an", "red", "star", "moves", "left", "right", "action", "of")
NANO = ViCLIPConfig(
    vision=VideoViTConfig(
        image_size=16,
        num_frames=4,
        patch_size=16,
        tubelet_size=1,
        width=16,
        depth=1,
        num_heads=2,
        stem=ConvStemConfig(channels=(4,), strides=(2,)),
    ),
    text=CLIPTextConfig(
        vocab_size=13, context_length=8, width=16, depth=1, num_heads=2, embed_dim=6
    ),
    embed_dim=6,
    vocabulary=WORDS,
    temp_init=0.05,
)
VIEWS = Preprocessing(num_frames=4, sampling="sparse", num_clips=2, resize_size=16, crop_size=16)
LABELS = ("star moves left", "star moves right", "an action")


@dataclass
class Clip:
    """A video in memory."""

    pixels: torch.Tensor
    name: str = "clip.mp4"
    fps: float = 25.0

    @property
    def num_frames(self) -> int:
        return len(self.pixels)

    def frames(self, indices) -> torch.Tensor:
        return self.pixels[list(indices)]


@pytest.fixture
def model() -> ViCLIP:
    torch.manual_seed(0)
    return ViCLIP(NANO).eval()


@pytest.fixture
def clip() -> Clip:
    generator = torch.Generator().manual_seed(0)
    return Clip(torch.randint(0, 256, (10, 16, 20, 3), dtype=torch.uint8, generator=generator))


def test_class_embedding_is_the_mean_of_unit_vectors(model):
    prompts = {"left": ("a star moves left", "moves left"), "action": ("an action",)}
    with torch.no_grad():
        left = model.encode_text(model.tokenizer(prompts["left"]))
        action = model.encode_text(model.tokenizer(prompts["action"]))
    weights = class_embeddings(model, prompts)
    torch.testing.assert_close(weights, torch.stack([left.mean(0), action[0]]))
    assert weights[0].norm() < 0.9999
    unit = class_embeddings(model, prompts, renormalize=True)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))


def test_many_prompts_are_embedded_in_batches_of_any_size(model, monkeypatch):
    prompts = class_prompts(LABELS, [*prompt_templates("action16")])
    whole = class_embeddings(model, prompts)
    monkeypatch.setattr("internvideo.tasks.classification.zero_shot._TEXT_BATCH", 7)
    torch.testing.assert_close(class_embeddings(model, prompts), whole)


def test_predict_averages_the_views(model, clip):
    classifier = ZeroShotClassifier(model, VIEWS, class_prompts(LABELS), name="nano")
    result = classifier.predict(clip)
    with torch.no_grad():
        views = model.encode_video(VIEWS.load(clip))
        texts = model.encode_text(model.tokenizer(LABELS))
    scores = (views @ texts.T).mean(0)
    assert result.label == LABELS[int(scores.argmax())]
    assert result.scores == pytest.approx(scores.sort(descending=True).values.tolist(), abs=1e-6)
    expected = (scores / 0.05).softmax(0).sort(descending=True).values.tolist()
    assert result.probabilities == pytest.approx(expected, rel=1e-4)
    assert (result.video, result.model) == ("clip.mp4", "nano")
    assert "4 frames x 2 clips x 1 crop" in result.protocol


def test_probabilities_are_averaged_over_templates(model, clip):
    prompts = class_prompts(LABELS, ["a {}", "{} of an action"])
    classifier = ZeroShotClassifier(model, VIEWS, prompts, ensemble="probability")
    result = classifier.predict(clip)
    with torch.no_grad():
        views = model.encode_video(VIEWS.load(clip))
        shares = [
            (
                views
                @ model.encode_text(model.tokenizer([texts[turn] for texts in prompts.values()])).T
                / 0.05
            ).softmax(dim=1)
            for turn in range(2)
        ]
    expected = ((shares[0] + shares[1]) / 2).mean(0).sort(descending=True).values.tolist()
    assert result.scores == pytest.approx(expected, rel=1e-4)
    assert result.probabilities == result.scores
    assert sum(result.probabilities) == pytest.approx(1, abs=1e-5)


def test_both_ensembles_agree_on_a_single_template(model, clip):
    prompts = class_prompts(LABELS)
    answers = [
        ZeroShotClassifier(model, VIEWS, prompts, ensemble=rule).scores(VIEWS.load(clip))
        for rule in ("cosine", "probability")
    ]
    torch.testing.assert_close((answers[0] / 0.05).softmax(dim=1), answers[1])


def test_probabilities_need_the_same_templates_for_all_classes(model):
    prompts = {"left": ("a star moves left", "moves left"), "action": ("an action",)}
    with pytest.raises(ConfigError, match="1 to 2 sentences have no common templates"):
        ZeroShotClassifier(model, VIEWS, prompts, ensemble="probability")


def test_the_ensemble_does_not_depend_on_the_length_of_the_features():
    videos, sentences = torch.randn(3, 8), torch.randn(4, 5, 8)
    shares = prompt_probabilities(videos, sentences, torch.tensor(30.0))
    torch.testing.assert_close(
        shares, prompt_probabilities(2 * videos, sentences / 3, torch.tensor(30.0))
    )
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))


def test_the_demo_scale_can_be_asked_for(model, clip):
    sharp = ZeroShotClassifier(model, VIEWS, class_prompts(LABELS), logit_scale=100.0)
    result = sharp.predict(clip)
    expected = (100 * torch.tensor(result.scores)).softmax(0).tolist()
    assert result.probabilities == pytest.approx(expected, rel=1e-4)


def test_evaluate_counts_over_all_batches(model):
    classifier = ZeroShotClassifier(model, VIEWS, class_prompts(LABELS))
    clips = torch.randn(7, 3, 4, 16, 16)
    labels = classifier.scores(clips).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    batches = [(clips[:3], labels[:3]), (clips[3:], labels[3:])]
    metrics = classifier.evaluate(batches)
    assert metrics["top1"] == 85.71
    assert metrics["top5"] == 100.0
    assert metrics["avg"] == pytest.approx((85.71 + 100) / 2)
    assert set(metrics) == {"top1", "top5", "avg", "top1_dsl", "top5_dsl", "avg_dsl"}


def test_evaluate_refuses_what_it_cannot_count(model):
    classifier = ZeroShotClassifier(model, VIEWS, class_prompts(LABELS))
    with pytest.raises(DataError, match="nothing to evaluate"):
        classifier.evaluate([])
    with pytest.raises(DataError, match="from 0 to 3, but there are 3 classes"):
        classifier.evaluate([(torch.randn(2, 3, 4, 16, 16), torch.tensor([0, 3]))])


def test_the_model_is_used_in_evaluation_mode(model, clip):
    classifier = ZeroShotClassifier(model.train(), VIEWS, class_prompts(LABELS))
    assert not model.training
    assert classifier.predict(clip) == classifier.predict(clip)


def test_words_outside_the_vocabulary_are_told_once(model, caplog):
    with caplog.at_level(logging.WARNING):
        ZeroShotClassifier(model, VIEWS, class_prompts(["a red star", "a dog, a cat"]), name="nano")
    (record,) = caplog.records
    assert record.getMessage() == (
        "nano knows 9 words; not among them, and read as one unknown word: dog, cat"
    )


def test_metrics_of_perfect_scores():
    labels = torch.arange(10)
    metrics = zero_shot_metrics(torch.eye(10), labels)
    assert metrics == dict.fromkeys(metrics, 100.0)
