"""A small agent: its words, where it can go, what it learns from, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from internvideo.errors import CheckpointError, ConfigError, DataError
from internvideo.models.waypoints import NUM_VIEWS, Waypoints
from internvideo.simulator.backend import Sensors
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.tasks.navigation.candidates import free_ways, obstacles, open_waypoints
from internvideo.tasks.navigation.moves import walk
from internvideo.tasks.navigation.task import Navigation, NavigationConfig, build
from internvideo.tasks.parts import Parts
from internvideo.train.task import Progress
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import save_pretrained
from tasks.navigation.small_agent import HOUSES, small_agent, small_episodes

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


# ---------------------------------------------------------------- where it can go


def depth_of_a_hall(metres: float, size: int = 24) -> torch.Tensor:
    """Return what one sees in the middle of a round hall without furniture."""
    across = torch.tan(torch.tensor(math.pi / 4)) * ((torch.arange(size) + 0.5) / size * 2 - 1)
    planar = metres / torch.hypot(across, torch.ones(()))
    walls = planar.expand(size, size)
    floor = torch.where(across > 0, 1.25 / across.clamp(min=1e-6), torch.inf)[:, None]
    return torch.minimum(walls, floor).expand(1, NUM_VIEWS, size, size)


def test_obstacles_are_where_the_walls_are():
    nearest = obstacles(depth_of_a_hall(4.0))
    torch.testing.assert_close(nearest, torch.full_like(nearest, 4.0), rtol=1e-3, atol=0)
    ways = free_ways(nearest)
    assert ((ways > 3.5) & (ways < 3.9)).all()
    (places,) = open_waypoints(depth_of_a_hall(4.0), most=6)
    assert len(places.angles) == 6
    assert (places.metres == 3.0).all()
    apart = places.angles[:, None] - places.angles + 120 * torch.eye(6, dtype=torch.long)
    assert torch.minimum(apart % 120, -apart % 120)[~torch.eye(6, dtype=torch.bool)].min() >= 6


def test_an_agent_in_a_nook_still_has_a_way():
    (places,) = open_waypoints(depth_of_a_hall(0.25), most=6)
    assert len(places.angles) == 1
    assert places.metres.tolist() == [0.25]


def test_waypoints_in_houses_can_be_walked_to():
    backend, rng = EmbeddedBackend(), np.random.default_rng(0)
    backend.load(HOUSES[0])
    short = []
    for _ in range(12):
        start, yaw = backend.random_point(rng), float(rng.uniform(0, 6))
        seen = backend.render(start, yaw, Sensors(rgb=0, depth=24)).depth[None, ..., 0]
        (places,) = open_waypoints(torch.from_numpy(seen) * 10, most=6)
        for angle, metres in zip(places.turns.tolist(), places.metres.tolist(), strict=True):
            end, _ = walk(backend, start, yaw, angle, metres).end
            short.append(metres - math.dist(start, end))
    assert np.mean(np.array(short) < 0.3) > 0.9


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


def test_waypoints_become_actions_to_the_left():
    places = Waypoints(torch.tensor([30, 90]), torch.tensor([3, 11]))
    assert places.turns.tolist() == pytest.approx([1.5 * math.pi, 0.5 * math.pi])
    assert places.metres.tolist() == [1.0, 3.0]
