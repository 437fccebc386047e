from __future__ import annotations

import pytest

from internvideo.errors import ConfigError
from internvideo.recipe import Recipe
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig, validate

RECIPE = {"name": "x", "task": {"kind": "masked"}, "model": {}, "data": {"kind": "world"}}


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown key 'weight_decai'.*'weight_decay'"):
        validate(OptimConfig, {"weight_decai": 0.1}, source="x.yaml")


def test_a_bad_value_says_which_and_what():
    with pytest.raises(ConfigError, match=r"x.yaml: 'batch_size'.*got 0"):
        validate(RuntimeConfig, {"batch_size": 0}, source="x.yaml")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (OptimConfig, {"lr": float("inf")}),
        (OptimConfig, {"betas": [1.5, 0.9]}),
        (ScheduleConfig, {"epochs": float("inf")}),
        (ScheduleConfig, {"warmup_epochs": float("inf")}),
        (RuntimeConfig, {"seed": -1}),
        (RuntimeConfig, {"seed": 2**32}),
    ],
)
def test_numbers_that_no_run_can_use_are_refused(kind, values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        validate(kind, values, source="x.yaml")


def test_a_complaint_has_the_keys_that_the_user_wrote_once():
    with pytest.raises(ConfigError) as caught:
        validate(ScheduleConfig, {"epochs": 0}, source="x.yaml")
    assert str(caught.value) == "x.yaml: 'epochs': Input should be greater than 0 (got 0)"
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
        ({"optim": {"ema": 0.9}}, r"unknown key 'optim.ema'. Did you mean 'ema_decay' or 'betas'"),
        ({"qqq": 1}, r"unknown key 'qqq'$"),
    ],
)
def test_suggestions_are_keys_of_the_same_group_or_say_where(changes, message):
    recipe = {**RECIPE, "data": {"kind": "world", "num_clips": 8}, **changes}
    with pytest.raises(ConfigError, match=message):
        validate(Recipe, recipe, source="x.yaml")
