"""Values that no shape of a file shows: epsilons, dropouts, drop paths, temperatures, init scales.

A wrong one changes every number of a released model or of a published training a little, and no
other test notices. So they stand here a second time, each as its paper's code has it, for every
entry of a `SIZES` and every card, and are compared with the built modules.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import pytest
import torch
from torch import nn

import internvideo as iv
from internvideo import models
from internvideo.models import bert, clip_text, uniformerv2
from internvideo.models.bert import BertFusionEncoder
from internvideo.models.clip_text import CLIPTextEncoder
from internvideo.models.layers import DropPath
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.registry import find_cards
from internvideo.zoo.resolve import card_config


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published of a model.

    Attributes:
        epsilons: of the norms whose name in the model matches a pattern; every norm matches one.
        dropouts: of the dropouts whose name matches a pattern; all others have rate 0.
        drop_paths: rate of the last block of a stack, from 0 in equal steps; other stacks have 0.
        drop_path_of_all: where the blocks of all stacks have the same rate.
        stages: stacks whose blocks count as one stack, of the first one's name.
        numbers: fields of the configuration.
    """

    epsilons: Mapping[str, float]
    dropouts: Mapping[str, float] = field(default_factory=dict)
    drop_paths: Mapping[str, float] = field(default_factory=dict)
    drop_path_of_all: float = 0.0
    stages: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


VIDEO_VIT = Published(
    epsilons={".*": 1e-6},
    numbers={"init_values": 0, "drop_rate": 0, "attention_drop_rate": 0, "drop_path_rate": 0},
)
CLASSIFIER = replace(
    VIDEO_VIT, numbers={**VIDEO_VIT.numbers, "init_scale": 0.001, "head_drop_rate": 0}
)
PRETRAINING = Published(
    epsilons={".*": 1e-6}, numbers={"encoder.init_values": 0, "encoder.drop_path_rate": 0}
)
PROBE = replace(PRETRAINING, epsilons={".*": 1e-6})
ACTION_DETECTOR = Published(
    epsilons={".*": 1e-6}, numbers={**VIDEO_VIT.numbers, "roi_size": 7, "roi_stride": 16}
)
DINO = Published(epsilons={".*": 1e-5}, numbers={"position_temperature": 20, "norm_groups": 32})
UNIFORMERV2 = Published(
    epsilons={".*": 1e-5},
    dropouts={r"transformer\.dec\.\d+\.mlp\.drop": 0.5},
    numbers={"drop_path_rate": 0, "global_drop_path_rate": 0, "global_drop_rate": 0.5},
)
UNIFORMERV2_CLASSIFIER = replace(
    UNIFORMERV2,
    dropouts={**UNIFORMERV2.dropouts, r"transformer\.proj\.1": 0.5},
    numbers={**UNIFORMERV2.numbers, "head_drop_rate": 0.5},
)
CLIP = Published(epsilons={".*": 1e-5})
VICLIP = Published(
    epsilons={".*": 1e-5},
    drop_paths={"vision_encoder.transformer.resblocks": 0.1},
    numbers={"temp_init": 0.01, "temp_min": 0.01, "vision.head_drop_rate": 0},
)
INTERNVIDEO_MM = Published(
    epsilons={".*": 1e-5},
    dropouts={r"visual\.transformer\.dec\.\d+\.mlp\.drop": 0.5},
    numbers={"logit_scale_init": math.log(1 / 0.07), "vision.drop_path_rate": 0},
)
BERT = Published(
    epsilons={".*": 1e-12}, dropouts={".*": 0.1}, numbers={"drop_rate": 0.1, "norm_eps": 1e-12}
)


def umt_pretraining(drop_path: float) -> Published:
    return Published(
        epsilons={".*": 1e-6},
        drop_paths={"encoder.blocks": drop_path},
        numbers={"decoder_norm_eps": 1e-6, "encoder.init_values": 0},
    )


def umt_retrieval(drop_path: float) -> Published:
    return Published(
        epsilons={
            r"vision_encoder\.(encoder\..*|pool_norm)": 1e-6,
            r"text_encoder\..*": 1e-12,
        },
        dropouts={r"text_encoder\..*": 0.1},
        drop_paths={"vision_encoder.encoder.blocks": drop_path},
        numbers={"temp_init": 0.07, "temp_min": 0.001, "temp_max": 0.5},
    )


def umt_multimodal(drop_path: float) -> Published:
    published = umt_retrieval(drop_path)
    training = {r"vision_encoder\.clip_decoder\..*": 1e-5, r"clip_teacher\..*": 1e-5}
    return replace(published, epsilons={**published.epsilons, **training})


OBJECT_WORDS = Published(  # EfficientNet-Lite0 and MiniLM; sharpness and temperature are ours
    epsilons={r"image_encoder\..*": 1e-3, r"text_encoder\..*": 1e-12},
    dropouts={r"text_encoder\..*": 0.1},
    numbers={"sharpness": 0.67, "temp_init": 0.2},
)


def actionformer(dropout: float, **numbers: float) -> Published:
    return Published(
        epsilons={".*": 1e-5},
        dropouts={r"backbone\..*": dropout},
        drop_path_of_all=0.1,
        numbers={"drop_path_rate": 0.1, "prior": 0.01, **numbers},
    )


THUMOS = actionformer(0.0, max_length=2304, positions=False)
MOMENT_QUERIES = actionformer(0.1, max_length=1024, positions=True)


def proposals(max_length: int) -> Published:
    return actionformer(0.0, max_length=max_length, positions=True)


VSLNET = Published(  # BERT runs its dropout while training, as in the published code
    epsilons={r"embedding_net\..*": 1e-12, ".*": 1e-6},
    dropouts={r"embedding_net\..*": 0.1, ".*": 0.2},
    numbers={"drop_rate": 0.2, "max_length": 128, "num_heads": 8},
)

# Of an architecture: one row for all its sizes, or a row a size.
PUBLISHED: dict[str, Published | dict[str, Published]] = {
    "videomae/encoder": VIDEO_VIT,
    "videomae/pretraining": PRETRAINING,
    "videomae/classifier": CLASSIFIER,
    "videomae/probe": PROBE,
    "open-set/classifier": replace(
        CLASSIFIER,
        dropouts={"head_drop": 0.5},
        numbers={"num_frames": 32, "head_drop_rate": 0.5, "drop_path_rate": 0},
    ),
    "unmasked-teacher/pretraining": {"b16": umt_pretraining(0.1), "l16": umt_pretraining(0.2)},
    "unmasked-teacher/classifier": CLASSIFIER,
    "unmasked-teacher/multimodal": {"b16": umt_multimodal(0.1), "l16": umt_multimodal(0.2)},
    "unmasked-teacher/retrieval": {"b16": umt_retrieval(0.1), "l16": umt_retrieval(0.2)},
    "unmasked-teacher/teacher": CLIP,
    "uniformerv2": UNIFORMERV2,
    "uniformerv2/classifier": UNIFORMERV2_CLASSIFIER,
    "viclip": VICLIP,
    "openai-clip": VICLIP,
    "internvideo-mm": INTERNVIDEO_MM,
    "internvideo-mm/retrieval": replace(INTERNVIDEO_MM, dropouts={}),
    "internvideo-mm/question-answering": Published(
        epsilons={".*": 1e-5},
        dropouts={
            r"towers\.visual\.transformer\.dec\.\d+\.mlp\.drop": 0.5,
            r"vqa_classifier\.[04]": 0.5,
        },
        numbers={"dropout": 0.5, "towers.vision.drop_path_rate": 0},
    ),
    "object-words": OBJECT_WORDS,
    "actionformer": {
        "thumos-videomae-h": THUMOS,
        "thumos-videomaev2-g": THUMOS,
        "thumos-i3d": THUMOS,
        "anet-videomae-h": proposals(768),
        "anet-tsp": proposals(192),
        "anet-i3d": proposals(192),
        "hacs-videomae-h": proposals(2304),
        "hacs-2560": proposals(2304),
        "fineaction-videomae-h": proposals(192),
        "fineaction-videomaev2-g": proposals(192),
        "epic": THUMOS,
        "ego4d-egovlp": MOMENT_QUERIES,
        "ego4d-omnivore": MOMENT_QUERIES,
        "ego4d-slowfast": MOMENT_QUERIES,
        "ego4d-slowfast-egovlp": MOMENT_QUERIES,
        "ego4d-omnivore-egovlp": MOMENT_QUERIES,
        "ego4d-slowfast-omnivore-egovlp": MOMENT_QUERIES,
    },
    "vslnet": VSLNET,
    "videomae/action-detection": {
        **dict.fromkeys(("S", "B", "L", "H", "g"), ACTION_DETECTOR),
        **dict.fromkeys(
            ("B-acar", "H-acar"),
            replace(ACTION_DETECTOR, dropouts={r"head\.hr2o\.\d+\.dropout": 0.2}),
        ),
    },
    "videomae/anticipation": replace(
        ACTION_DETECTOR, numbers={**ACTION_DETECTOR.numbers, "num_verbs": 74}
    ),
    "uniformer/classifier": Published(
        epsilons={r"blocks[34].*": 1e-6, ".*": 1e-5},  # the others are batch norms, or of patches
        drop_paths={"blocks1": 0.1},
        stages=tuple(f"blocks{stage}" for stage in range(1, 5)),
    ),
    "dino/detector": {
        "uniformer-l": replace(
            DINO,
            epsilons={
                r"backbone\.blocks[12]\.\d+\.norm\d": 1e-5,  # batch norms
                r"backbone\.(blocks[34]\.\d+\.)?norm\d": 1e-6,
                ".*": 1e-5,
            },
            drop_paths={"backbone.blocks1": 0.3},
            stages=tuple(f"backbone.blocks{stage}" for stage in range(1, 5)),
        ),
        "swin-l": replace(
            DINO,
            drop_paths={"backbone.stages.0.blocks": 0.2},
            stages=tuple(f"backbone.stages.{stage}.blocks" for stage in range(4)),
        ),
    },
    "navigation/policy": Published(
        epsilons={r"clip_encoder\..*": 1e-5, r"rgb_encoder\..*": 1e-6, ".*": 1e-12},
        dropouts={"drop_seen": 0.4, r"critic\..*": 0.5, r"vln_bert\..*": 0.1},
        drop_paths={"clip_encoder.model.vision_encoder.transformer.resblocks": 0.1},
        numbers={"feature_drop_rate": 0.4, "attention_drop_rate": 0.1, "max_steps": 50},
    ),
    "navigation/navigator": Published(epsilons={".*": 1e-12}, dropouts={".*": 0.0}),
    "navigation/waypoints": Published(
        epsilons={".*": 1e-12}, dropouts={r".*attention\.self.*": 0.1, ".*": 0.3}
    ),
    "navigation/depth": Published(epsilons={}, numbers={"norm_groups": 16}),
    # What the paper leaves open is chosen here, but for the dropout before the heads.
    "internvideo": Published(
        epsilons={r"(multimodal|third)\..*": 1e-5, ".*": 1e-6},
        dropouts={
            "drop": 0.9,
            r"(multimodal|third)\.transformer\.(dec\.\d+\.mlp\.drop|proj\.1)": 0.5,
        },
        numbers={"head_drop_rate": 0.9, "stages": 4, "mlp_ratio": 4, "head_dim": 64},
    ),
    "bert": BERT,
    "clip-text": CLIP,
}
# The models that the package holds, trained by its own recipes.
EMBEDDED = {
    "videomae-nano": Published(
        epsilons={r"stem\..*": 1e-5, ".*": 1e-6}, numbers={"init_scale": 1, "head_drop_rate": 0}
    ),
    "videomae-nano-pretrain": replace(
        PRETRAINING, epsilons={r"encoder\.stem\..*": 1e-5, ".*": 1e-6}
    ),
    "viclip-nano": Published(
        epsilons={r"vision_encoder\.encoder\.(blocks.*|norm)": 1e-6, ".*": 1e-5},
        numbers={"temp_init": 0.07, "temp_min": 0.01},
    ),
    "mm-nano": Published(
        epsilons={r"visual\.encoder\.(blocks.*|norm)": 1e-6, ".*": 1e-5},
        numbers={"logit_scale_init": math.log(1 / 0.07)},
    ),
    "qa-nano": Published(
        epsilons={r"visual\.encoder\.(blocks.*|norm)": 1e-6, ".*": 1e-5},
        numbers={"logit_scale_init": math.log(1 / 0.07)},
    ),
    "navigator-nano": Published(epsilons={".*": 1e-12}, dropouts={".*": 0.0}),
    "moments-nano": actionformer(0.1, max_length=256, positions=False),
    "internvideo-nano": Published(
        epsilons={r"(masked|multimodal)\.stem\..*": 1e-5, ".*": 1e-6},
        numbers={"stages": 4, "head_drop_rate": 0, "mlp_ratio": 4, "head_dim": 64},
    ),
}
MODELS: dict[str, tuple[Any, Mapping[str, Any]]] = {
    # (an architecture without sizes is another library's: its configuration says everything)
    **{kind.id: (kind.model, kind.sizes) for kind in ARCHITECTURES if kind.sizes},
    "uniformerv2": (UniFormerV2, uniformerv2.SIZES),
    "bert": (BertFusionEncoder, bert.SIZES),
    "clip-text": (CLIPTextEncoder, clip_text.SIZES),
}
SIZES = [(kind, size) for kind, (_, sizes) in MODELS.items() for size in sizes]


def row(kind: str, size: str) -> Published:
    published = PUBLISHED[kind]
    return published if isinstance(published, Published) else published[size]


def built(kind: str, config: Any) -> nn.Module:
    with torch.device("meta"):
        return MODELS[kind][0](config)


def epsilons(model: nn.Module) -> dict[str, float]:
    norms = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return {name: m.eps for name, m in model.named_modules() if isinstance(m, norms)}


def dropouts(model: nn.Module) -> dict[str, float]:
    """Return the rates of the layers, and of the attentions that drop their weights themselves."""
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    for name, module in model.named_modules():
        for attribute in ("drop_rate", "attention_drop_rate"):
            if isinstance(getattr(module, attribute, None), float):
                rates[f"{name}.{attribute}"] = getattr(module, attribute)
    return rates


def drop_paths(model: nn.Module) -> dict[str, list[float]]:
    """Return the rates of the blocks of each stack."""
    stacks: dict[str, dict[int, float]] = defaultdict(dict)
    for name, module in model.named_modules():
        if isinstance(module, DropPath):
            stack, index, _ = name.rsplit(".", 2)
            assert stacks[stack].setdefault(int(index), module.rate) == module.rate
    return {stack: list(rates.values()) for stack, rates in stacks.items()}


def assert_published(model: nn.Module, config: Any, published: Published) -> None:
    for values, patterns, default in (
        (epsilons(model), published.epsilons, None),
        (dropouts(model), published.dropouts, 0.0),
    ):
        for name, value in values.items():
            fitting = [each for each in patterns if re.fullmatch(each, name)]
            assert fitting or default is not None, f"nothing is published of {name}"
            assert value == (patterns[fitting[0]] if fitting else default), name
        for pattern in patterns:
            assert any(re.fullmatch(pattern, name) for name in values), f"no layer is {pattern}"
    stacks = drop_paths(model)
    for stage in published.stages[1:]:
        stacks[published.stages[0]] += stacks.pop(stage)
    assert published.drop_paths.keys() <= stacks.keys()
    for stack, rates in stacks.items():
        first = published.drop_path_of_all
        last = published.drop_paths.get(stack, first)
        steps = torch.linspace(first, last, len(rates), dtype=torch.float64)
        assert rates == pytest.approx(steps.tolist(), abs=1e-12), stack
    for name, value in published.numbers.items():
        assert reduce(getattr, name.split("."), config) == pytest.approx(value), name


def test_every_size_and_every_architecture_has_a_row():
    assert PUBLISHED.keys() == MODELS.keys()
    listed = [sizes for _, sizes in MODELS.values()]
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        sizes = getattr(importlib.import_module(module.name), "SIZES", None)
        assert sizes is None or sizes in listed, f"{module.name}.SIZES has no row"
    assert EMBEDDED.keys() == {card.name for card in find_cards() if card.embedded}


@pytest.mark.parametrize(("kind", "size"), SIZES, ids=["-".join(each) for each in SIZES])
def test_sizes_are_as_published(kind, size):
    config = MODELS[kind][1][size]
    assert_published(built(kind, config), config, row(kind, size))


def test_cards_are_as_published():
    seen = set()  # a card differs from others most often by its classes alone
    for card in find_cards():
        if card.embedded or not card.is_available:
            continue
        config = card_config(card)
        built_alike = replace(config, num_classes=1) if hasattr(config, "num_classes") else config
        if (card.architecture, built_alike) not in seen:
            seen.add((card.architecture, built_alike))
            published = row(card.architecture, card.size)
            assert_published(built(card.architecture, built_alike), config, published)
    assert len(seen) > 40


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_as_they_were_trained(name):
    model = iv.load(name).model
    assert_published(model, model.config, EMBEDDED[name])
