from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.internvideo_mm import context
from internvideo.models.internvideo_qa import InternVideoQA, answer_loss
from internvideo.models.tokenizer import CLIPTokenizer
from internvideo.zoo.kinds.internvideo_mm import QUESTION_ANSWERING

RELEASED, PLAIN = (QUESTION_ANSWERING.tiny[name] for name in ("released", "without-decoder"))


def build(config=RELEASED) -> InternVideoQA:
    torch.manual_seed(0)
    model = InternVideoQA(config).eval()
    with torch.no_grad():  # the fused feature starts from zeros
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def inputs(model: InternVideoQA, clips: int = 3):
    torch.manual_seed(1)
    return model.example_inputs(clips)


def test_the_classifier_sees_decoder_clip_and_question_in_this_order():
    model = build()
    video, ids = inputs(model)
    towers = model.towers
    features, end = towers.forward_features(video), ids.argmax(dim=1)
    tokens = towers.text_encoder.ln_final(
        towers.text_encoder.transformer(
            towers.text_encoder.token_embedding(ids) + towers.text_encoder.positional_embedding
        )
    )
    # the reference leaves the last position out
    decoded = towers.caption_decoder.decode(
        tokens[:, :-1], towers.caption_decoder.read(context(features))
    )
    inside = end < ids.shape[1] - 1
    parts = (
        decoded[torch.arange(3), end.clamp(max=ids.shape[1] - 2)],
        towers.visual_ln_post(features.cls),
        tokens[torch.arange(3), end],
    )
    seen = torch.cat(parts, dim=1)[inside]
    assert inside.any()
    torch.testing.assert_close(model.fuse(features, ids)[inside], seen)
    torch.testing.assert_close(model(video, ids)[inside], model.vqa_classifier(seen))
    plain = build(PLAIN)
    features = plain.forward_features(video)
    clip, question = plain.towers.project_video(features), plain.towers.text_features(ids).embedding
    torch.testing.assert_close(plain.fuse(features, ids), torch.cat([clip, question], dim=1))


def test_questions_about_one_clip_are_answered_as_one_by_one():
    model = build()
    video, _ = inputs(model, 2)
    ids = model.tokenize(["a b", "c", "b b a"])
    rows = torch.tensor([1, 0, 1])
    together = model.answer(model.forward_features(video), ids, rows=rows)
    torch.testing.assert_close(together, model(video[rows], ids))


def test_a_question_of_any_length_leaves_the_last_position_free():
    model = build()
    length = model.tokenizer.context_length
    for words in range(2 * length):
        [ids] = model.tokenize([" ".join(["b"] * words)])
        assert int((ids == model.tokenizer.end_id).sum()) == 1
        end = int(ids.argmax())
        assert end == min(words + 1, length - 2)
        assert not ids[end + 1 :].any()
    video, _ = inputs(model, 1)
    assert torch.isfinite(model(video, ids[None])).all()


def test_clip_tokens_are_cut_to_76():
    model = build()
    model.towers.tokenizer = CLIPTokenizer()
    [long, short] = model.tokenize(["what is shown? " * 500, "who sings?"])
    assert (int(long.argmax()), int(short.argmax())) == (75, 4)
    assert (long[76], long[75]) == (0, 49407)


def test_unknown_answers_do_not_count():
    logits = torch.randn(4, 6, requires_grad=True)
    known = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([3, 5]))
    torch.testing.assert_close(answer_loss(logits, torch.tensor([3, -100, 5, -100])), known)
    nothing = answer_loss(logits, torch.full((4,), -100))
    nothing.backward()
    assert nothing.item() == 0
    assert not logits.grad.any()


def test_impossible_shapes_are_refused():
    for change in ({"num_classes": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            replace(RELEASED, **change)


def test_what_nothing_needs_is_not_there():
    names = build().state_dict()
    assert not [n for n in names if "proj" in n and n.startswith("towers.text_encoder.text")]
    assert not [n for n in names if "predictor" in n or n.endswith("visual_proj")]
