"""Question answering with InternVideo-MM: network, loss, accuracies, parameter groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from einops import rearrange

from golden.adapters.retrieval_models import evl_config
from golden.case import Case
from internvideo.models.internvideo_mm import context
from internvideo.models.internvideo_qa import (
    SIZES,
    InternVideoQA,
    InternVideoQAConfig,
    answer_loss,
)
from internvideo.recipe import load_recipe
from internvideo.tasks.question_answering.report import accuracies
from internvideo.train.optim import parameter_groups
from internvideo.zoo.kinds.internvideo_mm import OFFICIAL_QA

_READS = {"vtc_cap": True, "vtc": False}


def model_of(config: dict[str, Any]) -> InternVideoQA:
    towers = replace(
        evl_config(config),
        decoder_depth=config["cap_layers"] if _READS[config["qa_type"]] else 0,
        decoder_queries=config["n_queries"],
        decoder_heads=config["cap_heads"],
    )
    return InternVideoQA(InternVideoQAConfig(towers=towers, num_classes=config["label_size"]))


def vqa(case: Case) -> None:
    model = model_of(case.meta["config"]).eval()
    model.load_state_dict(OFFICIAL_QA.to_ours(case.group("state.")), strict=True)
    video = rearrange(case.tensors["input.video"], "b t c h w -> b c t h w")
    ids, labels = case.tensors["input.text_ids"], case.tensors["input.labels"]

    features = model.forward_features(video)
    texts = model.towers.text_features(ids)
    case.assert_close(texts.embedding, "output.text_feats")
    case.assert_close(model.towers.project_video(features), "output.video_feats")
    decoder = model.towers.caption_decoder
    if decoder is not None:
        decoded = decoder.decode(texts.tokens, decoder.read(context(features)))
        length = case.tensors["output.caption_features"].shape[1]
        case.assert_close(decoded[:, :length], "output.caption_features")
        case.assert_close(model.towers.fuse(features, ids), "output.caption_eot")

    logits = model(video, ids)
    case.assert_close(logits, "output.logits")
    loss = answer_loss(logits, labels)
    case.assert_close(loss, "output.loss")
    loss.backward()
    for name in case.group("grad."):
        gradient = model.get_parameter(OFFICIAL_QA.name_to_ours(name)).grad
        case.assert_close(gradient, f"grad.{name}")

    expected = case.meta["expected"]
    found = accuracies((logits.argmax(dim=1) == labels).tolist(), (labels != -100).tolist())
    shares = [share.percent / 100 for share in found]
    names = ("accuracy_official_torchmetrics_0.9.1", "accuracy_counting_unknown_as_wrong")
    assert shares == pytest.approx([expected[name] for name in names], rel=1e-6)


def assert_optimizer_groups(size: str, expected: list[dict[str, Any]]) -> None:
    """Compare the groups of the published recipe: learning rate, decay, names of the tensors."""
    with torch.device("meta"):
        model = InternVideoQA(SIZES[size])
    for name in ("logit_scale", "text_mask_embedding"):  # without a gradient; frozen here
        getattr(model.towers, name).requires_grad_(True)
    named = {OFFICIAL_QA.name_to_official(n): p for n, p in model.named_parameters()}
    official = {id(parameter): name for name, parameter in named.items()}
    optim = load_recipe(f"msrvtt-qa_internvideo-mm-{size[0]}").optim
    groups = parameter_groups(
        named,
        weight_decay=optim.weight_decay,
        lr_scales=optim.lr_scales,
        undecayed=model.undecayed_names,
    )
    ours = {
        (group["lr_scale"], group["weight_decay"], official[id(parameter)])
        for group in groups
        for parameter in group["params"]
    }
    theirs = {
        (group["lr_multiplier_of_base"], group["weight_decay"], name)
        for group in expected
        for name in group["names"]
    }
    assert ours == theirs


ADAPTERS = {"vqa-vtc": vqa}
