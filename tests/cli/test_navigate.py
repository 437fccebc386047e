from __future__ import annotations

import json

import pytest

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
