"""A small agent: its words, where it can go, what it learns from, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from internvideo.errors import CheckpointError, ConfigError, DataError
from internvideo.tasks.navigation.task import Navigation, NavigationConfig, build
from internvideo.tasks.parts import Parts
from internvideo.train.task import Progress
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import save_pretrained
from tasks.navigation.small_agent import small_agent, small_episodes

pytest.importorskip("embreex")


def test_instructions_become_ids_and_words_that_were_never_learnt_are_left_out():
    agent = small_agent()
    known, padded = agent.ids(["Left to the RED bed.", "left, please!"])
    assert known.tolist() == agent.ids(["left to the red shiny bed ."])[0].tolist()
    assert padded.count_nonzero() == 3  # the start, "left" and the comma
    for wrong, message in (("", "is empty"), ("  ", "is empty"), ("Prends la porte", "no word")):
        with pytest.raises(DataError, match=message):
            agent.ids([wrong])
    with pytest.raises(DataError, match="at most 39"):
        agent.ids(["left " * 40])


# ---------------------------------------------------------------- learning


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    count = len(small_episodes())
    return {"host_episode": torch.arange(count), "host_seed": torch.tensor([seed] * count)}


def navigation(critic: bool = False, **options) -> Navigation:
    task = Navigation(small_agent(critic=critic), NavigationConfig(max_steps=5, **options))
    task.episodes = small_episodes()
    return task


def test_a_step_is_the_same_by_its_seed_and_reaches_all_weights():
    one, other = navigation(teacher_share=0.5), navigation(teacher_share=0.5)
    found = one.training_loss(batch())
    assert found.keys() == {"loss", "imitation", "naming", "right", "arrived"}
    assert torch.equal(found["loss"], other.training_loss(batch())["loss"])
    assert not torch.equal(found["loss"], other.training_loss(batch(1))["loss"])
    found["loss"].backward()
    silent = [n for n, p in one.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert silent == []
    total = found["imitation"] + 0.5 * found["naming"]
    torch.testing.assert_close(found["loss"].detach(), total)


def test_the_teacher_arrives_and_is_obeyed_less_and_less():
    task = navigation(teacher_share=1.0, naming=0)
    task.config = NavigationConfig(max_steps=12, teacher_share=1.0, naming=0)
    assert task.training_loss(batch())["arrived"] == 1
    task.config = NavigationConfig(teacher_share=0.5, naming=0)
    task.progress = Progress(epoch=3)
    logits, teacher = torch.full((4000, 3), -torch.inf), torch.ones(4000, dtype=torch.long)
    logits[:, 0] = 0
    chosen = task._choose(logits, teacher, torch.Generator().manual_seed(0))
    assert chosen.float().mean() == pytest.approx(0.5**4, abs=0.015)


def test_it_learns_a_few_episodes_by_heart():
    task = navigation(teacher_share=1.0)
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    rights = []
    for step in range(20):
        found = task.training_loss(batch(step))
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        rights.append(float(found["right"]))
    assert np.mean(rights[:2]) < 0.4
    assert np.mean(rights[-3:]) > 0.75


def test_rewards_reinforce_what_led_nearer():
    task = navigation(critic=True, reinforcement=1.0, naming=0)
    for step in range(3):
        found = task.training_loss(batch(step))
        assert "reinforcement" in found
        assert torch.isfinite(found["loss"])
    found["loss"].backward()
    critic = task.model.policy.critic
    assert critic is not None
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())


def parts(**changes) -> Parts:
    agent = small_agent().config
    policy = {"critic": False, **changes.pop("policy", {})}
    from internvideo.config import config_to_dict, merged

    return Parts(
        task="navigation",
        models=("navigation/navigator",),
        model=merged(config_to_dict(agent), {"policy": policy}),
        preprocessing=PRESETS["nano"],
        **changes,
    )


def test_reinforcement_starts_from_an_agent_that_imitates(tmp_path):
    with pytest.raises(ConfigError, match="critic"):
        build(NavigationConfig(reinforcement=0.2), parts())
    folder = save_pretrained(small_agent(seed=3), tmp_path / "agent", preprocessing=PRESETS["nano"])
    task = build(
        NavigationConfig(reinforcement=0.2), parts(policy={"critic": True}, init=str(folder))
    )
    start, own = small_agent(seed=3).state_dict(), task.model.state_dict()
    assert all(torch.equal(own[name], each) for name, each in start.items())
    assert len(own) > len(start)
    with pytest.raises(CheckpointError, match="no agent of this shape"):
        build(NavigationConfig(), parts(policy={"width": 32}, init=str(folder)))
