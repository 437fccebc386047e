from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.tokenizer import CLIPTokenizer, WordTokenizer
from internvideo.models.viclip import SIZES, ViCLIP, ViCLIPConfig, kept_tokens
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.train.contrast import contrastive_loss

VISION = ViCLIPVisionConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=2, num_heads=2, embed_dim=6
)
TEXT = CLIPTextConfig(vocab_size=9, context_length=6, width=16, depth=1, num_heads=2, embed_dim=6)
VOCABULARY = ("a", "red", "star", "moves", "left")
CLASSIC = ViCLIPConfig(vision=VISION, text=TEXT, embed_dim=6, temp_init=0.07)
NANO = ViCLIPConfig(
    vision=VideoViTConfig(
        image_size=16,
        num_frames=4,
        patch_size=16,
        tubelet_size=1,
        width=16,
        depth=1,
        num_heads=2,
        stem=ConvStemConfig(channels=(4, 4), strides=(2, 2)),
    ),
    text=TEXT,
    embed_dim=6,
    vocabulary=VOCABULARY,
    projection_norm="batch",
    temp_init=0.07,
)
BOTH = pytest.mark.parametrize("config", [CLASSIC, NANO], ids=["classic", "nano"])
IDS = torch.tensor([[2, 4, 8, 0, 0, 0], [2, 5, 6, 8, 0, 0], [2, 8, 0, 0, 0, 0]])


def build(config: ViCLIPConfig) -> ViCLIP:
    torch.manual_seed(0)
    model = ViCLIP(config)
    if isinstance(model.vision_encoder, ViCLIPVision):
        torch.nn.init.normal_(model.vision_encoder.temporal_positional_embedding, std=0.3)
    return model


def clips(batch: int = 3, frames: int = 4, size: int = 16, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


@BOTH
def test_embeddings_have_unit_length_unless_asked_otherwise(config):
    model = build(config).eval()
    output = model(clips(), IDS)
    for embedding in (output.video, output.text):
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
    plain = model.encode_video(clips(), normalize=False)
    torch.testing.assert_close(torch.nn.functional.normalize(plain, dim=-1), output.video)
    assert (plain.norm(dim=-1) - 1).abs().max() > 1e-3


def test_token_dropping_compiles_to_one_graph():
    model = build(CLASSIC).eval()
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(0))

    def embed(video, noise):
        return model.encode_video(video, mask_ratio=0.5, noise=noise)

    compiled = torch.compile(embed, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(clips(), noise), embed(clips(), noise))


def test_vision_features_are_ordered_by_time_row_column():
    encoder = build(CLASSIC).vision_encoder.eval()
    features = encoder(clips())
    assert features.grid == (4, 2, 2)
    assert features.tokens.shape == (3, 16, 16)
    assert features.cls.shape == (3, 16)
    changed = clips()
    changed[:, :, 2, 8:, :8] += 1
    (before,) = encoder.intermediates(clips(), [0])
    assert before.shape == (3, 16, 16)
    patches = []
    encoder.ln_pre.register_forward_hook(lambda m, inputs, output: patches.append(inputs[0]))
    encoder(clips())
    encoder(changed)
    moved = (patches[0] - patches[1]).abs().amax(dim=(0, 2)).nonzero().flatten()
    assert moved.tolist() == [1 + 2 * 4 + 1 * 2 + 0]  # class token, then step 2, row 1, column 0


def test_intermediates_match_the_blocks():
    encoder = build(CLASSIC).vision_encoder.eval()
    first, last = encoder.intermediates(clips(), [0, -1])
    features = encoder.forward_features(clips(), layers=[-1])
    torch.testing.assert_close(features.hidden[0], last)
    torch.testing.assert_close(encoder.ln_post(last), features.tokens)
    assert not torch.allclose(first, last)


def test_any_length_and_resolution():
    encoder = build(CLASSIC).vision_encoder.eval()
    with torch.no_grad():
        assert encoder(clips(frames=7, size=24)).grid == (7, 3, 3)
        time = encoder.temporal_positional_embedding[0]
        space = encoder.positional_embedding[1:]
        positions = encoder.patch_positions((1, 2, 2))
        torch.testing.assert_close(positions[0], space + time.mean(0))
        positions = encoder.patch_positions((2, 2, 2))
        torch.testing.assert_close(positions[0, 4:], space + time[1])
    with pytest.raises(ValueError, match="cannot be cut into tubelets"):
        encoder(clips(size=20))


def test_only_temporal_positions_know_the_order_of_frames():
    model = build(CLASSIC).eval()
    forward, backward = clips(), clips().flip(2)
    assert (model.encode_video(forward) - model.encode_video(backward)).abs().max() > 1e-2
    torch.nn.init.zeros_(model.vision_encoder.temporal_positional_embedding)
    torch.testing.assert_close(
        model.encode_video(forward), model.encode_video(backward), rtol=1e-4, atol=1e-5
    )


@BOTH
def test_keeping_all_tokens_changes_nothing(config):
    model = build(config).eval()
    count = 16 if config is CLASSIC else 4
    noise = torch.rand(3, count)
    torch.testing.assert_close(
        model.encode_video(clips(), mask_ratio=0.01, noise=noise), model.encode_video(clips())
    )
    dropped = model.encode_video(clips(), mask_ratio=0.5, noise=noise)
    assert not torch.allclose(dropped, model.encode_video(clips()), atol=1e-3)


def test_dropping_draws_noise_from_the_global_generator():
    model = build(CLASSIC).eval()
    torch.manual_seed(3)
    first = model.encode_video(clips(), mask_ratio=0.75)
    second = model.encode_video(clips(), mask_ratio=0.75)
    torch.manual_seed(3)
    assert torch.equal(first, model.encode_video(clips(), mask_ratio=0.75))
    assert not torch.allclose(first, second)


def test_kept_tokens_follow_the_numbering_of_the_reference():
    noise = torch.tensor([[0.1, 0.9, 0.8, 0.2, 0.7, 0.3]])  # 3 places x 2 steps: place * 2 + step
    assert kept_tokens(noise, 0.5, num_steps=2).tolist() == [[1, 2, 3]]
    # survivors: place 0 step 1 (index 3), place 1 step 0 (index 1), place 2 step 0 (index 2)


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 0.99), st.integers(0, 99))
@settings(max_examples=40)
def test_kept_tokens_are_the_stated_number_in_order(places, steps, ratio, seed):
    noise = torch.rand(2, places * steps, generator=torch.Generator().manual_seed(seed))
    kept = kept_tokens(noise, ratio, num_steps=steps)
    assert kept.shape == (2, places * steps - int(ratio * places * steps))
    assert (kept.diff(dim=1) > 0).all()


@pytest.mark.parametrize(("patches", "kept"), [(2048, 205), (1568, 157)])
def test_kept_tokens_of_the_released_recipes(patches, kept):
    assert kept_tokens(torch.rand(1, patches), 0.9, num_steps=8).shape == (1, kept)


def test_the_temperature_comes_back_from_below_its_bound():
    model = build(CLASSIC)
    with torch.no_grad():
        model.temp.fill_(0.004)
    temperature = model.temperature()
    assert float(temperature.detach()) == pytest.approx(0.01)
    assert float(model.temp.detach()) == pytest.approx(0.01)
    output = model(clips(), IDS)
    contrastive_loss(output.video, output.text, temperature).backward()
    assert model.temp.grad.abs() > 0


def test_batch_norm_ends_the_common_direction():
    common, spread = {}, {}
    for norm in ("none", "batch"):
        model = build(replace(NANO, projection_norm=norm)).train()
        output = model(clips(16), IDS[torch.arange(16) % 3])
        cosine = output.video @ output.video.T
        common[norm] = (cosine.sum() - 16) / (16 * 15)
        spread[norm] = output.text[:3] @ output.text[:3].T
    assert common["none"] > 0.5
    assert abs(common["batch"]) < 0.2
    assert spread["batch"].mean() < spread["none"].mean()


def test_the_tokenizer_is_the_one_of_the_config():
    tokenizer = build(NANO).tokenizer
    assert isinstance(tokenizer, WordTokenizer)
    assert tokenizer("a red star").tolist() == [[2, 3, 4, 5, 8, 0]]
    tokenizer = build(CLASSIC).tokenizer
    assert isinstance(tokenizer, CLIPTokenizer)
    assert tokenizer.context_length == 6


def test_a_video_vit_sits_behind_one_prefix():
    names = ViCLIP(NANO).state_dict().keys()
    assert {name.split(".")[1] for name in names if name.startswith("vision_encoder.")} == {
        "encoder",
        "norm",
        "proj",
    }
    assert isinstance(ViCLIP(NANO).vision_encoder, PooledVideoViT)


@pytest.mark.parametrize(
    ("size", "tensors", "millions"), [("b16", 303, 149.6), ("l14", 447, 427.6)]
)
def test_released_sizes(size, tensors, millions):
    with torch.device("meta"):
        model = ViCLIP(SIZES[size])
    assert len(model.state_dict()) == tensors
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 7}, "text.embed_dim 6 is not 7"),
        ({"vision": replace(VISION, embed_dim=5)}, "vision.embed_dim 5 is not 6"),
        ({"projection_norm": "batch"}, "needs a VideoViT"),
        ({"pool": "median"}, "'median' is not one of"),
        ({"temp_min": 0.1}, "temp_min 0.1 <= temp_init 0.07"),
        ({"vocabulary": ("a",)}, "vocab_size 9 must be 5"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CLASSIC, **changes)


def test_impossible_vision_shapes_are_refused():
    with pytest.raises(ValueError, match="image_size 15"):
        replace(VISION, image_size=15)
    with pytest.raises(ValueError, match="width 15"):
        replace(VISION, width=15)
