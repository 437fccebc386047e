from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from internvideo.tasks.registry import all_architectures
from internvideo.tasks.retrieval.frames import (
    FRAME_RETRIEVER,
    FrameRetriever,
    FrameRetrieverConfig,
    frame_vectors,
)
from internvideo.tasks.retrieval.headers import (
    FramePoolingConfig,
)
from internvideo.zoo import load_model, save_pretrained
from tasks.retrieval.models import HEADERS, IMAGE_CLIP, TEXT, retriever

WAYS = [
    ("image-clip", "alone"),
    ("uniformer", "alone"),
    ("uniformer", "in-clip"),
    ("pooled", "in-clip"),
]


def clips(*lengths: int) -> torch.Tensor:
    """Return clips of four frames, zero behind their ends."""
    video = torch.randn(len(lengths), 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    seen = torch.arange(4) < torch.tensor(lengths)[:, None]
    return video * seen[:, None, :, None, None]


def ids(model: FrameRetriever) -> torch.Tensor:
    return model.tokenizer(["a red star moves left", "a dog", "star"])


def test_frames_alone_are_stills():
    model = retriever().eval()
    video = clips(4, 4)
    vectors = frame_vectors(model.towers, video, "alone")
    assert vectors.shape == (2, 4, 16)
    still = model.towers.encode_video(video[1:, :, 2:3], normalize=False)
    torch.testing.assert_close(vectors[1, 2], still[0])
    other = video.clone()
    other[:, :, 0] += 1
    torch.testing.assert_close(frame_vectors(model.towers, other, "alone")[:, 1:], vectors[:, 1:])


def test_frames_in_a_clip_are_its_class_tokens_in_the_joint_space():
    model = retriever("uniformer", frames="in-clip").eval()
    towers, video = model.towers, clips(4, 4)
    features = towers.forward_features(video)
    expected = towers.visual_ln_post(features.frame_cls) @ towers.visual_proj
    torch.testing.assert_close(frame_vectors(towers, video, "in-clip"), expected)


def test_time_steps_of_a_pooled_tower_are_its_pooled_tokens():
    model = retriever("pooled", frames="in-clip").eval()
    towers, video = model.towers, clips(4, 3)
    visual = towers.vision_encoder
    volume = visual.forward_features(video).volume().flatten(2, 3)  # "b t n d"
    pooled = volume.mean(2) + volume.amax(2)
    expected = visual.proj(visual.norm(pooled.flatten(0, 1))).view(2, 2, 16)
    vectors, seen = model.frames(video)
    torch.testing.assert_close(vectors, expected)
    assert seen.tolist() == [[True, True], [True, True]], "a step of a seen frame is seen"
    assert model.frames(clips(2, 3))[1].tolist() == [[True, False], [True, True]]


def test_padding_is_no_frame():
    model = retriever(header="mean").eval()
    short, long = clips(2, 4), clips(4, 4)
    frames, seen = model.frames(short)
    assert seen.tolist() == [[True, True, False, False], [True] * 4]
    pooled = torch.stack([frames[0, :2].mean(0), frames[1].mean(0)])
    torch.testing.assert_close(model.encode_video(short, normalize=False), pooled)
    torch.testing.assert_close(model.encode_video(short), F.normalize(pooled, dim=-1))
    tokens = model.forward_features(short).tokens
    assert not tokens[0, 2:].any()
    torch.testing.assert_close(tokens[0, :2], model.forward_features(long).tokens[0, :2])


@pytest.mark.parametrize("header", ["tight", "words", "hidden"])
@pytest.mark.parametrize(("towers", "frames"), [WAYS[0], WAYS[2]])
def test_pairs_row_by_row_have_the_scores_of_all_pairs(towers, frames, header):
    model = retriever(towers, header, frames).eval()
    assert {"text", "match"} <= model.capabilities
    video = clips(2, 4)
    text = model.read(ids(model))
    scores = model(video, ids(model))
    assert scores.shape == (3, 2)
    if header != "tight":
        scores = scores / model.temperature()
    tokens = model.forward_features(video).tokens
    for row in range(3):
        one = text.take(torch.tensor([row, row]))
        logits = model.match_logits(tokens, one)
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], scores[row])


def test_a_vector_of_a_video_whose_header_compares_pairs_is_its_mean_frame():
    model = retriever(header="words").eval()
    frames, _ = model.frames(clips(2))
    mean = F.normalize(frames[0, :2], dim=-1).mean(0)
    torch.testing.assert_close(model.encode_video(clips(2), normalize=False)[0], mean)
    torch.testing.assert_close(model.embed(clips(2))[0], F.normalize(mean, dim=-1))


def test_words_are_projected_or_as_the_tower_leaves_them():
    hidden, projected = (retriever("uniformer", header) for header in ("hidden", "words"))
    projected.load_state_dict(
        {
            **projected.state_dict(),
            **{n: t for n, t in hidden.state_dict().items() if "header" not in n},
        }
    )
    encoder, tokens = hidden.towers.text_encoder, ids(hidden)
    read = hidden.read(tokens)
    torch.testing.assert_close(read.tokens, encoder(tokens).tokens)
    torch.testing.assert_close(projected.read(tokens).tokens, read.tokens @ encoder.text_projection)
    assert read.shown.sum(1).tolist() == [7, 4, 3], "start and end are words"


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(("towers", "frames"), WAYS)
def test_a_gradient_reaches_all_that_is_trained(towers, frames, header):
    model = retriever(towers, header, frames)
    scores = model(clips(4, 3, 2), ids(model))
    scores = scores / model.temperature() if model.scores_are_cosines else scores
    F.cross_entropy(scores, torch.arange(3)).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert any(name.startswith("towers.text_encoder") for name in trained)


@pytest.mark.parametrize("header", HEADERS)
def test_a_saved_model_is_the_same(tmp_path, header):
    model = retriever("uniformer", header, "in-clip").eval()
    folder = save_pretrained(model, tmp_path / "model", architectures=all_architectures())
    again = load_model(folder, architectures=all_architectures())
    assert again.architecture == "retrieval/frames"
    assert again.model.config == model.config
    video = clips(4, 2)
    torch.testing.assert_close(again.model(video, ids(model)), model(video, ids(model)))


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match=r"'in-clip'.*'alone'"):
        FrameRetrieverConfig(towers=IMAGE_CLIP, header=FramePoolingConfig(), frames="in-clip")
    wide = dataclasses.replace(IMAGE_CLIP, text=dataclasses.replace(TEXT, width=32))
    with pytest.raises(ValueError, match=r"'hidden'.*32 and 16"):
        FrameRetrieverConfig(towers=wide, header=HEADERS["hidden"])


def test_sizes_are_those_of_image_clip_without_drop_path():
    size = FRAME_RETRIEVER.sizes["clip-b32"]
    assert (size.towers.vision.patch_size, size.towers.text.context_length) == (32, 77)
    assert size.towers.vision.drop_path_rate == 0
    assert (size.num_frames, size.image_size) == (8, 224)
