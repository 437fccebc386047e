"""Navigation: policies, the predictor of waypoints, the depth encoder, and whole small agents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from internvideo.models import classifier, depth_resnet, navigation, navigator, waypoints
from internvideo.models.depth_resnet import DepthResNet, DepthResNetConfig
from internvideo.models.navigation import EncodersConfig, NavigationPolicy, NavigationPolicyConfig
from internvideo.models.navigator import Navigator, NavigatorConfig
from internvideo.models.waypoints import WaypointPredictor, WaypointPredictorConfig
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import viclip, videomae
from internvideo.zoo.layouts import Layout, OnlyTheirs, Rename
from internvideo.zoo.shapes import (
    Shapes,
    below,
    depth_of,
    heads_of,
    most_common,
    required,
    with_fields,
)
from internvideo.zoo.tables import OPENAI_CLIP

__all__ = ["DEPTH", "NAVIGATOR", "POLICY", "WAYPOINTS"]

_DEPTH_ENCODER, _VIDEO, _CLIP = (
    "depth_encoder.visual_encoder.",
    "rgb_encoder.model.",
    "clip_encoder.model.",
)
_TEXT = "vln_bert.embeddings"

POLICY_FILES = OPENAI_CLIP.below(_CLIP)
"""Of the released policies, which hold a whole CLIP under its own names."""

_DD_PPO = Layout(
    (
        Rename("actor_critic.net.visual_encoder.{rest}", "{rest}"),
        *(
            OnlyTheirs(f"actor_critic.{part}.{{rest}}")
            for part in (
                "net.prev_action_embedding",
                "net.tgt_embeding",
                "net.visual_fc",
                "net.state_encoder",
                "action_distribution",
                "critic",
            )
        ),
    )
)
"""Of the files of DD-PPO, whose own policy is left out."""


def _heads(width: int, base: int, base_width: int) -> int:
    return base if width == base_width else heads_of(width, {})


def _infer_depth(shapes: Shapes, base: Any) -> DepthResNetConfig:
    base = base or depth_resnet.SIZES["resnet50"]
    width = required(shapes, r"backbone\.conv1\.0\.weight", 0, "width of the depth encoder")
    channels = required(shapes, r"compression\.0\.weight", 0, "channels of the depth map")
    side = next((n for n in range(1, 17) if round(2048 / n**2) == channels), 4)
    groups = base.norm_groups if width % base.norm_groups == 0 else max(width // 2, 1)
    return with_fields(base, {"width": width, "image_size": 64 * side, "norm_groups": groups})


def _infer_waypoints(shapes: Shapes, base: Any) -> WaypointPredictorConfig:
    base = base or waypoints.SIZES["released"]
    width = required(shapes, r"vis_classifier\.0\.weight", 0, "width of the predictor")
    layer = r"waypoint_TRM\.bert\.encoder\.layer"
    return with_fields(
        base,
        {
            "depth_features": required(
                shapes, r"visual_fc_depth\.1\.weight", 1, "numbers of a depth map"
            ),
            "width": width,
            "depth": depth_of(shapes, layer),
            "num_heads": _heads(width, base.num_heads, base.width),
            "mlp_hidden": required(
                shapes, rf"{layer}\.\d+\.intermediate\.dense\.weight", 0, "width of the MLPs"
            ),
        },
    )


def _infer_policy(shapes: Shapes, base: Any) -> NavigationPolicyConfig:
    base = base or _released("base")
    width = required(shapes, r"rgb_projection\.weight", 0, "width of the policy")
    encoders = None
    if below(shapes, _DEPTH_ENCODER):
        encoders = EncodersConfig(
            depth=_infer_depth(below(shapes, _DEPTH_ENCODER), None),
            video=videomae.CLASSIFIER.infer(below(shapes, _VIDEO), None),
            image=viclip.IMAGE_CLIP.infer(below(shapes, _CLIP), None),
        )
    joined = required(shapes, r"rgb_embedding_projection\.weight", 1, "width of the features")
    image = encoders.image.embed_dim if encoders else min(base.image_width, joined - 1)
    layers = r"vln_bert\.encoder"
    fields = {
        "vocab_size": required(shapes, rf"{_TEXT}\.word_embeddings\.weight", 0, "vocabulary"),
        "max_positions": required(shapes, rf"{_TEXT}\.position_embeddings\.weight", 0, "length"),
        "width": width,
        "num_heads": _heads(width, base.num_heads, base.width),
        "mlp_hidden": required(
            shapes, rf"{layers}\.x_layers\.\d+\.lang_inter\.dense\.weight", 0, "width of the MLPs"
        ),
        "language_depth": depth_of(shapes, rf"{layers}\.layer"),
        "panorama_depth": depth_of(shapes, r"vln_bert\.hist_embeddings\.pano_encoder\.layer"),
        "cross_depth": depth_of(shapes, rf"{layers}\.x_layers"),
        "max_steps": required(
            shapes, r"vln_bert\.hist_embeddings\.position_embeddings\.weight", 0, "longest episode"
        ),
        "video_width": joined - image,
        "image_width": image,
        "depth_width": required(
            shapes, r"vln_bert\.img_embeddings\.dep_linear\.weight", 1, "width of the depths"
        ),
        "critic": most_common(shapes, r"critic\.state2value\.0\.weight", 0) is not None,
        "encoders": encoders,
    }
    return with_fields(base, fields)


def _infer_navigator(shapes: Shapes, base: Any) -> NavigatorConfig:
    base = base or navigator.SIZES["nano"]
    convolutions = below(shapes, "sight.layers.")
    channels = tuple(
        required(convolutions, rf"{layer}\.0\.weight", 0, "channels of the eyes")
        for layer in range(sum(name.endswith(".0.weight") for name in convolutions))
    )
    places = required(shapes, r"sight\.out\.weight", 1, "size of what the eyes see")
    side = round((places / channels[-1]) ** 0.5) << len(channels)
    policy = _infer_policy(below(shapes, "policy."), base.policy)
    fields = {"channels": channels, "image_size": side, "policy": policy}
    return with_fields(base, fields)


def _released(size: str) -> NavigationPolicyConfig:
    config = navigation.RELEASED[size]
    video = classifier.SIZES["B" if size == "base" else "L"]
    return replace(
        config,
        critic=True,
        encoders=EncodersConfig(
            depth=depth_resnet.SIZES["resnet50"],
            video=replace(video, num_classes=400),
            image=viclip.IMAGE_CLIP.sizes["b32"],
        ),
    )


def _policy_traits(config: NavigationPolicyConfig) -> dict[str, Any]:
    return {
        "width": config.width,
        "depths": (config.language_depth, config.panorama_depth, config.cross_depth),
        "video_width": config.video_width,
        "encoders": config.encoders is not None,
    }


_TINY = NavigationPolicyConfig(
    vocab_size=20,
    max_positions=16,
    width=16,
    num_heads=2,
    mlp_hidden=24,
    language_depth=1,
    panorama_depth=1,
    cross_depth=2,
    max_steps=4,
    video_width=12,
    image_width=8,
    depth_width=6,
)

POLICY = Architecture(
    id="navigation/policy",
    model=NavigationPolicy,
    config=NavigationPolicyConfig,
    sizes={size: _released(size) for size in navigation.RELEASED},
    tiny={"policy": _TINY},
    tables={"official": POLICY_FILES},
    infer=_infer_policy,
    traits=_policy_traits,
    preset="videomae-kinetics",
    unseen=lambda _: ("num_heads", "view_order", "image_width"),
)

NAVIGATOR = Architecture(
    id="navigation/navigator",
    model=Navigator,
    config=NavigatorConfig,
    sizes=navigator.SIZES,
    tiny={
        "own": NavigatorConfig(
            policy=replace(_TINY, vocab_size=5, video_width=16, image_width=0, depth_width=16),
            vocabulary=("go", "left", "stop"),
            image_size=16,
            depth_size=16,
            channels=(8, 8),
        )
    },
    tables={"official": Layout()},
    infer=_infer_navigator,
    traits=lambda config: {"width": config.policy.width, "channels": config.channels},
    preset="nano",
    unseen=lambda _: ("num_heads", "vocabulary", "depth_size", "most"),
)

WAYPOINTS = Architecture(
    id="navigation/waypoints",
    model=WaypointPredictor,
    config=WaypointPredictorConfig,
    sizes=waypoints.SIZES,
    tiny={
        "predictor": WaypointPredictorConfig(
            depth_features=8, width=16, depth=2, num_heads=2, mlp_hidden=24
        )
    },
    tables={"official": Layout()},
    infer=_infer_waypoints,
    traits=lambda config: {"width": config.width, "depth": config.depth},
    preset="videomae-kinetics",
    unseen=lambda _: ("num_heads",),
)

DEPTH = Architecture(
    id="navigation/depth",
    model=DepthResNet,
    config=DepthResNetConfig,
    sizes=depth_resnet.SIZES,
    tiny={"resnet": DepthResNetConfig(image_size=64, width=4, norm_groups=2)},
    tables={"official": Layout(), "dd-ppo": _DD_PPO},
    infer=_infer_depth,
    traits=lambda config: {"width": config.width, "image_size": config.image_size},
    preset="videomae-kinetics",
    unseen=lambda _: ("norm_groups",),
)
