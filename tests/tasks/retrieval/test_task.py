from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from internvideo.errors import ConfigError, DataError
from internvideo.models.viclip import ViCLIP
from internvideo.tasks.parts import Parts
from internvideo.tasks.registry import all_architectures
from internvideo.tasks.retrieval.frames import FrameRetriever
from internvideo.tasks.retrieval.losses import (
    cross_entropy,
    decorrelation_loss,
    dual_softmax_loss,
    max_margin_loss,
    mil_nce_loss,
)
from internvideo.tasks.retrieval.task import RetrievalConfig, build, frozen_names
from internvideo.train.contrast import contrastive_loss
from internvideo.zoo import save_pretrained
from tasks.retrieval.models import (
    IMAGE_CLIP,
    PROTOCOL,
    batch,
    make,
    retriever,
    sample,
    towers,
    with_effect,
)
from train.launch import run_processes

# --- the loss ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uniformer", "image-clip"])
@pytest.mark.parametrize(
    ("positives", "same"),
    [("pair", range(5)), ("video", [0, 1, 2, 3, 1]), ("caption", [0, 1, 0, 2, 3])],
)
def test_the_contrast_is_that_of_both_towers_and_knows_its_positives(name, positives, same):
    task = make(towers(name), positives=positives).eval()
    data, model = batch(task), task.model
    told = task.training_loss(data)
    video = model.encode_video(task.input.finish(data))
    text = model.encode_text(data["tokens"])
    ids = torch.tensor(list(same))
    expected = contrastive_loss(video, text, model.temperature(), ids=ids)
    torch.testing.assert_close(told["loss"], expected)
    hits = ids[(video @ text.T).argmax(1)] == ids
    assert told["accuracy"] == hits.float().mean()
    assert set(told) == {"loss", "accuracy", "cut"}


def test_short_videos_are_zero_behind_their_end_and_go_through_the_tower_so():
    task = make(towers()).eval()
    data = batch(task)
    clips = task.input.finish(data)
    assert not clips[0, :, 3].any()
    assert clips[1, :, 3].any()
    longer = {**data, "frame_mask": torch.ones_like(data["frame_mask"])}
    assert task.training_loss(longer)["loss"] != task.training_loss(data)["loss"]


@pytest.mark.parametrize("header", ["mean", "seq-lstm", "seq-transformer", "tight", "words"])
def test_a_model_with_a_header_is_trained_by_its_scores(header):
    task = make(retriever(header=header), positives="pair").eval()
    data, model = batch(task), task.model
    scores = model(task.input.finish(data), data["tokens"])
    logits = scores / model.temperature() if header != "tight" else scores
    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    told = task.training_loss(data)
    torch.testing.assert_close(told["loss"], expected)
    assert told["accuracy"] == (logits.argmax(0) == torch.arange(5)).float().mean()


def test_other_losses_are_of_the_same_matrix():
    options = {"dual_softmax": 0.5, "dual_softmax_temperature": 10.0, "positives": "pair"}
    plain = make(towers("image-clip"), positives="pair").eval()
    task = make(plain.model, **options).eval()
    data, model = batch(task), task.model
    scores = model.encode_text(data["tokens"]) @ model.encode_video(task.input.finish(data)).T
    logits = scores / model.temperature()
    dual = [dual_softmax_loss(each, temperature=10.0) for each in (logits, logits.T)]
    told = task.training_loss(data)
    torch.testing.assert_close(told["dual_softmax"], sum(dual) / 2)
    torch.testing.assert_close(told["contrast"], plain.training_loss(data)["loss"])
    torch.testing.assert_close(told["loss"], told["contrast"] + told["dual_softmax"] / 2)
    told = make(model, loss="max-margin", margin=0.3).eval().training_loss(data)
    torch.testing.assert_close(told["loss"], max_margin_loss(scores, margin=0.3))
    told = make(model, loss="mil-nce").eval().training_loss(data)
    torch.testing.assert_close(told["loss"], mil_nce_loss(logits))


def test_decorrelation_is_added_with_its_weight():
    model = retriever(header="words")
    task = make(model, decorrelation="weighted", decorrelation_weight=0.1).eval()
    data = batch(task)
    told = task.training_loss(data)
    text, (frames, seen) = model.read(data["tokens"]), model.frames(task.input.finish(data))
    expected = decorrelation_loss("weighted", model.header, text.tokens, text.shown, frames, seen)
    torch.testing.assert_close(told["decorrelation"], expected)
    torch.testing.assert_close(told["loss"], told["contrast"] + 0.1 * expected)


def test_a_gradient_reaches_all_that_is_trained():
    task = make(towers())
    task.training_loss(batch(task))["loss"].backward()
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert not any("caption_decoder" in name for name in trained)


def test_a_clip_without_a_caption_is_named():
    with pytest.raises(DataError, match=r"v0\.mp4.*caption"):
        make(towers()).prepare(
            dataclasses.replace(sample(0), caption=" "), np.random.default_rng(0)
        )


# --- what is trained --------------------------------------------------------------------------


def test_embeddings_stay_as_they_are_where_asked():
    task = make(towers(), freeze="embeddings")
    frozen = {n for n, p in task.model.named_parameters() if not p.requires_grad}
    frozen = {name for name in frozen if not name.startswith("caption_decoder.")}
    assert frozen == {
        "text_encoder.positional_embedding",
        "text_encoder.token_embedding.weight",
        "text_mask_embedding",
        "visual.class_embedding",
        "visual.conv1.weight",
        "visual.ln_pre.bias",
        "visual.ln_pre.weight",
        "visual.positional_embedding",
    }
    more = frozen_names(task.model, published=True) - frozen_names(task.model, published=False)
    assert more == {
        "visual.transformer.balance",
        "visual.transformer.temporal_cls_token",
        "visual_ln_post.bias",
        "visual_ln_post.weight",
        "visual_proj",
    }
    small = make(towers("pooled"), freeze="embeddings").model
    assert not small.vision_encoder.encoder.patch_embed.proj.weight.requires_grad
    assert small.vision_encoder.encoder.blocks[0].mlp.fc1.weight.requires_grad


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            lambda: towers("pooled"),
            {"freeze": "published"},
            r"task.freeze 'published'.*UniFormerV2",
        ),
        (towers, {"decorrelation": "nearest"}, r"task.decorrelation 'nearest'.*TokenWiseHeader"),
        (towers, {"average_weight": 0.3}, r"task.average_weight.*average_with"),
    ],
)
def test_what_a_model_cannot_do_is_refused(model, options, message):
    with pytest.raises(ConfigError, match=message):
        make(model(), **options)


# --- the start --------------------------------------------------------------------------------


def parts(architecture: str, model: dict, init: Path) -> Parts:
    return Parts(
        task="retrieval",
        models=(architecture,),
        model={"architecture": architecture, **model},
        preprocessing=PROTOCOL,
        init=str(init),
        architectures=all_architectures(),
    )


@pytest.fixture(scope="module")
def image_clip(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    model = with_effect(ViCLIP(IMAGE_CLIP))
    torch.nn.init.zeros_(model.vision_encoder.temporal_positional_embedding)
    return save_pretrained(model, tmp_path_factory.mktemp("start") / "clip")


def as_fields(config) -> dict:
    from internvideo.config import config_to_dict

    return config_to_dict(config)


def test_the_start_is_averaged_with_an_image_clip_first(image_clip, tmp_path):
    start = towers()
    init = save_pretrained(start, tmp_path / "mm")
    fields = {**as_fields(start.config), "decoder_depth": 0}
    config = RetrievalConfig(average_with=str(image_clip), average_weight=0.75)
    model = build(config, parts("internvideo-mm/retrieval", fields, init)).model
    clip = load_file(image_clip / "model.safetensors")
    name = "text_encoder.text_projection"
    expected = 0.75 * start.state_dict()[name] + 0.25 * clip[name]
    torch.testing.assert_close(model.state_dict()[name], expected)
    assert torch.equal(model.visual_proj, start.visual_proj)
    plain = build(RetrievalConfig(), parts("internvideo-mm/retrieval", fields, init)).model
    assert torch.equal(plain.state_dict()[name], start.state_dict()[name])


def test_a_header_starts_from_the_text_tower_of_an_image_clip(image_clip):
    fields = as_fields(retriever(header="seq-transformer").config)
    task = build(RetrievalConfig(), parts("retrieval/frames", fields, image_clip))
    assert isinstance(task.model, FrameRetriever)
    clip = load_file(image_clip / "model.safetensors")
    state = task.model.state_dict()
    assert torch.equal(state["towers.vision_encoder.proj"], clip["vision_encoder.proj"])
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    assert torch.equal(state[f"header.{name}"], clip[f"text_encoder.{name}"])


# --- several processes ------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_learn_what_one_learns(tmp_path):
    """One of two processes writes; the towers of the published gradient learn from half of it."""
    script = Path(__file__).with_name("retrieval_processes.py")
    run_processes([str(script), str(tmp_path)], processes=2)
    found = {path.stem: load_file(path) for path in tmp_path.iterdir()}
    for case in ("vectors", "matrix", "words"):
        alone, exact, own = (found[f"{case}-{way}"] for way in ("alone", "exact", "own-rows"))
        for name, expected in alone.items():
            torch.testing.assert_close(exact[name], expected, rtol=1e-4, atol=3e-5, msg=name)
            after = name.startswith("grad.header.") or name.endswith("temp") or name == "loss"
            factor = 1.0 if after else 0.5
            torch.testing.assert_close(own[name], factor * expected, rtol=1e-4, atol=3e-5, msg=name)
        assert sum(name.startswith("grad.") for name in alone) > 20, case
