"""The second stage of the unmasked teacher: losses on masked video and images, and matching."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from golden.case import Case
from internvideo.models.bert import BertConfig
from internvideo.models.clip_teacher import CLIPTeacherConfig
from internvideo.models.umt_multimodal import UMTMultimodal, UMTMultimodalConfig
from internvideo.models.unmasked_teacher import UnmaskedTeacherConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.unmasked_teacher import multimodal
from internvideo.tasks.unmasked_teacher.losses import Negatives, negative_weights
from internvideo.tasks.unmasked_teacher.multimodal import LossWeights, UMTMultimodalPretraining
from internvideo.video.masks import flat_places, num_visible_places
from internvideo.video.preprocessing import PRESETS


def umt_multimodal(case: Case) -> None:
    model = UMTMultimodal(model_config(case)).eval()
    model.load_state_dict(case.group("state."), strict=True)
    assert model.text_encoder.cls is not None
    task = UMTMultimodalPretraining(
        model,
        PRESETS["nano"],
        multimodal.UMTMultimodalPretrainingConfig(
            video_mask_ratio=case.meta["config"]["video_mask_ratio"],
            image_mask_ratio=case.meta["config"]["image_mask_ratio"],
            weights=LossWeights(**case.meta["loss_weights"]),
        ),
    )
    for kind in ("image", "video"):
        check_losses(case, task, kind)
    check_evaluation(case, model)


def model_config(case: Case) -> UMTMultimodalConfig:
    config = case.meta["config"]
    vision, teacher, text = config["vision"], config["teacher"], config["text"]
    return UMTMultimodalConfig(
        vision=UnmaskedTeacherConfig(
            encoder=VideoViTConfig(
                image_size=vision["img_size"],
                num_frames=vision["num_frames"],
                patch_size=vision["patch_size"],
                tubelet_size=1,
                width=vision["dim"],
                depth=vision["depth"],
                num_heads=vision["heads"],
            ),
            target_width=teacher["output_dim"],
            num_targets=config["return_layers"],
            decoder_norm_eps=1e-5,
        ),
        text=BertConfig(
            vocab_size=text["vocab"],
            max_positions=text["maxpos"],
            width=text["hidden"],
            depth=text["layers"],
            num_heads=text["heads"],
            mlp_hidden=text["inter"],
            fusion_layer=text["fusion"],
            vision_width=vision["dim"],
        ),
        embed_dim=config["embed_dim"],
        teacher=CLIPTeacherConfig(
            image_size=teacher["input_resolution"],
            patch_size=teacher["patch_size"],
            width=teacher["width"],
            depth=teacher["layers"],
            num_heads=teacher["heads"],
            embed_dim=teacher["output_dim"],
        ),
        context_length=config["text_len"],
        temp_init=case.meta["temp"],
    )


def visible_places(case: Case, kind: str, num_visible: int) -> torch.Tensor:
    """The first places of the drawn order stay visible."""
    order = case.tensors[f"input.importance_{kind}"]
    order = rearrange(order, "(b t) n -> b t n", b=case.meta["config"]["batch"])
    return order[..., :num_visible].sort(dim=-1).values


def check_losses(case: Case, task: UMTMultimodalPretraining, kind: str) -> None:
    model, config = task.model, case.meta["config"]
    video = rearrange(case.tensors[f"input.{kind}"], "b t c h w -> b c t h w")
    seen = task.teaching.observe(video)
    attention = rearrange(seen.attention, "b t n -> (b t) n")
    case.assert_close(attention, f"output.{kind}.teacher_attention")
    places = seen.attention.shape[2]
    num_visible = num_visible_places(places, config[f"{kind}_mask_ratio"])
    chosen = visible_places(case, kind, num_visible)
    visible = flat_places(chosen, places)
    features = model.vision_encoder(video, visible=visible, align=True)
    case.assert_close(features.tokens, f"output.{kind}.vision_embeds")
    pooled = model.vision_encoder.pool(features)
    case.assert_close(pooled, f"output.{kind}.pooled_vision_embeds")
    # The reference normalises these in the loss, and only there.
    for actual, name in (
        (model.vision_encoder.answers(features, visible), "student_output"),
        (task.teaching.teacher.targets(seen, chosen), "teacher_output"),
    ):
        stored = case.tensors[f"output.{kind}.{name}"]
        torch.testing.assert_close(actual, F.normalize(stored, dim=-1), **case.tolerance())
    ids, sample_ids = case.tensors["input.input_ids"], case.tensors["input.idx"]
    assert torch.equal(ids != 0, case.tensors["input.attention_mask"].bool())
    joint = model.project_video(pooled).mean(dim=1)
    similarity = joint @ model.encode_text(ids).T / model.temperature()
    weights = negative_weights(similarity, sample_ids), negative_weights(similarity.T, sample_ids)
    case.assert_close(weights[0], f"output.{kind}.neg_weights_v2t")
    case.assert_close(weights[1], f"output.{kind}.neg_weights_t2v")
    losses = task.losses(
        video,
        {
            "tokens": ids,
            "hidden_tokens": case.tensors["input.mlm_input_ids"],
            "hidden_words": case.tensors["input.mlm_labels"],
            "caption_id": sample_ids,
        },
        seen,
        chosen,
        negatives=Negatives(
            video=case.tensors["input.vision_neg_indices"],
            text=case.tensors["input.text_neg_indices"],
        ),
    )
    for name in ("uta", "vtc", "vtm", "mlm"):
        case.assert_close(losses[name], f"output.{kind}.loss_{name}")
    if kind == "video":
        case.assert_close(losses["loss"], "output.video.loss_total")
        losses["loss"].backward()
        for name in case.group("grad."):
            case.assert_close(model.get_parameter(name).grad, f"grad.{name}")


@torch.no_grad()
def check_evaluation(case: Case, model: UMTMultimodal) -> None:
    video = rearrange(case.tensors["input.video"], "b t c h w -> b c t h w")
    ids = case.tensors["input.input_ids"]
    tokens, texts = model.forward_features(video).tokens, model.read(ids)
    case.assert_close(tokens, "output.eval.vision_embeds")
    features = model.vision_encoder(video)
    case.assert_close(model.vision_encoder.pool(features), "output.eval.pooled_vision_embeds")
    case.assert_close(texts.tokens, "output.eval.text_embeds")
    similarity = model.encode_video(video, normalize=False) @ model.encode_text(ids).T
    case.assert_close(similarity, "output.eval.sim_v2t")
    case.assert_close(similarity.T, "output.eval.sim_t2v")
    rows = [model.match_logits(clip.expand(len(ids), -1, -1), texts)[:, 1] for clip in tokens]
    case.assert_close(torch.stack(rows), "output.eval.match_logit_v2t")


ADAPTERS = {"umt-multimodal": umt_multimodal}
