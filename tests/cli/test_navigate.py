from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.cli.navigate import find_episode
from internvideo.errors import ConfigError, DataError
from internvideo.simulator.episodes import write_episodes
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import save_pretrained
from tasks.navigation.small_agent import HOUSES, small_agent, small_episodes

pytest.importorskip("embreex")


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent")
    return save_pretrained(small_agent(), folder, preprocessing=PRESETS["nano"])


def test_navigate_tells_the_outcome_in_a_line(agent, tmp_path, call):
    where = (
        "--scene",
        HOUSES[0],
        "--start",
        ",".join(map(str, small_episodes()[0].start_position[::2])),
    )
    line = ("navigate", "-m", agent, "-i", "left to the red bed", *where, "--max-steps", 2)
    code, told, errors = call(*line, "-o", tmp_path / "walk")
    assert code == 0, errors
    assert told.count("\n") == 1
    assert "left to the red bed" in told
    assert {each.name for each in (tmp_path / "walk").iterdir()} == {
        "map.png", "walk.mp4", "choices.png", "walk.json",
    }  # fmt: skip
    code, told, _ = call(*line, "-o", tmp_path / "walk", "--json")
    assert len(json.loads(told)["files"]) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-i", "  "), "instruction"),
        (("-i", "left", "--scene", "rooms/x.json"), "rooms/x.json"),
        (("-i", "left", "--scene", HOUSES[0], "--start", "0,0"), "stand"),
        (("-i", "left", "--start", "somewhere"), "X,Z"),
        (("-i", "left " * 60, "--scene", HOUSES[0], "--start", "4,4"), "shorten"),
        (("--seed", "3", "--scene", HOUSES[0]), "--seed"),
    ],
)
def test_bad_input_is_named(agent, tmp_path, call, options, said):
    code, told, errors = call("navigate", "-m", agent, "-o", tmp_path / "walk", *options)
    assert code == 2
    assert said in (told + errors).replace("\n", " ")


def test_a_user_says_where_and_what(tmp_path):
    own = find_episode(None, scene="rooms/3.json")
    assert own.goal is not None
    assert find_episode(None, seed=3) == own
    assert find_episode("left to the bed", seed=3).goal is None
    placed = find_episode("left", scene=HOUSES[0], start=own.start_position[::2], heading=90)
    assert placed.start_yaw == pytest.approx(np.pi / 2)
    path = tmp_path / "val.json.gz"
    write_episodes(path, small_episodes())
    assert find_episode(None, episodes=path, episode="2").instruction == (
        small_episodes()[2].instruction
    )
    wrong = (
        ({"episodes": path, "episode": "99"}, DataError),
        ({"episodes": path, "scene": "rooms/3.json"}, ConfigError),
        ({"episode": "1"}, ConfigError),
        ({"heading": 3.0}, ConfigError),
        ({"start": (1.0, 1.0)}, ConfigError),
        ({"scene": "nowhere.glb"}, ConfigError),
        ({"scene": "rooms/x.json"}, DataError),
    )
    for options, error in wrong:
        with pytest.raises(error):
            find_episode(None, **options)
