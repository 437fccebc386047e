"""The map shows where one can walk, and both paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from internvideo.simulator.drawing import draw_map
from internvideo.simulator.embedded import EmbeddedBackend
from simulator.scans import write_two_storeys

pytest.importorskip("embreex")


@pytest.mark.parametrize("planned", [True, False])
def test_paths_and_goal_are_where_they_are(planned: bool) -> None:
    backend = EmbeddedBackend()
    backend.load("rooms/3.json")
    rng = np.random.default_rng(1)
    pairs = [(backend.random_point(rng), backend.random_point(rng)) for _ in range(8)]
    start, goal = max(pairs, key=lambda pair: backend.geodesic(*pair))
    path = backend.shortest_path(start, goal)
    walked = path[:-1]
    house = backend.scene.house if planned else None
    picture = draw_map(backend, walked, reference=path, goal=goal, house=house, size=400)
    assert max(picture.size) == 400
    low = np.zeros(2) if planned else path[:, [0, 2]].min(axis=0) - 1.5
    side = house.side if house else (path[:, [0, 2]].max(axis=0) + 1.5 - low).max()
    scale = 400 / side

    def colour(point: np.ndarray) -> list[int]:
        x, y = ((point[[0, 2]] - low) * scale).round().astype(int).tolist()
        return np.asarray(picture)[y, x].tolist()

    red, green, blue = colour(goal)
    assert red > 2 * max(green, blue)
    red, green, blue = colour(start)
    assert blue > 2 * max(red, green)
    middle = path[-2] * 0.5 + path[-1] * 0.5  # of the last leg, which was not walked
    red, green, blue = colour(middle)
    assert green > 1.5 * max(red, blue)


def test_a_scene_alone_is_drawn() -> None:
    backend = EmbeddedBackend()
    backend.load("rooms/3.json")
    picture = draw_map(backend, [], house=backend.scene.house, size=200)
    assert picture.size == (200, 200)
    shades = np.asarray(picture).reshape(-1, 3)
    assert len(np.unique(shades, axis=0)) > 20


def test_of_a_scan_the_storeys_are_white_that_are_passed(tmp_path: Path) -> None:
    write_two_storeys(tmp_path / "house.ply")
    backend = EmbeddedBackend(scenes=str(tmp_path))
    backend.load("house.ply")
    below, above = np.array([5.5, 0, 3.0]), np.array([5.5, 2.4, 3.0])

    def white(walked: np.ndarray) -> np.ndarray:
        return np.asarray(draw_map(backend, walked, size=200)).min(axis=-1) > 240

    level = np.stack([below, below - [5, 0, 2.5]])
    climbed = backend.shortest_path(below, above)
    sofa = (slice(95, 101), slice(103, 109))  # about x = 3.2 m, z = 2.9 m; one can stand above it
    assert not white(level)[sofa].any()
    assert white(np.concatenate([level, climbed]))[sofa].all()
