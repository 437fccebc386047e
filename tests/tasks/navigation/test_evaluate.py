"""Agents measured on episodes: the report, its baselines, resuming, leader boards, one walk."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.simulator.backend import Sensors
from internvideo.simulator.episodes import write_episodes
from internvideo.tasks.navigation import evaluate as room
from internvideo.tasks.navigation.evaluate import evaluate, score
from internvideo.tasks.navigation.houses_source import EpisodeSource, open_episodes
from internvideo.tasks.navigation.journey import go
from internvideo.tasks.navigation.report import NavigationReport, Walked
from internvideo.tasks.navigation.walkers import RandomWalker, StraightWalker
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import load_model, save_pretrained
from internvideo.zoo.hub import LoadedModel
from tasks.navigation.small_agent import small_agent, small_episodes

pytest.importorskip("embreex")


@pytest.fixture(scope="module")
def agent(tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("agent")
    save_pretrained(small_agent(), folder, preprocessing=PRESETS["nano"])
    return load_model(folder)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Walk in this process: what several do is tried in `test_pool`."""

    def walk(make, episodes, walker, *, workers):
        del workers
        environment = make()
        for episode in episodes:
            walker.begin(0)
            try:
                seen, info = environment.reset(options={"episode": episode})
            except DataError as error:
                yield Done(episode, {}, str(error))
                continue
            over = False
            while not over:
                action = walker.act({0: seen})[0]
                seen, _, stopped, truncated, info = environment.step(action)
                over = stopped or truncated
            yield Done(episode, info, None)

    monkeypatch.setattr(room, "run_episodes", walk)


class Done:
    def __init__(self, episode, info, failure) -> None:
        self.episode, self.info, self.failure = episode, info, failure


def test_an_agent_is_measured_beside_others(agent, tmp_path):
    lost = replace(small_episodes()[0], episode_id="lost", scene_id="rooms/none.json")
    source = EpisodeSource((*small_episodes(), lost))
    loop = EvalLoop(directory=tmp_path)
    handed = tmp_path / "walks.json"
    report = evaluate(agent, source, loop=loop, max_steps=4, submission=handed)
    assert isinstance(report, NavigationReport)
    names = ["SR", "SPL", "OS", "nDTW", "SDTW", "CLS", "NE", "TL", "collisions"]
    assert [*report.metrics()] == names
    assert [*report.baselines] == ["random", "straight ahead", "told otherwise"]
    assert len(report.walks) == len(small_episodes())
    assert [name for name, _ in report.failures] == ["rooms/none.json-lost-4"]
    found = json.loads(report.to_json())
    assert found["baselines"]["random"].keys() == {*names, "intervals"}
    assert [*found["intervals"]] == ["SR", "SPL"]
    assert [len(row) for row in report.rows() if row] == [5] * 10

    # What is written is not walked again, and gives the same numbers.
    again = evaluate(agent, source, loop=loop, max_steps=4)
    assert again.metrics() == report.metrics()

    # The walks are worth the same where they are handed in.
    path = tmp_path / "val.json.gz"
    write_episodes(path, small_episodes())
    scored = score(AnnotatedData(path=str(path)), handed)
    assert scored.metrics()["NE"] == pytest.approx(report.metrics()["NE"], abs=0.01)
    assert scored.metrics()["SR"] == report.metrics()["SR"]
    handed.write_text("[]")
    with pytest.raises(DataError, match="object"):
        score(AnnotatedData(path=str(path)), handed)


def test_baselines_walk_alike_each_time():
    make = partial(room.make_environment, small_episodes(), Sensors(rgb=0, depth=24), max_steps=15)
    environment = make()
    ends = []
    for _ in range(2):
        for walker in (RandomWalker(), StraightWalker()):
            walker.begin(0)
            seen, _ = environment.reset(seed=0)
            over = False
            while not over:
                seen, _, stopped, cut, info = environment.step(walker.act({0: seen})[0])
                over = stopped or cut
            ends.append(info["metrics"]["path_length"])
    assert ends[:2] == ends[2:]
    assert ends[1] >= 9


def test_other_models_do_not_walk():
    with pytest.raises(ConfigError, match="navigator-nano"):
        evaluate(load_model("videomae-nano"), EpisodeSource(small_episodes()), loop=EvalLoop())


def test_episodes_of_the_world_come_house_by_house():
    source = open_episodes(AnnotatedData(path="world", num_clips=5, seed=3))
    scenes = [each.scene_id for each in source.episodes]
    assert scenes == ["rooms/3.json"] * 4 + ["rooms/4.json"]
    again = open_episodes(AnnotatedData(path="world", num_clips=5, seed=3))
    assert again.episodes == source.episodes
    with pytest.raises(ConfigError, match="--split"):
        open_episodes(AnnotatedData(path="val.json.gz", split="val"))


def test_intervals_draw_whole_houses():
    def walks(successes):
        return tuple(
            Walked(str(n), f"rooms/{n // 5}.json", {"success": s, "spl": s / 2}, ())
            for n, s in enumerate(successes)
        )

    report = NavigationReport(walks=walks([1.0] * 10 + [0.0] * 10), model="m", protocol="p")
    low, high = report.intervals()["SR"]
    assert low < 20 < 80 < high
    assert report.metrics() == {"SR": 50.0, "SPL": 25.0}
    assert NavigationReport(walks=(), model="m", protocol="p").intervals() == {}


# ---------------------------------------------------------------- one walk


def test_a_walk_becomes_map_video_plot_and_json(agent, tmp_path):
    walk = go(agent, small_episodes()[0], max_steps=3)
    files = walk.save(tmp_path / "walk")
    assert [each.name for each in files] == ["map.png", "walk.mp4", "choices.png", "walk.json"]
    assert all(each.stat().st_size > 100 for each in files)
    told = json.loads(files[3].read_text())
    assert told["instruction"] == small_episodes()[0].instruction
    assert len(told["choices"]) == len(walk.choices) <= 3
    assert told["poses"][0][:3] == pytest.approx(small_episodes()[0].start_position, abs=1e-3)
    assert "success" in walk.outcome
    free = replace(small_episodes()[0], instruction="right to the bed", goal=None)
    assert "the goal is not known" in go(agent, free, max_steps=2).outcome
