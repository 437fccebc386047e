"""Networks that are fine-tuned for retrieval: features, scores, losses and gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from golden.case import Case
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.tokenizer import padding_mask
from internvideo.models.uniformerv2 import UniFormerV2Config
from internvideo.models.viclip import ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.tasks.retrieval.frames import (
    FrameRetriever,
    FrameRetrieverConfig,
    frame_vectors,
)
from internvideo.tasks.retrieval.headers import (
    FramePoolingConfig,
    HeaderConfig,
    TightHeaderConfig,
    TokenWiseHeader,
    TokenWiseHeaderConfig,
)
from internvideo.tasks.retrieval.losses import (
    Decorrelation,
    cross_entropy,
    decorrelation_loss,
    dual_softmax_loss,
    max_margin_loss,
    mil_nce_loss,
    symmetric,
)
from internvideo.video.preprocessing import frame_mask
from internvideo.zoo.kinds.internvideo_mm import OFFICIAL
from internvideo.zoo.layouts import Layout
from internvideo.zoo.tables import OPENAI_CLIP

RULES = {"meanP": "mean", "seqLSTM": "seq-lstm", "seqTransf": "seq-transformer"}
DECORRELATION: tuple[Decorrelation, ...] = ("none", "random", "nearest", "weighted")
# Names of the reference → ours, of the parts beside the towers.
PARTS = {
    "frame_position_embeddings.weight": "header.frame_positions",
    "lstm_visual.": "header.lstm.",
    "transformerClip.": "header.transformer.",
    "cross.embeddings.position_embeddings.weight": "header.positions",
    "cross.transformer.": "header.transformer.",
    "cross.pooler.ln_pool.": "header.norm.",
    "cross.pooler.dense.": "header.dense.",
    "similarity_dense.": "header.score.",
    "text_weight_fc.weight": "header.text_weight.0.weight",  # where there is one layer
    "text_weight_fc.bias": "header.text_weight.0.bias",
    "video_weight_fc.weight": "header.video_weight.0.weight",
    "video_weight_fc.bias": "header.video_weight.0.bias",
    "text_weight_fc.": "header.text_weight.",
    "video_weight_fc.": "header.video_weight.",
}


def text_config(config: dict) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=config["vocab"],
        context_length=config["ctx"],
        width=config["tw"],
        depth=config["tl"],
        num_heads=config["theads"],
        embed_dim=config["ed"],
    )


def evl_config(config: dict) -> InternVideoMMConfig:
    return InternVideoMMConfig(
        vision=UniFormerV2Config(
            image_size=config["res"],
            num_frames=config["T"],
            patch_size=config["patch"],
            width=config["vw"],
            depth=config["vl"],
            num_heads=config["vheads"],
            global_layers=tuple(config["return_list"]),
            global_heads=config.get("dec_heads", config["vheads"]),
            global_drop_rate=0.0,
        ),
        text=text_config(config),
        embed_dim=config["ed"],
        decoder_depth=0,
    )


def image_clip_config(config: dict) -> ViCLIPConfig:
    return ViCLIPConfig(
        vision=ViCLIPVisionConfig(
            image_size=config["res"],
            num_frames=8,  # those of an image CLIP as it is read: no positions in time
            patch_size=config["patch"],
            width=config["vw"],
            depth=config["vl"],
            num_heads=config["vheads"],
            embed_dim=config["ed"],
            drop_path_rate=0.0,
            head_drop_rate=0.0,
        ),
        text=text_config(config),
        embed_dim=config["ed"],
    )


def header_config(config: dict) -> HeaderConfig:
    if config.get("interaction", "no") in ("ti", "wti"):
        return TokenWiseHeaderConfig(
            weight_layers=config["wti_arch"] if config["interaction"] == "wti" else 0,
            words="hidden" if config["evl"] else "projected",
            padding="zero",
        )
    if config["sim_header"] == "tightTransf":
        return TightHeaderConfig(
            depth=config["cross_layers"],
            num_heads=config.get("cross_heads"),
            max_tokens=config["ctx"],
            drop_rate=0.0,
        )
    return FramePoolingConfig(
        rule=RULES[config["sim_header"]],
        depth=config.get("cross_layers", 1),
        max_frames=config["ctx"],
    )


def state_of(case: Case, towers: Layout) -> dict[str, Tensor]:
    """Return the tensors of a wrapper of the reference under our names."""
    state: dict[str, Tensor] = {}
    tower: dict[str, Tensor] = {}
    for name, tensor in case.group("state.").items():
        part = next((part for part in PARTS if name.startswith(part)), None)
        if part is not None:
            state[PARTS[part] + name.removeprefix(part)] = tensor
        else:
            tower[name if towers is OFFICIAL else name.removeprefix("clip.")] = tensor
    state |= {f"towers.{name}": tensor for name, tensor in towers.to_ours(tower).items()}
    if case.meta["config"]["sim_header"] == "seqLSTM":
        state.pop("header.frame_positions")  # which the reference has there and does not use
    return state


def check_gradients(case: Case, model: torch.nn.Module, towers: Layout, prefix: str) -> None:
    for name, expected in case.group("grad.").items():
        part = next((part for part in PARTS if name.startswith(part)), None)
        if part is not None:
            grad = model.get_parameter(PARTS[part] + name.removeprefix(part)).grad
        elif towers is OFFICIAL:
            grad = model.get_parameter(prefix + OFFICIAL.name_to_ours(name)).grad
        elif name == "clip.logit_scale":  # ours is exp(-logit_scale)
            scale = model.get_parameter(f"{prefix}temp")
            grad = None if scale.grad is None else -scale * scale.grad
        else:
            ours = OPENAI_CLIP.name_to_ours(name.removeprefix("clip."))
            grad = model.get_parameter(prefix + ours).grad
        assert grad is not None, name
        case.assert_close(grad.reshape(expected.shape), f"grad.{name}")


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return clips "b c t y x", token ids "b l", and which frames are no padding."""
    video = case.tensors["input.video"]
    clips = video.flatten(0, 1).flatten(1, 2).transpose(1, 2)
    ids = case.tensors["input.input_ids"].flatten(0, 1)
    words = case.tensors["input.input_mask"].flatten(0, 1).bool()
    assert torch.equal(~padding_mask(ids), words)
    return clips, ids, case.tensors["input.video_mask"].flatten(0, 1).bool()


def two_towers(case: Case) -> None:
    """The model of the released files: one vector a clip, padding and all."""
    config = case.meta["config"]
    model = InternVideoMM(evl_config(config))
    model.load_state_dict(OFFICIAL.to_ours(case.group("state.")), strict=True)
    clips, ids, _ = inputs(case)
    videos = model.encode_video(clips, normalize=False)
    texts = model.encode_text(ids, normalize=False)
    case.assert_close(videos[:, None], "output.visual_output")
    case.assert_close(texts[:, None], "output.sequence_output")
    logits = model.encode_text(ids) @ model.encode_video(clips).T / model.temperature()
    case.assert_close(logits, "output.similarity_logits")
    loss = symmetric(cross_entropy(logits), cross_entropy(logits.T))
    case.assert_close(loss, "output.train_loss")
    loss.backward()
    check_gradients(case, model, OFFICIAL, "")


def with_header(case: Case) -> None:
    config = case.meta["config"]
    layout = OFFICIAL if config["evl"] else OPENAI_CLIP
    model = FrameRetriever(
        FrameRetrieverConfig(
            towers=evl_config(config) if config["evl"] else image_clip_config(config),
            header=header_config(config),
            frames="in-clip" if config["evl"] else "alone",
        )
    )
    model.load_state_dict(state_of(case, layout), strict=True)
    model.requires_grad_(True)
    clips, ids, seen = inputs(case)
    assert torch.equal(frame_mask(clips), seen)
    text, frames = model.read(ids), frame_vectors(model.towers, clips, model.config.frames)
    if config["evl"] and config["interaction"] == "ti":
        # Without learnt weights the reference takes the clip's one vector for every frame.
        whole = model.towers.encode_video(clips, normalize=False)[:, None]
        frames = whole.expand_as(frames)
        case.assert_close(whole, "output.visual_output")
    else:
        case.assert_close(frames, "output.visual_output")
    case.assert_close(text.tokens, "output.sequence_output")
    scores = model.score(text, frames, seen)
    token_wise = isinstance(model.header, TokenWiseHeader)
    logits = scores / model.temperature() if model.scores_are_cosines else scores
    case.assert_close(scores if token_wise else logits, "output.similarity_logits")
    loss = symmetric(cross_entropy(logits), cross_entropy(logits.T))
    if config.get("cdcr"):
        assert token_wise
        kind = DECORRELATION[config["cdcr"]]
        words = (text.tokens, text.shown)
        loss = loss + 0.001 * decorrelation_loss(kind, model.header, *words, frames, seen)
    case.assert_close(loss, "output.train_loss")
    loss.backward()
    check_gradients(case, model, layout, "towers.")


def evl(case: Case) -> None:
    token_wise = case.meta["config"].get("interaction", "no") != "no"
    (with_header if token_wise else two_towers)(case)


def losses(case: Case) -> None:
    known = {
        "cross_en_t2v": cross_entropy,
        "cross_en_symmetric": lambda s: symmetric(cross_entropy(s), cross_entropy(s.T)),
    }
    for name in case.group("output."):
        scores = case.tensors["input.sim"].clone().requires_grad_()
        if name in known:
            loss = known[name](scores)
        elif name.startswith("dsl_loss"):
            temperature = float(name.partition("_temp")[2])
            loss = dual_softmax_loss(scores, temperature=temperature)
            if "symmetric" in name:
                loss = symmetric(loss, dual_softmax_loss(scores.T, temperature=temperature))
        else:
            kind, *words = name.split("_")
            found = [int(word.removeprefix("npair")) for word in words if "npair" in word]
            group = found[0] if found else 1
            if kind == "milnce":
                loss = mil_nce_loss(scores, group=group)
            else:
                assert kind == "maxmargin", name
                margin = float(words[0])
                loss = max_margin_loss(scores, margin=margin, group=group if "neg" in words else 1)
        case.assert_close(loss, f"output.{name}")
        loss.backward()
        case.assert_close(scores.grad, f"grad.{name}")


ADAPTERS = {
    "retrieval-evl": evl,
    "retrieval-framewise": with_header,
    "retrieval-losses": losses,
}
