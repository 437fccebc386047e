from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from internvideo.config import config_from_dict, config_to_dict
from internvideo.errors import ConfigError
from internvideo.models.caption_decoder import caption_loss
from internvideo.models.caption_writer import CaptionWriter, write_captions
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.contract import has
from internvideo.models.internvideo_mm import (
    SIZES,
    InternVideoMM,
    InternVideoMMConfig,
    InternVideoMMOutput,
    context,
)
from internvideo.models.tokenizer import CLIPTokenizer, WordTokenizer, trim_padding
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.train.contrast import contrastive_loss

VOCABULARY = ("a", "red", "blue", "star", "disk", "moves", "left", "right")
TEXT = CLIPTextConfig(vocab_size=12, context_length=9, width=16, depth=2, num_heads=2, embed_dim=6)
CLASSIC = InternVideoMMConfig(
    vision=UniFormerV2Config(
        image_size=16,
        num_frames=4,
        patch_size=8,
        width=12,
        depth=3,
        num_heads=2,
        global_layers=(1, 2),
    ),
    text=TEXT,
    embed_dim=6,
    decoder_depth=2,
    decoder_queries=5,
    vocabulary=VOCABULARY,
)
NANO = replace(
    CLASSIC,
    vision=VideoViTConfig(
        image_size=16,
        num_frames=4,
        patch_size=16,
        tubelet_size=1,
        width=12,
        depth=1,
        num_heads=2,
        stem=ConvStemConfig(channels=(4, 4), strides=(2, 2)),
    ),
    projection_norm="batch",
)
BOTH = pytest.mark.parametrize("config", [CLASSIC, NANO], ids=["classic", "nano"])
CAPTIONS = ("a red star moves left", "a blue disk", "star", "a red disk moves right left")
IDS = WordTokenizer(VOCABULARY, 9)(CAPTIONS)


def build(config: InternVideoMMConfig = CLASSIC) -> InternVideoMM:
    """Return a model in which every part has a say, also those that start at zero."""
    torch.manual_seed(0)
    model = InternVideoMM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def clips(batch: int = 4, frames: int = 4, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, frames, 16, 16, generator=torch.Generator().manual_seed(seed))


def loss_of(model: InternVideoMM, output: InternVideoMMOutput) -> torch.Tensor:
    assert output.caption_logits is not None
    contrast = contrastive_loss(output.video, output.text, model.temperature())
    return contrast + caption_loss(output.caption_logits, IDS)


@BOTH
def test_it_is_two_towers_of_unit_length(config):
    model = build(config)
    assert has(model, "text")
    output = model(clips(), IDS)
    for embedding in (output.video, output.text):
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(model.encode_video(clips()), output.video)
    torch.testing.assert_close(model.encode_text(IDS), output.text)
    plain = model.encode_video(clips(), normalize=False)
    torch.testing.assert_close(F.normalize(plain, dim=-1), output.video)
    assert (plain.norm(dim=-1) - 1).abs().max() > 1e-3
    assert model(clips(), IDS, caption=False).caption_logits is None


@BOTH
def test_gradient_reaches_every_parameter_that_is_trained(config):
    model = build(config).train()
    loss_of(model, model(clips(), IDS)).backward()
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert missing == []
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["text_mask_embedding"]


@pytest.mark.parametrize(("value", "kept"), [(9.0, 4.6051702), (-1.0, 0.0), (2.0, 2.0)])
def test_the_scale_is_kept_in_its_bounds_and_goes_on_learning(value, kept):
    model = build()
    with torch.no_grad():
        model.logit_scale.fill_(value)
    temperature = model.temperature()
    assert float(model.logit_scale.detach()) == pytest.approx(kept)
    torch.testing.assert_close(temperature, torch.exp(torch.tensor(-kept)))
    temperature.backward()
    assert model.logit_scale.grad is not None
    torch.testing.assert_close(model.logit_scale.grad, -temperature.detach())


def test_an_image_is_a_clip_of_one_frame():
    model = build()
    image = clips(frames=1)
    embedding = model.encode_video(image)
    assert embedding.shape == (4, 6)
    # No position in time: repeating the frame changes the video token's keys, not their mean.
    frames = model.forward_features(image.expand(-1, -1, 3, -1, -1)).frame_cls
    assert frames is not None
    torch.testing.assert_close(frames[:, 0], frames[:, 2])


@BOTH
def test_short_texts_need_no_padding(config):
    model = build(config)
    whole, short = model(clips(), IDS), model(clips(), trim_padding(IDS))
    length = trim_padding(IDS).shape[1]
    assert length < IDS.shape[1]
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(short.text, whole.text, **tolerance)
    logits = whole.caption_logits[:, : length - 1]
    torch.testing.assert_close(short.caption_logits, logits, **tolerance)
    torch.testing.assert_close(
        caption_loss(short.caption_logits, trim_padding(IDS)),
        caption_loss(whole.caption_logits, IDS),
        **tolerance,
    )


def test_masked_words_are_hidden():
    model = build()
    masked = torch.zeros_like(IDS, dtype=torch.bool)
    masked[0, 2] = True
    other = IDS.clone()
    other[0, 2] = 7
    hidden = [model.text_features(ids, masked=masked).tokens for ids in (IDS, other)]
    torch.testing.assert_close(hidden[0], hidden[1])
    seen = [model.text_features(ids).tokens for ids in (IDS, other)]
    assert (seen[0] - seen[1])[0, 2:].abs().amax(dim=-1).min() > 1e-4
    torch.testing.assert_close(model.text_features(IDS, masked=masked & False).tokens, seen[0])


@BOTH
def test_fusing_reads_the_decoder_at_the_end_token(config):
    model = build(config)
    features = model.forward_features(clips())
    full = model.tokenizer(["a red star moves left left left"])
    assert int(full.argmax()) == full.shape[1] - 1, "the end token is at the last position"
    ids = torch.cat([IDS[:3], full])
    fused = model.fuse(features, ids)
    assert fused.shape == (4, 16)
    decoder = model.caption_decoder
    assert decoder is not None
    for row in range(4):
        own = ids[row : row + 1, : int(ids[row].argmax()) + 1]
        tokens = model.text_features(own).tokens
        alone = decoder.decode(tokens, decoder.read(context(features)[row : row + 1]))[0, -1]
        torch.testing.assert_close(fused[row], alone, rtol=1e-4, atol=1e-5)
    text = model.text_features(ids)
    torch.testing.assert_close(model.fuse(features, ids, text=text), fused)
    assert model.project_video(features).shape == (4, 6)


@BOTH
def test_step_by_step_logits_are_those_of_the_whole_text(config):
    model = build(config)
    decoder = model.caption_decoder
    assert decoder is not None
    with torch.no_grad():
        memory = decoder.read(context(model.forward_features(clips())))
        writer = CaptionWriter(model.text_encoder, decoder, memory, max_length=8)
        steps = torch.stack([writer.step(IDS[:, place]) for place in range(8)], dim=1)
        whole = model(clips(), IDS).caption_logits
    torch.testing.assert_close(steps, whole, rtol=1e-5, atol=1e-5)


@BOTH
@pytest.mark.parametrize("strategy", ["greedy", "beam", "top-p"])
def test_captions_are_words_within_the_limit(config, strategy):
    model = build(config)
    generator = torch.Generator().manual_seed(0)
    captions = model.caption(clips(), strategy=strategy, max_length=3, generator=generator)
    assert len(captions) == 4
    assert all(len(caption.split()) <= 3 for caption in captions)
    words = {word for caption in captions for word in caption.split()}
    assert words <= {*VOCABULARY, "<unknown>"}


def test_captions_of_a_batch_do_not_depend_on_each_other():
    model = build()
    video = clips()
    for strategy in ("greedy", "beam"):
        together = model.caption(video, strategy=strategy)
        assert together == [model.caption(each[None], strategy=strategy)[0] for each in video]


def test_strategies_agree_where_they_must():
    model = build()
    greedy = model.caption(clips())
    assert model.caption(clips(), strategy="beam", num_beams=1) == greedy
    assert model.caption(clips(), strategy="top-p", top_p=1e-6) == greedy


def test_the_probability_of_a_caption_is_that_of_the_model():
    model = build()
    decoder = model.caption_decoder
    assert decoder is not None
    tokens = context(model.forward_features(clips()))
    scores = {}
    with torch.no_grad():
        for beams in (1, 6):
            written = write_captions(
                model.text_encoder, decoder, model.tokenizer, decoder.read(tokens),
                strategy="beam", num_beams=beams, max_length=6,
            )  # fmt: skip
            scores[beams] = [text.log_prob for text in written]
            for row, text in enumerate(written):
                ids = torch.tensor([[2, *text.ids, *([11] if text.ended else [])]])
                logits = decoder(model.text_features(ids).tokens[:, :-1], tokens[row : row + 1])
                logits[..., list(model.tokenizer.unwritten_ids)] = -torch.inf
                chosen = logits.log_softmax(-1)[0].gather(1, ids[0, 1:, None])
                assert text.log_prob == pytest.approx(float(chosen.sum()), abs=1e-4)
    assert all(b >= a - 1e-5 for a, b in zip(scores[1], scores[6], strict=True))


def test_it_learns_to_say_what_it_sees():
    torch.manual_seed(0)
    model = InternVideoMM(NANO).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = loss_of(model, model(clips(), IDS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert tuple(model.caption(clips())) == CAPTIONS
    assert tuple(model.caption(clips(), strategy="beam", num_beams=3)) == CAPTIONS
    best = (model.encode_video(clips()) @ model.encode_text(IDS).T).argmax(dim=1)
    assert best.tolist() == [0, 1, 2, 3]


def test_without_a_decoder_it_compares_only():
    model = build(replace(CLASSIC, decoder_depth=0))
    assert model.caption_decoder is None
    assert not has(model, "captions")
    assert model(clips(), IDS).caption_logits is None
    with pytest.raises(ConfigError, match="no caption decoder"):
        model(clips(), IDS, caption=True)
    with pytest.raises(ConfigError, match="no caption decoder"):
        model.caption(clips())


def test_wrong_options_of_a_caption_are_named():
    model = build()
    with pytest.raises(ConfigError, match="strategy 'best' is not one of greedy, beam, top-p"):
        model.caption(clips(), strategy="best")
    with pytest.raises(ConfigError, match="max_length 9 is not in 1 to 8"):
        model.caption(clips(), max_length=9)
    with pytest.raises(ConfigError, match="top_p must be above 0"):
        model.caption(clips(), strategy="top-p", top_p=2.0)


@BOTH
def test_drawing_anew_is_building_anew(config):
    model = build(config)
    torch.manual_seed(3)
    model.reset_parameters()
    again = InternVideoMM(config)
    torch.manual_seed(3)
    again.reset_parameters()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, again.state_dict()[name], msg=name)


@pytest.mark.parametrize("config", [CLASSIC, NANO, *SIZES.values()])
def test_configurations_survive_as_data(config):
    assert config_from_dict(InternVideoMMConfig, config_to_dict(config)) == config


def test_configurations_are_checked():
    with pytest.raises(ValueError, match="needs a VideoViT"):
        replace(CLASSIC, projection_norm="batch")
    with pytest.raises(ValueError, match=r"text\.embed_dim 6 is not 7"):
        replace(CLASSIC, embed_dim=7)
    with pytest.raises(ValueError, match="must be 11"):
        replace(CLASSIC, vocabulary=VOCABULARY[:-1])
    with pytest.raises(ValueError, match="num_queries must be at least 1"):
        replace(CLASSIC, decoder_queries=0)
    with pytest.raises(ValueError, match="decoder_depth must not be negative"):
        replace(CLASSIC, decoder_depth=-1)


def test_the_tokenizer_is_that_of_the_vocabulary():
    assert isinstance(build().tokenizer, WordTokenizer)
    assert isinstance(SIZES["b16"].build_tokenizer(), CLIPTokenizer)


def test_answers_follow_their_questions_whatever_stands_beside_them():
    torch.manual_seed(4)
    model = InternVideoMM(replace(CLASSIC, text=replace(TEXT, context_length=24))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    features = model.forward_features(clips())
    questions = ["red star", "a", "blue disk moves", "left"]
    together = model.complete(features, questions)
    for place, question in enumerate(questions):
        alone = model.complete(
            model.forward_features(clips()[place : place + 1]), [question], rows=torch.tensor([0])
        )
        assert alone == together[place : place + 1]
    assert len(set(together)) > 1
    # of each word: the likeliest one behind question, start token and what is written so far
    ids = [*model.prompt(questions[0]), model.tokenizer.start_id]
    words = together[0].split()
    written = model.tokenizer.encode(together[0])
    text = torch.tensor([[*ids, *written]])
    with torch.no_grad():
        one = model.forward_features(clips()[:1])
        logits = model.next_tokens(one, text)[0, len(ids) - 1 :]
    logits[:, list(model.tokenizer.unwritten_ids)] = -torch.inf
    chosen = logits.argmax(dim=1).tolist()
    assert chosen == written
    assert len(words) == len(written)


def test_a_long_question_leaves_room_for_an_answer():
    model = InternVideoMM(replace(NANO, text=replace(NANO.text, context_length=16)))
    prompt = model.prompt(" ".join(["disk"] * 100))
    assert len(prompt) == 6
    [answer] = model.complete(model.forward_features(clips()[:1]), [" ".join(["disk"] * 100)])
    assert len(answer.split()) <= 9
