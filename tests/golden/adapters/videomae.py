"""The VideoMAE family: pretraining, dual masking, fine-tuned classifiers, targets and masks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.case import Case
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig, remap_head
from internvideo.models.tubelets import split_mask
from internvideo.models.videomae import VideoMAE, VideoMAEConfig, pixel_target
from internvideo.models.vit import VideoViTConfig
from internvideo.video.masks import (
    progressive_keep_counts,
    random_mask,
    running_cell_mask,
    tube_mask,
)
from internvideo.zoo.labels import k710_rows

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _pretraining_model(case: Case) -> VideoMAE:
    config = case.meta["config"]
    encoder = VideoViTConfig(
        image_size=config["img_size"],
        num_frames=config["all_frames"],
        patch_size=config["patch_size"],
        tubelet_size=config["tubelet_size"],
        width=config["encoder_embed_dim"],
        depth=config["encoder_depth"],
        num_heads=config["encoder_num_heads"],
        mlp_ratio=config["mlp_ratio"],
        norm_eps=config["norm_eps"],
        init_values=config["init_values"],
        cosine_attention=config.get("cos_attn", False),
    )
    model = VideoMAE(
        VideoMAEConfig(
            encoder=encoder,
            decoder_width=config["decoder_embed_dim"],
            decoder_depth=config["decoder_depth"],
            decoder_num_heads=config["decoder_num_heads"],
            target="normalized" if config["normalize_target"] else "pixels",
        )
    )
    assert model.config.target_width == config["decoder_num_classes"]
    model.load_state_dict(case.group("state."), strict=True)
    return model


def _check_gradients(case: Case, model: nn.Module, *, without: tuple[str, ...] = ()) -> None:
    expected = case.group("grad.")
    parameters = dict(model.named_parameters())
    tolerance = case.meta["tolerance"]
    assert expected
    for name in expected:
        if name in without:
            continue
        gradient = parameters[name].grad
        assert gradient is not None, f"{case.name}: {name} got no gradient"
        case.assert_close(
            gradient,
            f"grad.{name}",
            rtol=tolerance["grad_rtol"],
            atol=tolerance["grad_atol"],
        )


def _check_stored(case: Case, outputs: dict[str, Tensor]) -> None:
    """Compare every stored `output.<name>` that `outputs` has."""
    for name, value in outputs.items():
        if f"output.{name}" in case.tensors:
            case.assert_close(value, f"output.{name}")


def check_pretrain(case: Case) -> None:
    model = _pretraining_model(case)
    video, mask = case.tensors["input.video"], case.tensors["input.mask"]
    output = model(video, mask)
    output.loss.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    _check_stored(
        case,
        {
            "encoder_tokens": model.encoder(video, visible=~mask).tokens,
            "pred": output.prediction,
            "target": output.target,
            "loss": output.loss,
            "encoder_pos_embed": model.encoder.pos_embed,
            "decoder_pos_embed": model.decoder_positions,
            "grad_norm": torch.stack(norms).norm(),
        },
    )
    _check_gradients(case, model)


def check_dual_mask(case: Case) -> None:
    model = _pretraining_model(case)
    video, mask = case.tensors["input.video"], case.tensors["input.encoder_mask"]
    output = model(video, split_mask(mask), split_mask(case.tensors["input.decoder_mask"]))
    output.loss.backward()
    _check_stored(
        case,
        {
            "encoder_tokens": model.encoder(video, visible=~mask).tokens,
            "pred": output.prediction,
            "loss": output.loss,
            "loss_weight": output.weight,
        },
    )
    _check_gradients(case, model)


def check_target(case: Case) -> None:
    config, video = case.meta["config"], case.tensors["input.video"]
    for name, normalize in (("target_norm", True), ("target_raw", False)):
        target = pixel_target(
            video,
            tubelet_size=config["tubelet_size"],
            patch_size=config["patch_size"],
            normalize=normalize,
            mean=MEAN,
            std=STD,
        )
        expected = case.tensors[f"output.{name}"]
        # A tubelet of one colour: its target is rounding noise over about 1e-6, only bounded.
        flat = case.tensors["output.target_raw"].unflatten(2, (-1, 3)).std(dim=2).amax(2) < 1e-6
        torch.testing.assert_close(target[~flat], expected[~flat], **case.tolerance())
        assert (target[flat].abs() <= 1).all()


def _classifier(case: Case) -> VideoClassifier:
    config = case.meta["config"]
    second = "V2" in case.meta["source"]
    pooling = "mean" if config["use_mean_pooling"] else "first"
    if config.get("use_learnable_pos_emb", False):
        positions = "learnable"
    else:
        positions = "direct" if second else "base-grid"
    model = VideoClassifier(
        VideoClassifierConfig(
            image_size=config["img_size"],
            num_frames=config["all_frames"],
            patch_size=config["patch_size"],
            tubelet_size=config["tubelet_size"],
            width=config["embed_dim"],
            depth=config["depth"],
            num_heads=config["num_heads"],
            mlp_ratio=config["mlp_ratio"],
            norm_eps=config["norm_eps"],
            init_values=config["init_values"],
            cosine_attention=config.get("cos_attn", False),
            positions=positions,
            final_norm=pooling != "mean",
            num_classes=config["num_classes"],
            pooling=pooling,
            init_scale=config["init_scale"],
        )
    )
    model.load_state_dict(case.group("state."), strict=True)
    return model.eval()


def _clip(case: Case) -> Tensor:
    """Return the model input, which large cases store as a small clip to be enlarged."""
    if "input.video" in case.tensors:
        return case.tensors["input.video"]
    factor = case.meta["input_upsample"]
    pixels = case.tensors["input.video_small_uint8"].float() / 255
    pixels = pixels.repeat_interleave(factor, dim=3).repeat_interleave(factor, dim=4)
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std


def check_classifier(case: Case) -> None:
    model, video = _classifier(case), _clip(case)
    features = model.pool(model.forward_features(video))
    logits = model(video)
    outputs = {
        "features": features,
        "logits": logits,
        "pos_embed": model.positions(model.config.grid),
    }
    target = case.tensors.get("input.target", case.tensors.get("input.label"))
    if target is not None:
        outputs["loss"] = F.cross_entropy(logits, target)
    (first,) = model.intermediates(video, layers=[0])
    outputs["block0_rows"] = first[:, :: max(1, first.shape[1] // 16)]
    _check_stored(case, outputs)
    if case.group("grad."):
        outputs["loss"].backward()
        # The reference cuts a learnable table off from its gradient (a bug that we do not keep).
        detached = "grad.pos_embed" in case.tensors and not case.tensors["grad.pos_embed"].any()
        _check_gradients(case, model, without=("pos_embed",) if detached else ())


def check_head(case: Case) -> None:
    weight, bias = case.tensors["input.head.weight"], case.tensors["input.head.bias"]
    names = {name.split(".")[1] for name in case.tensors if name.startswith("output.")}
    assert names
    for name in sorted(names):
        rows = k710_rows(f"{name.lower()}/authors")  # the reference keeps the authors' order
        new_weight, new_bias = remap_head(weight, bias, rows)
        assert torch.equal(new_weight, case.tensors[f"output.{name}.head.weight"])
        assert torch.equal(new_bias, case.tensors[f"output.{name}.head.bias"])


def check_masks(case: Case) -> None:
    seeds, meta = case.meta["seeds"], case.meta
    for count in meta["counts"]:
        window, ratio = tuple(count["window"]), count["ratio"]
        rng = np.random.default_rng(0)
        assert tube_mask(window, ratio, rng=rng).sum() == count["tube_total_masked"]
        assert random_mask(window, ratio, rng=rng).sum() == count["random_masked"]
    for entry in meta["cases"]:
        window, ratio, number = tuple(entry["window"]), entry["ratio"], entry["i"]
        for name, draw in (("tube", tube_mask), ("random", random_mask)):
            rng = np.random.RandomState(seeds[number])
            expected = case.tensors[f"output.{name}.{number}"].numpy().astype(bool)
            drawn = np.stack([draw(window, ratio, rng=rng) for _ in expected])
            assert (drawn == expected).all()
        often = case.tensors[f"output.tube_freq.{number}"].numpy()
        rng = np.random.RandomState(seeds[number])
        places = often.size
        drawn = np.mean([tube_mask(window, ratio, rng=rng)[:places] for _ in range(4000)], axis=0)
        assert np.abs(drawn - often).max() < 0.06
        assert np.abs(drawn - ratio).max() < 0.04
    for name, maps in case.group("output.running_cell_maps").items():
        # ".0.5" has the window of the first mask; "_6x4x6.0.5" names its own
        size, ratio = name.split(".", 1)
        window = tuple(map(int, size[1:].split("x"))) if size else tuple(meta["cases"][0]["window"])
        for start, expected in enumerate(maps.numpy().astype(bool)):
            mask = running_cell_mask(window, float(ratio), start=start)
            assert (mask == expected).all()
    for name, centre in (("progressive", False), ("center_progressive", True)):
        expected = case.tensors[f"output.{name}_keep_per_frame"].tolist()
        # the case does not say of which of its windows and ratios these are
        assert expected in [
            progressive_keep_counts(tuple(e["window"]), e["ratio"], centre=centre).tolist()
            for e in meta["cases"]
            if not (centre and e["window"][0] % 2)
        ]


ADAPTERS = {
    "videomae-pretrain": check_pretrain,
    "videomae-dualmask": check_dual_mask,
    "videomae-target": check_target,
    "videomae-masks": check_masks,
    "videomae-finetune": check_classifier,
    "videomae-posinterp": check_classifier,
    "videomae-k710-head": check_head,
}
