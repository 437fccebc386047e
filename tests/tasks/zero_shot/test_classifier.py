from __future__ import annotations

import logging

import pytest
import torch

from internvideo.errors import ConfigError
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.ranking import dual_softmax
from internvideo.evaluation.videos import ask_videos
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.tasks.zero_shot.classifier import (
    ZeroShotClassifier,
    class_embeddings,
    prompt_probabilities,
    ranking_metrics,
)
from internvideo.tasks.zero_shot.prompting import class_prompts, prompt_templates
from internvideo.video.opening import open_video
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


@pytest.fixture
def model() -> ViCLIP:
    torch.manual_seed(0)
    return ViCLIP(NANO).eval()


@pytest.fixture
def clip() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (10, 16, 20, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture
def views(clip) -> torch.Tensor:
    with open_video(clip) as (_, opened):
        return VIEWS.load(opened)


def ask(classifier: ZeroShotClassifier, clip: torch.Tensor) -> Classification:
    [(_, answer)] = ask_videos(classifier, [clip])
    return answer


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
    monkeypatch.setattr("internvideo.evaluation.text._TEXT_BATCH", 7)
    torch.testing.assert_close(class_embeddings(model, prompts), whole)


def test_an_answer_averages_the_views(model, clip, views):
    classifier = ZeroShotClassifier(model, VIEWS, class_prompts(LABELS), name="nano")
    result = ask(classifier, clip)
    with torch.no_grad():
        seen = model.encode_video(views)
        texts = model.encode_text(model.tokenizer(LABELS))
    scores = (seen @ texts.T).mean(0)
    assert result.label == LABELS[int(scores.argmax())]
    assert result.scores == pytest.approx(scores.sort(descending=True).values.tolist(), abs=1e-6)
    expected = (scores / 0.05).softmax(0).sort(descending=True).values.tolist()
    assert result.probabilities == pytest.approx(expected, rel=1e-4)
    assert (result.video, result.model) == ("<frames>", "nano")
    assert "4 frames x 2 clips x 1 crop" in result.protocol


def test_probabilities_are_averaged_over_templates(model, clip, views):
    prompts = class_prompts(LABELS, ["a {}", "{} of an action"])
    classifier = ZeroShotClassifier(model, VIEWS, prompts, ensemble="probability")
    result = ask(classifier, clip)
    with torch.no_grad():
        seen = model.encode_video(views)
        shares = [
            (
                seen
                @ model.encode_text(model.tokenizer([texts[turn] for texts in prompts.values()])).T
                / 0.05
            ).softmax(dim=1)
            for turn in range(2)
        ]
    expected = ((shares[0] + shares[1]) / 2).mean(0).sort(descending=True).values.tolist()
    assert result.scores == pytest.approx(expected, rel=1e-4)
    assert result.probabilities == result.scores
    assert sum(result.probabilities) == pytest.approx(1, abs=1e-5)


def test_both_ensembles_agree_on_a_single_template(model, views):
    prompts = class_prompts(LABELS)
    answers = [
        ZeroShotClassifier(model, VIEWS, prompts, ensemble=rule).scores(views)
        for rule in ("cosine", "probability")
    ]
    torch.testing.assert_close((answers[0] / 0.05).softmax(dim=1), answers[1])


def test_probabilities_need_the_same_templates_for_all_classes(model):
    prompts = {"left": ("a star moves left", "moves left"), "action": ("an action",)}
    with pytest.raises(ConfigError, match=r"1 to 2 .*probability"):
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
    result = ask(sharp, clip)
    expected = (100 * torch.tensor(result.scores)).softmax(0).tolist()
    assert result.probabilities == pytest.approx(expected, rel=1e-4)


def test_the_model_is_used_in_evaluation_mode(model, clip):
    classifier = ZeroShotClassifier(model.train(), VIEWS, class_prompts(LABELS))
    assert not model.training
    assert ask(classifier, clip) == ask(classifier, clip)


def test_words_outside_the_vocabulary_are_told_once(model, caplog):
    with caplog.at_level(logging.WARNING):
        ZeroShotClassifier(model, VIEWS, class_prompts(["a red star", "a dog, a cat"]), name="nano")
    (record,) = caplog.records
    assert record.getMessage().startswith("nano knows 9 words")
    assert "dog, cat" in record.getMessage()


def test_metrics_of_perfect_scores():
    for scores in (torch.eye(10), dual_softmax(torch.eye(10))):
        metrics = ranking_metrics(scores, torch.arange(10))
        assert metrics == {"top1": 100.0, "top5": 100.0, "avg": 100.0}
