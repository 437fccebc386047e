"""What holds of every simulator: the embedded one, and Habitat or a fake of its library."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from internvideo.errors import ConfigError, InternVideoError, MissingExtraError
from internvideo.simulator.backend import VIEWS, Backend, Sensors
from internvideo.simulator.opening import open_backend
from simulator import fake_habitat

SMALL = Sensors(rgb=16, depth=24)


@pytest.fixture(params=["rooms", "habitat-fake", "habitat"])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Backend:
    scene, folder = "rooms/3.json", tmp_path
    if request.param == "habitat-fake":
        monkeypatch.setitem(sys.modules, "habitat_sim", fake_habitat.module())
        (tmp_path / "square.glb").touch()
        scene = "data/scene_datasets/square.glb"
    if request.param == "habitat":
        if importlib.util.find_spec("habitat_sim") is None:
            pytest.skip("habitat_sim is not installed")
        if "HABITAT_TEST_SCENE" not in os.environ:
            pytest.skip("HABITAT_TEST_SCENE names no .glb with a navigation mesh")
        path = Path(os.environ["HABITAT_TEST_SCENE"])
        scene, folder = path.name, path.parent
    opened = open_backend(request.param.partition("-")[0], scenes=str(folder))
    opened.load(scene)
    return opened


def test_points_are_drawn_by_seed_and_navigable(backend: Backend) -> None:
    drawn = [backend.random_point(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert all(backend.is_navigable(point) for point in drawn)


def test_no_way_is_shorter_than_the_straight_line_and_paths_are_as_long(backend: Backend) -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        start, end = backend.random_point(rng), backend.random_point(rng)
        way, path = backend.geodesic(start, end), backend.shortest_path(start, end)
        assert np.linalg.norm(end - start) - 1e-5 <= way < math.inf
        assert way == pytest.approx(backend.geodesic(end, start), abs=0.1)
        np.testing.assert_allclose(path[[0, -1]], [start, end], atol=0.05)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(way, rel=0.04)


def test_outside_one_cannot_stand_and_no_way_leads_there(backend: Backend) -> None:
    inside, outside = backend.random_point(np.random.default_rng(0)), np.array([500.0, 0.0, 0.0])
    assert not backend.is_navigable(outside)
    assert backend.geodesic(inside, outside) == math.inf
    assert backend.shortest_path(inside, outside).shape == (0, 3)
    assert backend.is_navigable(backend.snap(outside))


def test_steps_go_where_the_heading_looks_until_something_is_in_the_way(backend: Backend) -> None:
    start = backend.random_point(np.random.default_rng(7))
    free = 0
    for yaw in np.linspace(0, 2 * math.pi, 9)[:-1]:
        position = start
        for _ in range(120):
            after, collided = backend.forward(position, yaw, 0.25)
            assert backend.is_navigable(after)
            if not collided:
                free += 1
                ahead = np.array([-math.sin(yaw), 0.0, -math.cos(yaw)]) * 0.25
                np.testing.assert_allclose(after - position, ahead, atol=1e-4)
            position = after
        assert collided
    assert free


def test_views_turn_to_the_left_by_30_degrees(backend: Backend) -> None:
    position, yaw = backend.random_point(np.random.default_rng(3)), 0.4
    seen = backend.render(position, yaw, SMALL)
    assert seen.rgb.shape == (VIEWS, 16, 16, 3)
    assert seen.rgb.dtype == np.uint8
    assert seen.depth.shape == (VIEWS, 24, 24, 1)
    assert seen.depth.dtype == np.float32
    assert 0 <= seen.depth.min() <= seen.depth.max() <= 1
    turned = backend.render(position, yaw + 2 * 2 * math.pi / VIEWS, SMALL)
    same = np.isclose(turned.depth, np.roll(seen.depth, -2, axis=0), atol=1e-3).mean()
    assert same > 0.99
    assert (turned.rgb == np.roll(seen.rgb, -2, axis=0)).mean() > 0.99
    assert not np.array_equal(turned.rgb, seen.rgb)


def test_what_is_not_asked_for_is_not_rendered(backend: Backend) -> None:
    position = backend.random_point(np.random.default_rng(3))
    assert backend.render(position, 0.0, Sensors(rgb=0, depth=8)).rgb.shape == (VIEWS, 0, 0, 3)
    assert backend.render(position, 0.0, Sensors(rgb=8, depth=0)).depth.shape == (VIEWS, 0, 0, 1)
    assert backend.render(position, 0.0, Sensors(rgb=0, depth=0)).rgb.shape == (VIEWS, 0, 0, 3)


def test_unknown_scenes_are_named(backend: Backend) -> None:
    with pytest.raises(InternVideoError, match=r"mp3d/nowhere/nowhere\.glb"):
        backend.load("mp3d/nowhere/nowhere.glb")


def test_habitat_opens_a_scene_once_and_its_depth_is_in_metres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "habitat_sim", fake_habitat.module())
    (tmp_path / "square.glb").touch()
    habitat = open_backend("habitat", scenes=str(tmp_path), sliding=False)
    habitat.load("square.glb")
    seen = habitat.render(np.array([0.0, 0.0, 1.0]), 0.0, Sensors())
    opened = fake_habitat.Simulator.opened
    habitat.load("square.glb")
    habitat.render(np.zeros(3), 0.0, Sensors())
    assert fake_habitat.Simulator.opened == opened
    # 5 m to the wall at -z, 4 m to those at the sides, 3 m to the one behind
    np.testing.assert_allclose(seen.depth[[0, 3, 6, 9], 0, 0, 0], [0.5, 0.4, 0.3, 0.4], atol=1e-6)
    end, collided = habitat.forward(np.array([0.0, 0.0, -3.9]), 0.7, 0.25)
    assert collided
    np.testing.assert_allclose(end, [0.0, 0.0, -3.9], atol=1e-6)


def test_without_habitat_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    with pytest.raises(MissingExtraError, match=r"conda .* 'rooms'"):
        open_backend("habitat")
    with pytest.raises(ConfigError, match="'habitta'"):
        open_backend("habitta")
