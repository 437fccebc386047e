from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

import internvideo.zoo
from internvideo.config import (
    ByKind,
    Fraction,
    StrictModel,
    config_class,
    config_from_dict,
    config_to_dict,
    validate,
)
from internvideo.errors import ConfigError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import SIZES, ViCLIPConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig
from internvideo.recipe import Recipe
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig
from internvideo.zoo.architectures import ARCHITECTURES, find_architecture

STORED = sorted(Path(internvideo.zoo.__file__).parent.glob("weights/*/config.json"))
TEXT = CLIPTextConfig(vocab_size=6, context_length=8, width=16, depth=1, num_heads=2, embed_dim=4)
NANO = ViCLIPConfig(
    vision=VideoViTConfig(
        image_size=32, patch_size=32, width=16, num_heads=2, stem=ConvStemConfig()
    ),
    text=TEXT,
    embed_dim=4,
    vocabulary=("red", "star"),
    projection_norm="batch",
    temp_init=0.07,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class InnerConfig:
    size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterConfig:
    rate: float
    name: str | None = None
    flag: bool = False
    choice: Literal["x", "y"] = "x"
    pair: tuple[int, float] = (1, 2.0)
    items: tuple[InnerConfig, ...] = ()
    inner: InnerConfig | None = None


@pytest.mark.parametrize(
    "config",
    [
        *(size for each in ARCHITECTURES for size in each.sizes.values()),
        NANO,
        VideoViTConfig(),
        OuterConfig(
            rate=0.5, items=(InnerConfig(), InnerConfig(size=3)), inner=InnerConfig(size=2)
        ),
    ],
)
def test_through_json_and_back(config):
    data = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(type(config), data) == config


def test_a_union_is_marked_by_its_kind():
    assert config_to_dict(SIZES["b16"])["vision"]["kind"] == "ViCLIPVision"
    assert config_to_dict(NANO)["vision"]["kind"] == "VideoViT"
    assert "kind" not in config_to_dict(NANO)["text"]
    assert isinstance(config_from_dict(ViCLIPConfig, config_to_dict(NANO)).vision, VideoViTConfig)


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.parent.name)
def test_stored_configurations_are_written_as_they_were_read(file):
    stored = json.loads(file.read_text())
    kind = find_architecture(stored["kind"]).config
    config = config_from_dict(kind, stored["config"])
    written = json.loads(json.dumps(config_to_dict(config)))
    assert shared_with(stored["config"], written) == stored["config"]
    # what is new since then has its default
    assert config_from_dict(kind, written) == config


def shared_with(old, new):
    """Return what a newer dictionary says under the keys of an older one."""
    return {
        key: shared_with(value, new[key]) if isinstance(value, dict) else new[key]
        for key, value in old.items()
    }


def changed(**changes) -> dict:
    return {**config_to_dict(NANO), **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            changed(projektion_norm="none"),
            r"^ViCLIP: unknown key 'projektion_norm'\. Did you mean 'projection_norm'",
        ),
        (changed(text={"widths": 3}), r"unknown key 'text.widths'\. Did you mean 'width'"),
        (
            changed(vision={"kind": "VideoVit"}),
            r"'vision.kind': 'VideoVit' is not one of 'ViCLIPVision', .*mean 'VideoViT'",
        ),
        (
            changed(vision={"kind": "VideoViT", "stem": {"chanels": [3]}}),
            r"unknown key 'vision.stem.chanels'\. Did you mean 'channels'",
        ),
        (changed(vision={"kind": "VideoViT", "stem": {"channels": 3}}), "'vision.stem.channels'"),
        (changed(vision={"width": 3}), "the key 'vision.kind' is missing"),
        (changed(text={"width": "wide"}), r"'text\.width': .*integer, got 'wide'"),
        (changed(text={"width": "16"}), r"'text\.width': .*integer, got '16'"),
        (changed(text={"width": True}), r"'text\.width': .*integer, got True"),
        (changed(temp_init=True), "'temp_init': .*number, got True"),
        (changed(text={"width": 15, "num_heads": 2}), "'text': width 15 is not a multiple"),
        (changed(temp_min=-1), "^ViCLIP: need 0 < temp_min"),
        (changed(pool="meam"), r"'pool': expected 'mean', 'max' or 'mean.max', .*mean 'mean'"),
        (changed(vocabulary="red star"), "'vocabulary': .*'red star'"),
        (changed(vocabulary=["red", 3]), r"'vocabulary\.1': .*string, got 3"),
        ({"embed_dim": 4}, "the key 'vision' is missing; the key 'text' is missing"),
        (changed(text=7), "'text': .*7"),
        (changed(text={1, 2}), "not plain data: .* set"),
    ],
)
def test_complaints_name_the_path(data, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_dict(ViCLIPConfig, data)
    assert "\n" not in str(caught.value)


def test_a_complaint_names_the_source():
    with pytest.raises(ConfigError, match=r"^here: the key 'rate'"):
        config_from_dict(OuterConfig, {}, source="here")


def test_numbers_and_tuples():
    config = config_from_dict(OuterConfig, {"rate": 1, "pair": [3, 4]})
    assert isinstance(config.rate, float)
    assert config.pair == (3, 4.0)
    with pytest.raises(ConfigError, match=r"'pair': .*\[1, 2, 3\]"):
        config_from_dict(OuterConfig, {"rate": 1, "pair": [1, 2, 3]})
    with pytest.raises(ConfigError, match=r"unknown key 'items\.1\.sizes'. Did you mean 'size'"):
        config_from_dict(OuterConfig, {"rate": 1, "items": [{"size": 1}, {"sizes": 2}]})


# --- sections of recipes, which are checked by the constructor as well ---------------------------


@config_class
class MaskedConfig:
    kind: Literal["masked"] = "masked"
    ratio: Annotated[float, Field(ge=0, le=1, description="share of the tokens")] = 0.9
    inner: InnerConfig = InnerConfig()


@config_class
class ProbeConfig:
    kind: Literal["probe"] = "probe"
    head: Literal["linear", "attentive"]
    dropout: Fraction = 0.0
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        if self.head == "linear" and self.dropout:
            raise ValueError("a linear head has no dropout")


@config_class
class DeepProbeConfig(ProbeConfig):
    depth: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class EitherConfig:
    first: Annotated[InnerConfig | ProbeConfig, ByKind()]


class Run(StrictModel):
    task: Annotated[MaskedConfig | ProbeConfig, Field(discriminator="kind")]
    optim: OptimConfig = OptimConfig()


def test_sections_are_the_data_of_a_run():
    run = validate(Run, {"task": {"kind": "probe", "head": "linear"}}, source="x.yaml")
    assert run.task == ProbeConfig(head="linear")
    assert (
        validate(Run, {"task": {"kind": "masked", "ratio": "1e-3"}}, source="x").task.ratio == 1e-3
    )
    assert run.model_dump(mode="json")["task"] == {**config_to_dict(run.task)}
    assert validate(Run, run.model_dump(mode="json"), source="x.yaml") == run
    assert Run(task=run.task) == run
    schema = Run.model_json_schema()["$defs"]["MaskedConfig"]["properties"]
    assert schema["ratio"]["description"] == "share of the tokens"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"kind": "masked", "ratios": 1}, r"^x.yaml: unknown key 'task.ratios'. .*'ratio'\?$"),
        ({"kind": "masked", "ratio": 2}, r"'task.ratio': .*less than or equal to 1, got 2"),
        ({"kind": "masked", "inner": {"siz": 3}}, r"unknown key 'task.inner.siz'. .*'size'"),
        ({"kind": "probe"}, r"the key 'task.head' is missing"),
        ({"kind": "probe", "head": "linea"}, r"'task.head': .*'attentive'.*'linea'. .*'linear'\?$"),
        ({"kind": "probe", "head": "linear", "dropout": 1}, "'task': a linear head has no dropout"),
        (
            {"kind": "mask"},
            r"'task.kind': 'mask' is not one of .*'probe'. Did you mean 'masked'\?$",
        ),
        ({"ratio": 0.5}, "the key 'task.kind' is missing"),
        (3, "'task': .*3"),
    ],
)
def test_sections_are_refused_by_their_keys(task, message):
    with pytest.raises(ConfigError, match=message):
        validate(Run, {"task": task}, source="x.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "linea"}, r"^ProbeConfig: 'head': .*'linea'. Did you mean 'linear'\?$"),
        ({"head": "attentive", "dropout": 1.5}, "'dropout': .*1.5"),
        ({"head": "attentive", "dropout": float("nan")}, "'dropout'"),
        ({"head": "attentive", "betas": (1, 2, 3)}, r"'betas'"),
        ({"head": "linear", "dropout": 0.5}, "^ProbeConfig: a linear head has no dropout$"),
        ({"head": "linear", "drop_out": 0.5}, r"unknown key 'drop_out'. Did you mean 'dropout'"),
        ({}, "the key 'head' is missing"),
    ],
)
def test_a_section_checks_what_its_constructor_gets(values, message):
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**values)


def test_a_section_is_a_dataclass_like_others():
    config = ProbeConfig(head="attentive", dropout=1)
    assert repr(config).startswith("ProbeConfig(kind='probe', head='attentive', dropout=1.0")
    assert {config, replace(config)} == {config}
    assert pickle.loads(pickle.dumps(config)) == config
    assert config_from_dict(ProbeConfig, config_to_dict(config)) == config
    assert replace(config, betas=[1, 0.5]).betas == (1.0, 0.5)
    assert not hasattr(config, "__dict__")
    with pytest.raises(FrozenInstanceError):
        config.head = "linear"
    with pytest.raises(ConfigError, match="'dropout'"):
        replace(config, dropout=3)
    with pytest.raises(ConfigError, match=r"^DeepProbeConfig: 'depth'"):
        DeepProbeConfig(head="linear", depth="deep")
    either = EitherConfig(first=InnerConfig(size=2))
    assert config_to_dict(either) == {"first": {"kind": "Inner", "size": 2}}
    assert config_from_dict(EitherConfig, config_to_dict(either)) == either


# --- recipes -------------------------------------------------------------------------------------

RECIPE = {"name": "x", "task": {"kind": "masked"}, "model": {}, "data": {"kind": "world"}}


def test_a_complaint_has_the_keys_that_the_user_wrote_once():
    with pytest.raises(ConfigError) as caught:
        validate(ScheduleConfig, {"epochs": 0}, source="x.yaml")
    assert str(caught.value) == "x.yaml: 'epochs': expected greater than 0, got 0"
    with pytest.raises(ConfigError, match=r"x.yaml: 'batch_size'.*got 0"):
        validate(RuntimeConfig, {"batch_size": 0}, source="x.yaml")
    with pytest.raises(ConfigError, match=r"the key 'data.num_clips' is missing"):
        validate(Recipe, RECIPE, source="x.yaml")
    part = {"data": {"kind": "world", "num_clips": -1}}
    mix = {**RECIPE, "data": {"kind": "mix", "sources": [part]}}
    with pytest.raises(ConfigError, match=r"'data.sources.0.data.num_clips'.*got -1"):
        validate(Recipe, mix, source="x.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, r"unknown key 'batch_size'. Did you mean 'runtime.batch_size'\?$"),
        ({"lr": 4}, r"unknown key 'lr'. Did you mean 'optim.lr'\?$"),
        ({"optim": {"ema": 0.9}}, r"unknown key 'optim.ema'. Did you mean 'ema_decay'"),
        ({"optim": {"weight_decai": 0.1}}, r"unknown key 'optim.weight_decai'.*'weight_decay'"),
        ({"qqq": 1}, r"unknown key 'qqq'$"),
    ],
)
def test_suggestions_are_keys_of_the_same_group_or_say_where(changes, message):
    recipe = {**RECIPE, "data": {"kind": "world", "num_clips": 8}, **changes}
    with pytest.raises(ConfigError, match=message):
        validate(Recipe, recipe, source="x.yaml")
