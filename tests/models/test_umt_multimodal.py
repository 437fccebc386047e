from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.errors import ConfigError, DataError
from internvideo.models.bert import BertConfig
from internvideo.models.clip_teacher import CLIPTeacherConfig
from internvideo.models.contract import has
from internvideo.models.positions import sinusoid_table
from internvideo.models.umt_multimodal import SIZES, UMTMultimodal, UMTMultimodalConfig
from internvideo.models.umt_vision import UMTVision
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.models.wordpiece import SPECIAL_TOKENS

WORDS = ("a", "red", "star", "moves", "left")
STUDENT = UnmaskedTeacherConfig(
    encoder=VideoViTConfig(
        image_size=16,
        num_frames=3,
        patch_size=8,
        tubelet_size=1,
        width=16,
        depth=2,
        num_heads=2,
    ),
    target_width=8,
    num_targets=2,
)
CONFIG = UMTMultimodalConfig(
    vision=STUDENT,
    text=BertConfig(
        vocab_size=10,
        max_positions=8,
        width=12,
        depth=2,
        num_heads=2,
        mlp_hidden=24,
        fusion_layer=1,
        vision_width=16,
    ),
    embed_dim=6,
    context_length=6,
    vocabulary=SPECIAL_TOKENS + WORDS,
    teacher=CLIPTeacherConfig(
        image_size=8, patch_size=4, width=8, depth=2, num_heads=2, embed_dim=8
    ),
)
IDS = torch.tensor([[2, 5, 6, 7, 3, 0], [2, 7, 8, 3, 0, 0]])


def build(config: UMTMultimodalConfig = CONFIG) -> UMTMultimodal:
    torch.manual_seed(0)
    return UMTMultimodal(config).eval()


def clips(batch: int = 2, frames: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(
        batch, 3, frames, size, size, generator=torch.Generator().manual_seed(frames)
    )


def test_it_is_a_dual_encoder():
    model = build()
    assert has(model, "text")
    assert torch.equal(model.tokenizer(["a red star", "star moves"]), IDS)
    for embedding in (model.encode_video(clips()), model.encode_text(IDS)):
        assert embedding.shape == (2, 6)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    plain = model.encode_text(IDS, normalize=False)
    torch.testing.assert_close(torch.nn.functional.normalize(plain, dim=-1), model.encode_text(IDS))


def test_the_similarity_is_the_mean_over_frames_of_cosines():
    model = build()
    frames, text = model.encode_frames(clips()), model.encode_text(IDS)
    assert frames.shape == (2, 3, 6)
    expected = torch.einsum("bse,ke->bks", frames, text).mean(dim=-1)
    torch.testing.assert_close(model.encode_video(clips(), normalize=False) @ text.T, expected)
    unit = torch.nn.functional.normalize(frames.mean(dim=1), dim=-1)
    torch.testing.assert_close(model.encode_video(clips()), unit)


def test_frames_see_each_other():
    model = build()
    changed = clips()
    changed[:, :, 2] += 1
    moved = (model.encode_frames(changed) - model.encode_frames(clips())).abs().amax(dim=(0, 2))
    assert (moved > 1e-4).all()


def test_matching_is_a_probability_of_pairs():
    model = build()
    tokens, text = model.forward_features(clips()).tokens, model.read(IDS)
    assert tokens.shape == (2, 12, 16)
    logits = model.match_logits(tokens, text)
    torch.testing.assert_close(model.match(tokens, text), logits.softmax(dim=-1)[:, 1])
    alone = model.match(tokens[1:], text.take(slice(1, 2)))
    torch.testing.assert_close(alone, model.match(tokens, text)[1:])
    crossed = model.match(tokens, text.take(torch.tensor([1, 0])))
    assert (crossed - model.match(tokens, text)).abs().max() > 1e-6
    one_with_all = model.match(tokens[:1].expand(2, -1, -1), text)
    torch.testing.assert_close(one_with_all[0], model.match(tokens, text)[0])


def test_a_text_that_lost_its_end_is_refused():
    model = build()
    with pytest.raises(ValueError, match=r"without its \[SEP\]"):
        model.encode_text(IDS[:, :4])  # all that is left where CLIP's end token would be


def test_more_words_than_in_the_text_are_not_seen():
    model = build()
    tokens = model.forward_features(clips()).tokens
    for shorter in (model.read(IDS[:, :5]), model.read(IDS)):
        torch.testing.assert_close(
            model.match(tokens, shorter), model.match(tokens, model.read(IDS))
        )
    torch.testing.assert_close(model.encode_text(IDS[:, :5]), model.encode_text(IDS))


@pytest.mark.parametrize(("frames", "size"), [(1, 16), (3, 16), (5, 16), (2, 24)])
def test_the_position_of_a_token_is_its_number(frames, size):
    vision = build().vision_encoder
    grid = (frames, size // 8, size // 8)
    count = frames * grid[1] * grid[2]
    torch.testing.assert_close(vision.encoder.positions(grid), sinusoid_table(count, 16))
    assert vision(clips(frames=frames, size=size)).grid == grid


def test_pooling_is_by_frame_unless_tokens_are_hidden():
    vision = build().vision_encoder
    assert vision.pool(vision(clips())).shape == (2, 3, 16)
    visible = torch.tensor([[0, 5, 9], [1, 4, 11]])
    features = vision(clips(), visible=visible)
    pooled = vision.pool(features)
    torch.testing.assert_close(pooled[:, 0], vision.pool_norm(features.tokens.mean(dim=1)))
    assert vision.pool(vision(clips(frames=1))).shape == (2, 1, 16)
    by_frame = vision.pool(features, by_frame=True)  # a tube shows each frame equally often
    torch.testing.assert_close(by_frame, vision.pool_norm(features.tokens))


def test_answers_are_those_of_the_first_stage():
    torch.manual_seed(0)
    student = UnmaskedTeacher(STUDENT).eval()
    vision = UMTVision(STUDENT, alignment=True).eval()
    vision.load_state_dict(student.state_dict(), strict=False)
    visible = torch.tensor([[0, 5, 9], [1, 4, 11]])
    features = vision(clips(), visible=visible, align=True)
    torch.testing.assert_close(vision.answers(features, visible), student(clips(), visible))
    with pytest.raises(ValueError, match="align=True"):
        vision.answers(vision(clips(), visible=visible), visible)
    bare = UMTVision(STUDENT, alignment=False)
    with pytest.raises(ValueError, match="alignment=True"):
        bare.answers(features, visible)


def test_the_temperature_comes_back_from_outside_its_bounds():
    model = build()
    for value, bound in ((0.0001, 0.001), (2.0, 0.5)):
        with torch.no_grad():
            model.temp.fill_(value)
        assert float(model.temperature().detach()) == pytest.approx(bound)
        assert float(model.temp.detach()) == pytest.approx(bound)
    assert model.temperature().requires_grad


def test_parts_of_the_training_can_be_dropped():
    model = build()
    tokens, text = model.forward_features(clips()).tokens, model.read(IDS)
    expected = model.match(tokens, text), model.encode_video(clips())
    model.drop_training_parts()
    assert not any(
        part in name for name in model.state_dict() for part in ("teacher", "decoder", ".cls.")
    )
    assert torch.equal(
        model.match(model.forward_features(clips()).tokens, model.read(IDS)), expected[0]
    )
    assert torch.equal(model.encode_video(clips()), expected[1])
    other = UMTMultimodal(model.config)
    other.load_state_dict(model.state_dict())
    whole = build()
    whole.drop_teacher()
    assert whole.config == replace(CONFIG, teacher=None)
    assert any("clip_decoder" in name for name in whole.state_dict())


def test_the_teacher_is_frozen_and_stays_in_evaluation_mode():
    model = build().train()
    assert not model.clip_teacher.training
    assert not any(p.requires_grad for p in model.clip_teacher.parameters())
    assert model.vision_encoder.training


def test_a_vocabulary_can_be_given_later(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(SPECIAL_TOKENS + WORDS) + "\n")
    model = build(replace(CONFIG, vocabulary=None))
    with pytest.raises(ConfigError, match="use_vocabulary"):
        model.tokenizer("a star")
    model.use_vocabulary(path)
    assert torch.equal(model.tokenizer("a red star"), IDS[:1])
    assert model.config == CONFIG
    path.write_text("\n".join(SPECIAL_TOKENS + WORDS[:3]))
    with pytest.raises(ConfigError, match="has 8 pieces, the model was trained with 10"):
        model.use_vocabulary(path)
    with pytest.raises(DataError, match="not a readable vocabulary"):
        model.use_vocabulary(tmp_path / "no.txt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": replace(CONFIG.text, vision_width=8)}, "text.vision_width 8 is not the width"),
        ({"context_length": 9}, "context_length 9 exceeds text.max_positions 8"),
        ({"teacher": replace(CONFIG.teacher, embed_dim=9)}, "teacher.embed_dim 9 is not"),
        ({"vocabulary": SPECIAL_TOKENS}, "vocab_size 10 is not the number of pieces .*, 5"),
        ({"temp_min": 0.1}, "temp_min 0.1 <= temp_init 0.07"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(("size", "tensors"), [("b16", 580), ("l16", 1092)])
def test_released_sizes(size, tensors):
    with torch.device("meta"):
        model = UMTMultimodal(SIZES[size])
    assert len(model.state_dict()) == tensors
    assert model.config.encoder.grid == (4, 14, 14)
