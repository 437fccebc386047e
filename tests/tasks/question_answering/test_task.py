"""What is trained: a classifier of answers, and a decoder that writes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from internvideo.data.samples import AskedQuestion, Sample
from internvideo.errors import ConfigError, DataError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.internvideo_qa import InternVideoQA, InternVideoQAConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.question_answering.open_ended import OpenAnswering, OpenAnsweringConfig
from internvideo.tasks.question_answering.task import (
    QuestionAnswering,
    QuestionAnsweringConfig,
    draw_questions,
)
from internvideo.video.preprocessing import Preprocessing

WORDS = ("what", "color", "is", "it", "how", "many", "red", "blue", "two")
PROTOCOL = Preprocessing(num_frames=2, resize_size=16, crop_size=16)
TOWERS = InternVideoMMConfig(
    vision=VideoViTConfig(
        image_size=16, num_frames=2, patch_size=8, tubelet_size=1, width=16, depth=1, num_heads=2
    ),
    text=CLIPTextConfig(
        vocab_size=len(WORDS) + 4, context_length=20, width=16, depth=1, num_heads=2, embed_dim=8
    ),
    embed_dim=8,
    decoder_depth=1,
    decoder_queries=3,
    vocabulary=WORDS,
)
ASKED = (
    AskedQuestion("what color is it", "red", 0),
    AskedQuestion("how many", "two", 1),
    AskedQuestion("what is it", "green", None),
)


def choosing(**config) -> QuestionAnswering:
    torch.manual_seed(0)
    model = InternVideoQA(InternVideoQAConfig(towers=TOWERS, num_classes=3, dropout=0.0))
    return QuestionAnswering(model, PROTOCOL, QuestionAnsweringConfig(**config))


def writing(**config) -> OpenAnswering:
    torch.manual_seed(0)
    return OpenAnswering(InternVideoMM(TOWERS), PROTOCOL, OpenAnsweringConfig(**config))


def sample(value: int = 0, *, questions=ASKED) -> Sample:
    frames = np.full((2, 16, 16, 3), value, np.uint8)
    return Sample(frames=frames, questions=questions, key=f"clip {value}")


def batch(task, samples, seed: int = 0):
    rng = np.random.default_rng(seed)
    return default_collate([row for each in samples for row in task.prepare(each, rng)])


def test_questions_are_drawn_and_missing_ones_do_not_count():
    task = choosing(questions_per_clip=2)
    seen = set()
    for seed in range(30):
        [row] = task.prepare(sample(), np.random.default_rng(seed))
        assert row["tokens"].shape == (2, 20)
        seen.add(tuple(row["answers"].tolist()))
    assert seen == {(a, b) for a in (0, 1, -100) for b in (0, 1, -100) if a != b}
    [row] = choosing(questions_per_clip=5).prepare(sample(), np.random.default_rng(0))
    assert row["answers"].tolist() == [0, 1, -100, -100, -100]
    assert torch.equal(row["tokens"][3], row["tokens"][0])
    assert int(row["host_length"]) == 6


@pytest.mark.parametrize("build", [choosing, writing])
def test_a_clip_without_a_question_stops_the_run(build):
    with pytest.raises(DataError, match="clip 7 has no question"):
        build().prepare(sample(7, questions=()), np.random.default_rng(0))


def test_the_loss_is_that_of_the_known_answers_one_by_one():
    task = choosing(questions_per_clip=3).eval()
    tensors = batch(task, [sample(0), sample(200)])
    found = task.training_loss(tensors)
    losses = []
    video = task.input.finish(tensors)
    for clip in range(2):
        for question in (0, 1):
            ids = tensors["tokens"][clip, question][None]
            logits = task.model(video[clip : clip + 1], ids)
            losses.append(F.cross_entropy(logits, tensors["answers"][clip, question][None]))
    torch.testing.assert_close(found["loss"], torch.stack(losses).mean())
    assert found["known"].item() == pytest.approx(2 / 3)
    unknown = batch(task, [sample(questions=ASKED[2:])])
    assert task.training_loss(unknown)["loss"].item() == 0


def test_an_answer_in_words_counts_and_its_question_does_not():
    task = writing(questions_per_clip=2).eval()
    asked = (ASKED[0], AskedQuestion("how many", "red two"))
    tensors = batch(task, [sample(questions=asked)])
    tokenizer = task.model.tokenizer
    [first, second] = tensors["tokens"][0]
    assert tokenizer.decode(first.tolist()) == "what color is it red"
    assert first.tolist()[:8] == [2, 3, 4, 5, 6, 2, 9, 12]
    assert tensors["answered"][0].int().tolist()[0][:9] == [0, 0, 0, 0, 0, 0, 1, 1, 0]
    assert tensors["answered"][0].int().tolist()[1][:8] == [0, 0, 0, 0, 1, 1, 1, 0]
    video = task.input.finish(tensors)
    logits = task.model.next_tokens(
        task.model.forward_features(video), torch.stack([first, second]), rows=torch.tensor([0, 0])
    )
    terms = [
        F.cross_entropy(logits[row, place - 1], tensors["tokens"][0, row, place])
        for row, places in ((0, (6, 7)), (1, (4, 5, 6)))
        for place in places
    ]
    torch.testing.assert_close(task.training_loss(tensors)["loss"], torch.stack(terms).mean())


def test_a_long_question_is_cut_and_its_answer_is_learnt():
    task = writing()
    long = AskedQuestion("what " * 200, "blue", None)
    [row] = task.prepare(sample(questions=(long,)), np.random.default_rng(0))
    assert int(row["answered"].sum()) == 2
    assert row["tokens"][0][row["answered"][0]].tolist() == [10, 12]


@pytest.mark.parametrize("build", [choosing, writing])
def test_every_trained_tensor_gets_a_gradient(build):
    task = build(questions_per_clip=2)
    task.training_loss(batch(task, [sample(0), sample(99)]))["loss"].backward()
    without = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.slow
@pytest.mark.parametrize("build", [choosing, writing])
def test_it_learns_to_answer_by_what_it_sees(build):
    task = build(questions_per_clip=2)
    dark = (ASKED[0], ASKED[1])
    light = (AskedQuestion("what color is it", "blue", 2), ASKED[1])
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    for step in range(80):
        tensors = batch(task, [sample(20, questions=dark), sample(220, questions=light)], step)
        loss = task.training_loss(tensors)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.eval()
    video = task.input.finish(batch(task, [sample(20), sample(220)]))
    features = task.model.forward_features(video)
    asked, rows = ["what color is it", "how many"] * 2, torch.tensor([0, 0, 1, 1])
    if isinstance(task, OpenAnswering):
        assert task.model.complete(features, asked, rows=rows) == ["red", "two", "blue", "two"]
    else:
        logits = task.model.answer(features, task.model.tokenize(asked), rows=rows)
        assert logits.argmax(dim=1).tolist() == [0, 1, 2, 1]


def test_a_model_without_a_decoder_cannot_write():
    model = InternVideoMM(replace(TOWERS, decoder_depth=0))
    with pytest.raises(ConfigError, match="decoder_depth"):
        OpenAnswering(model, PROTOCOL, OpenAnsweringConfig())


def test_kinds_are_drawn_alike():
    many = [AskedQuestion(f"what is it {n}", "red", 0, "color") for n in range(8)]
    asked = (*many, AskedQuestion("how many", "two", 1, "count"))
    first, seen = [], set()
    for seed in range(200):
        drawn = draw_questions(
            sample(questions=asked), 2, np.random.default_rng(seed), kinds_alike=True
        )
        assert {each.kind for each in drawn} == {"color", "count"}
        first.append(drawn[0].kind)
        seen |= {*drawn}
    assert len(seen) == 9
    assert 70 < first.count("count") < 130
    drawn = [
        draw_questions(sample(questions=asked), 1, np.random.default_rng(seed))[0].kind
        for seed in range(200)
    ]
    assert drawn.count("count") < 50
