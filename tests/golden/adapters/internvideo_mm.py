"""InternVideo-MM: both towers, the caption decoder, their losses and gradients."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from golden.adapters import question_answering
from golden.case import Case
from internvideo.models import clip_init
from internvideo.models.caption_decoder import CaptionDecoder, CaptionDecoderConfig, caption_loss
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig, context
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.tasks.retrieval.task import RetrievalConfig, RetrievalTraining, frozen_names
from internvideo.train.contrast import contrastive_loss
from internvideo.train.optim import parameter_groups
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.kinds.internvideo_mm import OFFICIAL, TWO_TOWERS


def model_config(config: dict) -> InternVideoMMConfig:
    return InternVideoMMConfig(
        vision=UniFormerV2Config(
            image_size=config["res"],
            num_frames=config["T"],
            patch_size=config["patch"],
            width=config["vw"],
            depth=config["vl"],
            num_heads=config["vh"],
            global_layers=tuple(config["ret"]),
            global_heads=config["nh"],
            global_drop_rate=0.0,
        ),
        text=CLIPTextConfig(
            vocab_size=config["vocab"],
            context_length=config["ctx"],
            width=config["tw"],
            depth=config["tl"],
            num_heads=config["th"],
            embed_dim=config["embed"],
        ),
        embed_dim=config["embed"],
        decoder_depth=config["capl"],
        decoder_queries=config["nq"],
    )


def frame_tokens(model: InternVideoMM, video: Tensor) -> Tensor:
    """Return the tokens of the last block in the order of the reference: (1 + HW, N, T, C)."""
    features = model.forward_features(video)
    assert features.frame_cls is not None
    patches = rearrange(features.tokens, "b (t n) d -> n b t d", t=features.grid[0])
    return torch.cat([features.frame_cls[None], patches])


def internvideo_mm(case: Case) -> None:
    model = InternVideoMM(model_config(case.meta["config"]))
    model.load_state_dict(OFFICIAL.to_ours(case.group("state.")), strict=True)
    video, image = case.tensors["input.video"], case.tensors["input.image"]
    ids = case.tensors["input.text_ids"]

    case.assert_close(frame_tokens(model, video), "output.video_all_feats")
    case.assert_close(frame_tokens(model, image), "output.image_all_feats")
    case.assert_close(model.encode_video(video, normalize=False), "output.video_feats")
    case.assert_close(model.encode_video(image, normalize=False), "output.image_feats")
    texts = model.text_features(ids)
    case.assert_close(texts.tokens, "output.text_all_feats")
    case.assert_close(texts.embedding, "output.text_feats")
    hidden = model.text_features(ids, masked=case.tensors["input.masked_indices"])
    case.assert_close(hidden.embedding, "output.text_feats_masked")
    assert model.caption_decoder is not None
    clip_tokens = context(model.forward_features(video))
    case.assert_close(model.caption_decoder.pool(clip_tokens), "output.pooled_visual")

    output = model(video, ids)
    case.assert_close(output.caption_logits, "output.cap_logits")
    scores = output.video @ output.text.T / model.temperature()
    case.assert_close(scores, "output.logits")
    case.assert_close(scores.softmax(dim=-1), "output.probs")

    case.assert_close(scores, "output.contrastive_image_logits")

    contrast = contrastive_loss(output.video, output.text, model.temperature())
    caption = caption_loss(output.caption_logits, ids)
    case.assert_close(contrast, "output.contrastive_loss")
    case.assert_close(caption, "output.cap_loss")
    case.assert_close(contrast + caption, "output.total_loss")
    (contrast + caption).backward()
    for name in case.group("grad."):
        parameter = model.get_parameter(OFFICIAL.name_to_ours(name))
        case.assert_close(parameter.grad, f"grad.{name}")
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert [OFFICIAL.name_to_official(n) for n in without] == case.meta["params_without_grad"]


def decoder(case: Case) -> None:
    config = case.meta["config"]
    model = CaptionDecoder(
        CaptionDecoderConfig(
            width=config["tw"],
            num_heads=config["th"],
            context_width=config["vw"],
            vocab_size=config["vocab"],
            depth=config["capl"],
            num_queries=config["nq"],
        )
    )
    constants = {n: b.clone() for n, b in model.named_buffers() if n.endswith("inv_freq")}
    model.load_state_dict(case.group("state."), strict=True)
    for name, value in constants.items():
        case.assert_close(value, f"state.{name}", rtol=0, atol=0)
    video = rearrange(case.tensors["input.video_tokens"], "n b t d -> b (n t) d")
    logits = model(case.tensors["input.text_tokens"][:, :-1], video)
    case.assert_close(logits, "output.cap_logits")
    case.assert_close(caption_loss(logits, case.tensors["input.text_ids"]), "output.cap_loss")


def retrieval_groups(size: str, expected: dict) -> None:
    """Fine-tuning for retrieval: what is averaged with CLIP, what is frozen, what decays."""
    average = expected["retrieval_mergeclip"]
    names = [*average["merged"], *average["kept_pretrained"]]
    merged = clip_init.names_as_in_clip(OFFICIAL.name_to_ours(name) for name in names)
    assert {OFFICIAL.name_to_official(name) for name in merged} == set(average["merged"])

    with torch.device("meta"):
        model = InternVideoMM(TWO_TOWERS.sizes[size])
    frozen = frozen_names(model, published=True)
    told = expected["retrieval_finetune_freeze_layer_num_0"]
    assert {OFFICIAL.name_to_official(name) for name in frozen} == set(told["frozen"])
    assert len(dict(model.named_parameters())) - len(frozen) == told["n_trainable"]
    RetrievalTraining(model, Preprocessing(num_frames=8), RetrievalConfig(freeze="published"))
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == frozen

    model.requires_grad_(True)
    named = dict(model.named_parameters())
    official = {id(p): OFFICIAL.name_to_official(name) for name, p in named.items()}
    groups = parameter_groups(named, weight_decay=0.2, decayed="all-but-biases")
    decays = {official[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    told = expected["retrieval_bertadam_groups"]
    assert decays == dict.fromkeys(told["decay_0.2"], 0.2) | dict.fromkeys(told["no_decay"], 0.0)


def param_groups(case: Case) -> None:
    """Which tensors are averaged with CLIP, frozen, and decay."""
    for size, expected in case.meta["models"].items():
        retrieval_groups(size, expected)
        average = expected["wiseft_clip_wiseft_coef"]
        names = [*average["merged"], *average["kept_pretrained"]]
        merged = clip_init.wise_ft_names(OFFICIAL.name_to_ours(name) for name in names)
        assert {OFFICIAL.name_to_official(name) for name in merged} == set(average["merged"])

        question_answering.assert_optimizer_groups(size, expected["vqa_adamw_groups"])


ADAPTERS = {
    "internvideo-mm": internvideo_mm,
    "internvideo-mm-decoder": decoder,
    "retrieval-vqa-param-groups": param_groups,
}
