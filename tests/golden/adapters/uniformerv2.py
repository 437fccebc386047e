"""UniFormerV2: encoder, classifier, its blocks, the start from CLIP, the optimiser's groups."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from golden.case import Case
from internvideo.models.clip_init import uniformerv2_state_from_clip
from internvideo.models.uniformerv2 import UniFormerV2, UniFormerV2Config
from internvideo.models.uniformerv2_blocks import GlobalUniBlock, LocalUniBlock
from internvideo.models.uniformerv2_classifier import (
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)
from internvideo.train.optim import parameter_groups


def local_kind(config: dict) -> str:
    if config["no_lmhra"]:
        return "none"
    return "double" if config.get("double_lmhra", True) else "single"


def fields(config: dict) -> dict:
    """What the reference calls otherwise; `t_size` counts the frames of the input."""
    return {
        "image_size": config["input_resolution"],
        "num_frames": config["t_size"],
        "patch_size": config["patch_size"],
        "temporal_downsample": config["temporal_downsample"],
        "width": config["width"],
        "depth": config["layers"],
        "num_heads": config["heads"],
        "global_layers": tuple(config["return_list"]),
        "global_heads": config["n_head"],
        "global_mlp_ratio": config.get("mlp_factor", 4.0),
        "local_mhra": local_kind(config),
        "local_reduction": config.get("dw_reduction", 1.5),
        "global_drop_rate": 0.0,
        "frozen": config.get("frozen", False),
    }


def classifier_config(config: dict) -> UniFormerV2ClassifierConfig:
    return UniFormerV2ClassifierConfig(
        **fields(config), num_classes=config["num_classes"], head_drop_rate=0.0
    )


def in_reference_order(x: torch.Tensor) -> torch.Tensor:
    """Tokens first, then clip and time step."""
    return rearrange(x, "b t n d -> n (b t) d")


def in_our_order(x: torch.Tensor, num_steps: int) -> torch.Tensor:
    return rearrange(x, "n (b t) d -> b t n d", t=num_steps)


def classifier(case: Case) -> None:
    model = UniFormerV2Classifier(classifier_config(case.meta["config"]))
    model.load_state_dict(case.group("state."), strict=True)
    model.requires_grad_()  # the stored gradients are those of the model that is not frozen
    seen: dict[str, torch.Tensor] = {}
    watched = {
        "ln_pre": model.ln_pre,
        "first": model.transformer.resblocks[0],
        "last": model.transformer.resblocks[-1],
        **{f"global_{i}": block for i, block in enumerate(model.transformer.dec)},
    }
    for key, module in watched.items():
        module.register_forward_hook(lambda m, i, o, key=key: seen.__setitem__(key, o))
    video, label = case.tensors["input.video"], case.tensors["input.label"]

    case.assert_close(model.eval()(video), "output.logits")
    case.assert_close(seen["ln_pre"].flatten(0, 1), "output.ln_pre")
    case.assert_close(in_reference_order(seen["first"]), "output.block_first")
    case.assert_close(in_reference_order(seen["last"]), "output.block_last")
    for i in range(len(model.transformer.dec)):
        case.assert_close(seen[f"global_{i}"].transpose(0, 1), f"output.global_cls_{i}")
    features = model.forward_features(video)
    last = in_our_order(case.tensors["output.block_last"], features.grid[0])
    tolerance = case.tolerance()
    torch.testing.assert_close(features.frame_cls, last[:, :, 0], **tolerance)
    torch.testing.assert_close(features.tokens, last[:, :, 1:].flatten(1, 2), **tolerance)

    logits = model.train()(video)
    case.assert_close(logits, "output.train_logits")
    loss = F.cross_entropy(logits, label)
    case.assert_close(loss, "output.loss")
    loss.backward()
    for name in case.group("grad."):
        case.assert_close(model.get_parameter(name).grad, f"grad.{name}")
    for name in case.group("output.after_train."):
        case.assert_close(model.get_buffer(name), f"output.after_train.{name}")


def local_block(case: Case) -> None:
    config = case.meta["config"]
    width = config["d_model"]
    block = LocalUniBlock(
        width,
        config["n_head"],
        int(width // config["dw_reduction"]),
        double=config["double_lmhra"],
    ).eval()
    block.load_state_dict(case.group("state."), strict=True)
    x = case.tensors["input.x"].requires_grad_()
    y = in_reference_order(block(in_our_order(x, config["T"])))
    case.assert_close(y, "output.y")
    check_gradients(case, block, y, {"x": x})


def global_block(case: Case) -> None:
    config = case.meta["config"]
    width = config["d_model"]
    hidden = round(width * config["mlp_factor"])
    block = GlobalUniBlock(width, config["n_head"], hidden).eval()
    block.load_state_dict(case.group("state."), strict=True)
    x, y = (case.tensors[f"input.{name}"].requires_grad_() for name in ("x", "y"))
    out = block(x.transpose(0, 1), y.transpose(0, 1)).transpose(0, 1)
    case.assert_close(out, "output.out")
    check_gradients(case, block, out, {"x": x, "y": y})


def check_gradients(
    case: Case, block: torch.nn.Module, out: torch.Tensor, inputs: dict[str, torch.Tensor]
) -> None:
    (out * case.tensors["input.cotangent"]).sum().backward()
    for name in case.group("grad."):
        kind, _, rest = name.partition("input.")
        value = inputs[rest] if not kind else block.get_parameter(name)
        case.assert_close(value.grad, f"grad.{name}")


def clip_init(case: Case) -> None:
    encoder = UniFormerV2(UniFormerV2Config(**fields(case.meta["config"])))
    own, clip = encoder.state_dict(), case.group("input.clip.")
    # Only the first block is stored.
    for name, value in list(clip.items()):
        for block in ("1", "2"):
            clip[name.replace("resblocks.0.", f"resblocks.{block}.")] = value
    kernel = own["conv1.weight"].shape[2]
    state = uniformerv2_state_from_clip(clip, grid=encoder.config.grid[1], kernel_size=kernel)
    assert set(case.meta["loaded_keys"]) <= state.keys()
    assert state.keys() <= own.keys()
    # The list names what loading changed; the bias of the norm is zero before and after.
    assert state.keys() - set(case.meta["loaded_keys"]) <= {"ln_pre.bias"}
    for name in case.group("output."):
        case.assert_close(state[name], f"output.{name}")
    encoder.load_state_dict(state, strict=False)
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in state.items())


def param_groups(case: Case) -> None:
    model = UniFormerV2Classifier(classifier_config(case.meta["config"]))
    named = {f"backbone.{name}": value for name, value in model.named_parameters()}
    names = {id(value): name for name, value in named.items()}
    groups = parameter_groups(named, weight_decay=0.05, undecayed=model.undecayed_names)
    ours = {
        decay: {names[id(p)] for g in groups if g["weight_decay"] == decay for p in g["params"]}
        for decay in (0.0, 0.05)
    }
    expected = {
        decay: {n for g in case.meta["groups"] if g["weight_decay"] == decay for n in g["params"]}
        for decay in (0.0, 0.05)
    }
    assert ours == expected


ADAPTERS = {
    "uniformerv2-k400": classifier,
    "uniformerv2-ssv2": classifier,
    "uniformerv2-lmhra-notd": classifier,
    "uniformerv2-frozen": classifier,
    "uniformerv2-local-block": local_block,
    "uniformerv2-global-block": global_block,
    "uniformerv2-clip-init": clip_init,
    "uniformerv2-param-groups": param_groups,
}
