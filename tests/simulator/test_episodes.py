"""Episode files, generated episodes, and what makes an episode unusable."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.environment import check_episode
from internvideo.simulator.episodes import (
    Episode,
    read_episodes,
    read_truth,
    write_episodes,
    write_leader_board,
    write_truth,
)
from internvideo.simulator.instructions import make_episodes
from internvideo.simulator.metrics import average, measure
from internvideo.simulator.moves import follow

REAL = Path(__file__).parents[4] / "shared" / "real" / "vln" / "r2r-ce"


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return make_episodes(["rooms/1.json", "rooms/2.json"], 2)


@pytest.fixture(scope="module")
def backend() -> EmbeddedBackend:
    return EmbeddedBackend()


def test_the_same_seed_makes_the_same_episodes(episodes):
    again = make_episodes(["rooms/1.json", "rooms/2.json"], 2)
    assert again == episodes
    assert make_episodes(["rooms/1.json"], 2, seed=1) != episodes[:2]


def test_instructions_name_the_rooms_of_the_true_path(episodes, backend):
    for episode in episodes:
        backend.load(episode.scene_id)
        house = backend.scene.house
        assert house is not None
        crossed = [house.room_at(x, z) for x, _, z in backend.shortest_path(
            np.array(episode.start_position), np.array(episode.goal))]  # fmt: skip
        assert house.rooms[crossed[-1]].name in episode.instruction
        assert 5 <= episode.geodesic_distance <= 15


def test_the_true_walk_arrives(episodes, backend):
    for episode in episodes:
        check_episode(backend, episode)
        truth = follow(backend, episode)
        end = backend.geodesic(truth.locations[-1], np.array(episode.goal))
        assert end < 0.3
        assert truth.actions.count(1) == len(truth.locations) - 1
        assert truth.actions[-1] == 0


def test_files_come_back_as_they_were_written(episodes, backend, tmp_path):
    write_episodes(tmp_path / "e.json.gz", episodes, {"word_list": ["<pad>"]})
    back = read_episodes(tmp_path / "e.json.gz")
    assert back.episodes == episodes
    assert back.vocabulary == {"word_list": ["<pad>"]}
    backend.load(episodes[0].scene_id)
    truth = {episodes[0].episode_id: follow(backend, episodes[0])}
    write_truth(tmp_path / "gt.json.gz", truth)
    read = read_truth(tmp_path / "gt.json.gz")["1"]
    np.testing.assert_array_equal(read.locations, truth["1"].locations)
    assert read.actions == truth["1"].actions


def test_a_test_split_keeps_its_goals_secret(episodes, tmp_path):
    secret = dataclasses.replace(
        episodes[0], goal=None, reference_path=(), geodesic_distance=None,
        details={"instruction_id": 7, "language": "hi-IN"},
    )  # fmt: skip
    write_episodes(tmp_path / "test_guide.json.gz", [secret])
    record = json.loads(gzip.decompress((tmp_path / "test_guide.json.gz").read_bytes()))
    assert "goals" not in record["episodes"][0]
    assert read_episodes(tmp_path / "test_guide.json.gz").episodes == [secret]


def test_an_episode_that_cannot_be_read_is_told_and_left_out(episodes, tmp_path):
    write_episodes(tmp_path / "e.json", episodes)
    content = json.loads(gzip.decompress((tmp_path / "e.json").read_bytes()))
    del content["episodes"][1]["start_position"]
    content["episodes"][2]["goals"][0]["position"] = [0, float("nan"), 0]
    (tmp_path / "e.json").write_text(json.dumps(content))
    read = read_episodes(tmp_path / "e.json")
    assert [episode.episode_id for episode in read.episodes] == ["1", "4"]
    assert "place 1" in read.problems[0]
    assert "finite" in read.problems[1]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\x1f\x8bno", b'{"episodes": [{}]}'])
def test_files_that_are_something_else_are_named(content, tmp_path):
    (tmp_path / "bad.json.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.json\.gz"):
        read_episodes(tmp_path / "bad.json.gz")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start_position": (0.0, 0.0, 0.0)}, "stand at its start"),
        ({"goal": (-5.0, 0.0, 0.0)}, "no way leads"),
        ({"instruction": " "}, "empty"),
        ({"instruction": "go " * 600}, "600 words"),
        ({"scene_id": "mp3d/nowhere.glb"}, "nowhere"),
    ],
)
def test_episodes_that_cannot_be_walked_say_why(change, told, episodes, backend):
    with pytest.raises(DataError, match=told) as error:
        check_episode(backend, dataclasses.replace(episodes[0], **change))
    assert "episode 1" in str(error.value)
    assert "\n" not in str(error.value)


def test_leader_board_files(episodes, tmp_path):
    start, end = np.zeros(3), np.array([0.0, 0, -0.25])
    walks = {e.episode_id: [(start, 0.0), (start, 0.5), (end, 7.0)] for e in episodes}
    write_leader_board(tmp_path / "r2r.json", walks, episodes)
    states = json.loads((tmp_path / "r2r.json").read_text())["1"]
    assert [state["stop"] for state in states] == [False, False, True]
    assert states[2]["position"] == [0, 0, -0.25]
    assert states[2]["heading"] == pytest.approx(7 - 2 * np.pi)
    told = [dataclasses.replace(episodes[0], details={"instruction_id": "12"})]
    write_leader_board(tmp_path / "rxr.jsonl", walks, told, layout="rxr")
    lines = (tmp_path / "rxr.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"instruction_id": 12, "path": [[0, 0, 0], [0, 0, -0.25]]}
    with pytest.raises(DataError, match="episode 1"):
        write_leader_board(tmp_path / "none.json", {}, episodes)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/vln/r2r-ce")
def test_the_real_file_is_read_and_written_back(tmp_path):
    read = read_episodes(REAL / "val_seen.json.gz")
    assert (len(read.episodes), read.problems) == (778, [])
    write_episodes(tmp_path / "again.json.gz", read.episodes, read.vocabulary)
    ours, theirs = (
        json.loads(gzip.decompress(path.read_bytes()))
        for path in (tmp_path / "again.json.gz", REAL / "val_seen.json.gz")
    )
    assert ours == theirs
    truth = read_truth(REAL / "val_seen_gt.json.gz")
    assert truth.keys() == {episode.episode_id for episode in read.episodes}
    measured = []
    for episode in read.episodes:
        walk, goal = truth[episode.episode_id].locations, np.array(episode.goal)
        left = float(np.linalg.norm(walk[-1] - goal))
        distances = [episode.geodesic_distance or 0.0, left]
        measured.append(measure(path=walk, distances=distances, stopped=True))
    mean = average(measured)
    expected = {"path_length": 9.846, "distance_to_goal": 0.370, "success": 1, "spl": 0.9706}
    assert {name: mean[name] for name in expected} == pytest.approx(expected, abs=5e-4)
