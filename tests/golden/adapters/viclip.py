"""ViCLIP, the CLIP text tower and tokenizer, zero-shot classification, learning-rate schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from golden.case import Case
from internvideo.errors import DataError
from internvideo.evaluation import ranking
from internvideo.evaluation.classification import Classification
from internvideo.models import clip_init
from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder
from internvideo.models.tokenizer import CLIPTokenizer, clean_caption, padding_mask
from internvideo.models.viclip import ViCLIP, ViCLIPConfig, kept_tokens
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.tasks.zero_shot import classifier, prompting
from internvideo.train.contrast import contrastive_loss
from internvideo.train.schedules import cosine_value, warmup_cosine
from internvideo.video import sampling


def assert_exact(case: Case, actual: torch.Tensor, name: str) -> None:
    expected = case.tensors[name]
    assert torch.equal(actual.to(expected.dtype), expected), f"{case.name}: {name}"


def vision_config(config: dict) -> ViCLIPVisionConfig:
    return ViCLIPVisionConfig(
        image_size=config["input_resolution"],
        num_frames=config["num_frames"] * config["kernel_size"],
        patch_size=config["patch_size"],
        tubelet_size=config["kernel_size"],
        width=config["width"],
        depth=config["layers"],
        num_heads=config["heads"],
        embed_dim=config["output_dim"],
    )


def viclip_tiny(case: Case) -> None:
    vision, text = case.meta["config"]["vision"], case.meta["config"]["text"]
    model = ViCLIP(
        ViCLIPConfig(
            vision=vision_config(vision),
            text=CLIPTextConfig(
                vocab_size=text["vocab_size"],
                context_length=text["context_length"],
                width=text["width"],
                depth=text["layers"],
                num_heads=text["heads"],
                embed_dim=text["embed_dim"],
            ),
            embed_dim=text["embed_dim"],
            temp_min=case.meta["config"]["temp_min"],
        )
    ).eval()
    model.load_state_dict(case.group("state."), strict=True)
    seen = watch(
        {
            "ln_pre": model.vision_encoder.ln_pre,
            "block0": model.vision_encoder.transformer.resblocks[0],
            "ln_post": model.vision_encoder.ln_post,
        }
    )
    steps = vision["num_frames"]
    video = rearrange(case.tensors["input.video"], "b t c h w -> b c t h w")
    image = case.tensors["input.image"]
    image = rearrange(image if image.ndim == 5 else image[:, None], "b t c h w -> b c t h w")
    ids, noise = case.tensors["input.tokens"], case.tensors["input.mask_noise"]
    ratio = case.meta["config"]["masking_prob"]

    temperature = model.temperature()
    case.assert_close(temperature, "output.temp_after_clamp")
    plain = model.encode_video(video, normalize=False)
    case.assert_close(plain, "output.vision_unmasked")
    for key, name in (
        ("ln_pre", "output.vision_tokens_after_ln_pre"),
        ("block0", "output.vision_after_block0"),
        ("ln_post", "output.vision_after_ln_post"),
    ):
        case.assert_close(in_reference_order(seen[key], steps), name)
    case.assert_close(model.encode_video(image, normalize=False), "output.vision_single_image")
    text_plain = model.encode_text(ids, normalize=False)
    case.assert_close(text_plain, "output.text")
    unit_text = model.encode_text(ids)
    case.assert_close(model.encode_video(video) @ unit_text.T, "output.cosine_sims")

    masked = model.encode_video(video, mask_ratio=ratio, noise=noise, normalize=False)
    case.assert_close(masked, "output.vision_masked")
    kept = kept_tokens(noise, ratio, num_steps=steps)
    places = noise.shape[1] // steps
    reference_index = (kept % places) * steps + kept // places
    dropped = torch.ones_like(noise).scatter(1, reference_index, 0.0)
    assert_exact(case, dropped, "output.dropped_token_mask")
    order = reference_index.argsort(dim=1)[..., None].expand(-1, -1, vision["width"])
    cls, tokens = seen["ln_pre"][:, :1], seen["ln_pre"][:, 1:]
    case.assert_close(
        torch.cat([cls, tokens.gather(1, order)], dim=1),
        "output.vision_masked_tokens_after_ln_pre",
    )

    output = model(video, ids, mask_ratio=ratio, noise=noise)
    similarity = output.video @ output.text.T / temperature
    case.assert_close(similarity, "output.sim_v2t")
    case.assert_close(similarity.T, "output.sim_t2v")
    pair = (output.video, output.text, temperature)
    case.assert_close(contrastive_loss(*pair), "output.loss_vtc_masked_unique_idx")
    sample_ids = case.tensors["input.idx"]
    unmasked = contrastive_loss(model.encode_video(video), unit_text, temperature, ids=sample_ids)
    case.assert_close(unmasked, "output.loss_vtc_unmasked")
    loss = contrastive_loss(*pair, ids=sample_ids)
    case.assert_close(loss, "output.loss_vtc_masked")
    loss.backward()
    for name in case.group("grad."):
        case.assert_close(model.get_parameter(name).grad, f"grad.{name}")


def watch(modules: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Return a dictionary that always holds the latest output of each module."""
    seen: dict[str, torch.Tensor] = {}
    for key, module in modules.items():
        module.register_forward_hook(lambda m, i, o, key=key: seen.__setitem__(key, o))
    return seen


def in_reference_order(x: torch.Tensor, steps: int) -> torch.Tensor:
    """Class token first, then the patches place by place (ours are step by step)."""
    return torch.cat([x[:, :1], rearrange(x[:, 1:], "b (t n) d -> b (n t) d", t=steps)], dim=1)


def viclip_text(case: Case) -> None:
    texts = case.meta["texts"]
    for context in (32, 77):
        assert_exact(case, CLIPTokenizer(context)(texts), f"output.ids{context}")
    for raw, cleaned in case.meta["pre_text"]:
        assert clean_caption(raw) == cleaned
    for entry in case.meta["frame_indices"]["sample"]:
        assert_frame_rule(entry)
    for entry in case.meta["frame_indices"]["fps"]:
        indices = sampling.fps_indices(
            entry["num_total"],
            fps=entry["input_fps"],
            rate=float(entry["sample"].removeprefix("fps")),
            max_frames=entry["max_num_frames"] if entry["max_num_frames"] > 0 else None,
        )
        assert indices.tolist() == entry["indices"]
    for schedule in case.meta["lr_schedule"]:
        per_epoch = schedule["steps_per_epoch"]
        factors = [
            warmup_cosine(
                step,
                schedule["epochs"] * per_epoch,
                schedule["warmup_epochs"] * per_epoch,
                floor=schedule["min_lr_multi"],
            )
            for step in range(len(schedule["lr_per_step"]))
        ]
        expected = [lr / schedule["base_lr"] for lr in schedule["lr_per_step"]]
        assert factors == pytest.approx(expected, rel=1e-6)


def assert_frame_rule(entry: dict) -> None:
    total, length = entry["num_total"], entry["num_frames"]
    middle = sampling.viclip_indices(total, clip_length=length, rule="middle")
    assert middle.tolist() == entry["middle"]
    first = sampling.viclip_indices(total, clip_length=length, rule="fix_start", offset=0)
    assert first.tolist() == entry["fix_start_0"]
    low, high = np.array(entry["rand_low"]), np.array(entry["rand_high_exclusive"])
    rng = np.random.default_rng(0)
    draws = np.stack(
        [
            sampling.viclip_indices(total, clip_length=length, rule="rand", rng=rng, pad=False)
            for _ in range(200)
        ]
    )
    if (low >= high).any():  # an empty interval: a sorted random subset of all frames
        assert all(len(set(draw)) == len(low) and sorted(draw) == list(draw) for draw in draws)
        assert draws.min() >= 0
        assert draws.max() < total
        return
    assert (draws >= low).all()
    assert (draws < high).all()
    small = high - low <= 10
    assert (draws.min(0) == low)[small].all()
    assert (draws.max(0) == high - 1)[small].all()


def retrieval_metrics(
    video_to_text: torch.Tensor, text_to_video: torch.Tensor, positives: torch.Tensor
) -> dict[str, float]:
    """Name ranks as the reference does: `txt_*` finds texts for a video, `img_*` videos."""
    metrics, means = {}, []
    sides = (("txt", video_to_text, positives), ("img", text_to_video, positives.T))
    for side, scores, wanted in sides:
        ranks = ranking.best_ranks(scores, wanted)
        recalls = [100 * float((ranks < k).double().mean()) for k in (1, 5, 10)]
        for k, recall in zip((1, 5, 10), recalls, strict=True):
            metrics[f"{side}_r{k}"] = round(recall, 2)
        means.append(sum(recalls) / 3)
        metrics[f"{side}_r_mean"] = round(means[-1], 2)
    return {**metrics, "r_mean": round(sum(means) / 2, 2)}


def viclip_zeroshot(case: Case) -> None:
    config, tensors = case.meta["config"], case.tensors
    owner = torch.arange(config["num_classes"]).repeat_interleave(config["num_prompts"])
    texts, labels = tensors["input.text_features"], tensors["input.labels"]
    weights = classifier.class_weights(texts, owner)
    case.assert_close(weights, "output.classifier_weights_official")
    unit_weights = classifier.class_weights(texts, owner, renormalize=True)
    case.assert_close(unit_weights, "output.classifier_weights_unit")
    videos = torch.nn.functional.normalize(tensors["input.video_features"], dim=-1)
    scores = videos @ weights.T
    case.assert_close(scores, "output.class_scores")
    case.assert_close(scores.T, "output.class_scores_t2v")
    reranked = ranking.dual_softmax(scores), ranking.dual_softmax(scores.T)
    case.assert_close(reranked[0], "output.dsl_v2t")
    case.assert_close(reranked[1], "output.dsl_t2v")

    results = case.meta["results"]
    reported = classifier.ranking_metrics(scores, labels)
    for key, name in (("top1", "top1"), ("top5", "top5"), ("avg", "AVG")):
        assert reported[key] == results[name]
    positives = torch.nn.functional.one_hot(labels, config["num_classes"]).bool()
    assert retrieval_metrics(scores, scores.T, positives) == results["act_rec"]
    assert retrieval_metrics(*reranked, positives) == results["act_rec_dsl"]

    video, text = (
        torch.nn.functional.normalize(tensors[f"input.ret_{side}"], dim=-1)
        for side in ("video", "text")
    )
    square = video @ text.T
    case.assert_close(square, "output.ret_v2t")
    case.assert_close(square.T, "output.ret_t2v")
    reranked = ranking.dual_softmax(square), ranking.dual_softmax(square.T)
    case.assert_close(reranked[0], "output.ret_v2t_dsl")
    case.assert_close(reranked[1], "output.ret_t2v_dsl")
    same = torch.eye(len(square), dtype=torch.bool)
    assert retrieval_metrics(square, square.T, same) == results["retrieval_1to1"]
    assert retrieval_metrics(*reranked, same) == results["retrieval_1to1_dsl"]
    captions = torch.nn.functional.normalize(tensors["input.multi_text"], dim=-1)
    several = video @ captions.T
    owned = tensors["input.multi_owner"][None] == torch.arange(len(video))[:, None]
    reported = retrieval_metrics(several, several.T, owned)
    assert reported == results["retrieval_multi_caption"]

    first_prompts = torch.nn.functional.normalize(texts[:: config["num_prompts"]], dim=-1)
    names = [str(number) for number in range(config["num_classes"])]
    expected = zip(
        tensors["output.demo_topk_probs"], tensors["output.demo_topk_index"], strict=True
    )
    for cosine, (probabilities, index) in zip(videos @ first_prompts.T, expected, strict=False):
        shown = (100 * cosine).softmax(dim=0).tolist()
        result = Classification.from_scores("", names, cosine.tolist(), shown)
        top = result.top(config["topk"])
        assert [int(name) for name, _ in top] == index.tolist()
        values = torch.tensor([value for _, value in top])
        torch.testing.assert_close(values, probabilities, **case.tolerance())


def viclip_prompts(case: Case) -> None:
    names, ids = case.meta["class_names"], case.tensors["output.ids"]
    prompts = prompting.class_prompts(names, prompting.prompt_templates("action16"))
    assert [list(prompts[name]) for name in names] == case.meta["cleaned_prompts"]
    texts = [text for sentences in prompts.values() for text in sentences]
    assert_exact(case, CLIPTokenizer(ids.shape[1])(texts), "output.ids")


def viclip_init(case: Case) -> None:
    config = vision_config(case.meta["config"]["vision"])
    clip = case.group("input.clip.")
    steps, grid, _ = config.grid
    state = clip_init.vision_state_from_clip(clip, grid=grid, num_steps=steps)
    assert state.keys() == case.group("output.k1.").keys()
    for name, value in state.items():
        case.assert_close(value, f"output.k1.{name}")
    for mode, name in (("centre", "k3center"), ("average", "k3avg")):
        inflated = clip_init.inflate_patch_kernel(clip["conv1.weight"], 3, mode=mode)
        case.assert_close(inflated, f"output.{name}.conv1.weight")
    temporal = case.tensors["input.ckpt.vision_encoder.temporal_positional_embedding"]
    for name in case.group("output.temporal_T"):
        resized = clip_init.resize_temporal_positions(temporal, int(name))
        case.assert_close(resized, f"output.temporal_T{name}")
    positions = case.tensors["input.ckpt.text_encoder.positional_embedding"]
    for name in case.group("output.textpos_L"):
        resized = clip_init.resize_text_positions(positions, int(name))
        case.assert_close(resized, f"output.textpos_L{name}")
    positions = case.tensors["input.cliptext.positional_embedding"]
    for name, key in (("trunc", "text_ctx_short"), ("pad", "text_ctx_long")):
        fitted = clip_init.fit_clip_text_positions(positions, case.meta["config"][key])
        case.assert_close(fitted, f"output.cliptext_{name}")
    merged = clip_init.merge_weights(case.group("input.wise_ft."), case.group("input.wise_zs."))
    for name in case.group("output.wise."):
        case.assert_close(merged[name], f"output.wise.{name}")


def clip_text(case: Case) -> None:
    config = case.meta["config"]
    model = CLIPTextEncoder(
        CLIPTextConfig(
            vocab_size=config["vocab"],
            context_length=config["context_length"],
            width=config["width"],
            depth=config["layers"],
            num_heads=config["heads"],
            embed_dim=config["embed_dim"],
        )
    )
    state = case.group("state.")
    state.pop("logit_scale", None)
    state.pop("text_mask_embedding", None)  # InternVideo-MM's own, not part of the text tower
    model.load_state_dict(state, strict=True)
    features = model(case.tensors["input.text_ids"])
    case.assert_close(features.tokens, "output.text_all_feats")
    case.assert_close(features.embedding, "output.text_feats")
    (features.embedding * case.tensors["input.cotangent"]).sum().backward()
    for name in case.group("grad."):
        case.assert_close(model.get_parameter(name).grad, f"grad.{name}")


def clip_tokenizer(case: Case) -> None:
    strings, long_strings = case.meta["strings"], case.meta["long_strings"]
    tokenizer = CLIPTokenizer(case.meta["config"]["context_length"], truncate=False)
    assert_exact(case, tokenizer(strings), "output.ids")
    assert_exact(case, padding_mask(tokenizer(strings)), "output.padding_mask")
    pieces = [tokenizer.encode(text) for text in strings]
    assert [len(ids) for ids in pieces] == case.meta["bpe_lengths"]
    assert [tokenizer.decode(ids) for ids in pieces] == case.meta["decoded"]
    with pytest.raises(DataError):
        tokenizer(long_strings)
    cut = CLIPTokenizer(case.meta["config"]["context_length"])(long_strings)
    assert_exact(case, cut, "output.long_ids")
    assert_exact(case, padding_mask(cut), "output.long_padding_mask")
    first = case.tensors["output.first_ctx32"]
    assert_exact(case, CLIPTokenizer(first.shape[1])(strings[0]), "output.first_ctx32")


def videomae_schedule(case: Case) -> None:
    for schedule in case.meta["schedules"]:
        args = schedule["args"]
        per_epoch = args["niter_per_ep"]
        warmup = args.get("warmup_epochs", 0) * per_epoch
        if args.get("warmup_steps", 0) > 0:
            warmup = args["warmup_steps"]
        values = [
            cosine_value(
                step,
                args["epochs"] * per_epoch,
                warmup,
                peak=args["base_value"],
                final=args["final_value"],
                start=args.get("start_warmup_value", 0.0),
            )
            for step in range(schedule["length"])
        ]
        name = f"output.schedule.{schedule['index']}"
        case.assert_close(torch.tensor(values, dtype=torch.float64), name, rtol=1e-12, atol=0.0)


ADAPTERS = {
    "viclip-tiny": viclip_tiny,
    "viclip-text": viclip_text,
    "viclip-init": viclip_init,
    "viclip-zeroshot": viclip_zeroshot,
    "viclip-prompts": viclip_prompts,
    "clip-text": clip_text,
    "clip-tokenizer": clip_tokenizer,
    "videomae-schedule": videomae_schedule,
}
