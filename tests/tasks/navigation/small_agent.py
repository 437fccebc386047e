"""A tiny agent that has learnt nothing, and episodes of two small houses."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from internvideo.models.navigator import Navigator
from internvideo.recipe import load_recipe
from internvideo.simulator.episodes import Episode
from internvideo.simulator.instructions import make_episodes
from internvideo.zoo.kinds.navigation import NAVIGATOR

HOUSES = ("rooms/3-9m.json", "rooms/4-9m.json")


def small_agent(*, critic: bool = False, seed: int = 0) -> Navigator:
    words = load_recipe("world_navigator-nano").model["vocabulary"]
    tiny = NAVIGATOR.tiny["own"]
    policy = replace(
        tiny.policy,
        vocab_size=len(words) + 2,
        max_positions=40,
        max_steps=8,
        critic=critic,
        drop_rate=0.0,
        attention_drop_rate=0.0,
        feature_drop_rate=0.0,
    )
    torch.manual_seed(seed)
    return Navigator(replace(tiny, policy=policy, vocabulary=tuple(words), depth_size=24))


@lru_cache(1)
def small_episodes() -> tuple[Episode, ...]:
    made = make_episodes(HOUSES, 2, brief=True, lengths=(4.0, 9.0))
    return tuple(replace(each, episode_id=str(n)) for n, each in enumerate(made))
