"""The embedded simulator: houses from seeds, scans from files, pictures, floors and steps."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from internvideo.errors import DataError
from internvideo.simulator.backend import Sensors
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.grid import Grid
from internvideo.simulator.houses import build_house, house_of
from internvideo.simulator.rendering import Caster, Surface, panorama
from simulator.scans import write_two_storeys

SMALL = Sensors(rgb=48, depth=48)


def cube(low: float, high: float) -> Surface:
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box(bounds=[[low] * 3, [high] * 3])
    colours = np.full((len(box.faces), 3), 200, np.uint8)
    return Surface(np.asarray(box.vertices), np.asarray(box.faces), colours)


@pytest.fixture
def backend() -> EmbeddedBackend:
    opened = EmbeddedBackend()
    opened.load("rooms/3.json")
    return opened


# ---------------------------------------------------------------- houses


def test_a_seed_is_a_house():
    assert build_house(5) == build_house(5)
    assert build_house(5) != build_house(6)
    assert house_of("rooms/5-16m.json").side == 16


@pytest.mark.parametrize("seed", range(6))
def test_every_room_is_reached_and_furniture_stands_in_its_room(seed):
    backend = EmbeddedBackend()
    backend.load(f"rooms/{seed}.json")
    house = backend.scene.house
    assert house is not None
    places = [backend.snap(np.array([room.centre[0], 0, room.centre[1]])) for room in house.rooms]
    assert all(math.isfinite(backend.geodesic(place, places[0])) for place in places)
    assert {house.room_at(*piece.centre) == piece.room for piece in house.furniture} == {True}


@pytest.mark.parametrize("name", ["rooms/x.json", "rooms/1-99m.json", "mp3d/none.glb"])
def test_unknown_scenes_are_named(name):
    with pytest.raises(DataError, match=name.split("/")[1]):
        EmbeddedBackend().load(name)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "bad.glb").write_bytes(b"glTF no more")
    with pytest.raises(DataError, match=r"bad\.glb"):
        EmbeddedBackend(scenes=str(tmp_path)).load("bad.glb")


# ---------------------------------------------------------------- pictures


def test_walls_have_their_exact_depth():
    caster = Caster(cube(-2.0, 2.0))
    seen = panorama(caster, np.array([0.5, -1.25, 0.0]), 0.0, Sensors(rgb=8, depth=33, far=4.0))
    middle = seen.depth[:, 16, 16, 0] * 4
    np.testing.assert_allclose(middle[[0, 3, 6, 9]], [2, 2.5, 2, 1.5], atol=1e-4)
    np.testing.assert_allclose(seen.depth[0, 12:21, 12:21] * 4, 2, atol=1e-4)


def test_turning_by_a_view_rolls_the_views(backend):
    position = backend.random_point(np.random.default_rng(1))
    ahead, turned = (backend.render(position, yaw, SMALL) for yaw in (0.0, math.pi / 6))
    apart = np.abs(np.roll(ahead.depth, -1, axis=0) - turned.depth)
    assert (apart > 1e-3).mean() < 0.02


def test_the_same_seed_renders_the_same_bytes():
    digests = set()
    for _ in range(2):
        house = house_of("rooms/9.json")
        seen = panorama(Caster(house.surface()), np.array([2.0, 0, 2.0]), 0.1, SMALL)
        digests.add(hashlib.sha256(seen.rgb.tobytes() + seen.depth.tobytes()).hexdigest())
    assert len(digests) == 1


def test_a_scan_with_a_texture_is_walked_and_seen(tmp_path):
    """A floor of 4 x 4 m with a picture, one half red and one half blue, and a box on it."""
    trimesh = pytest.importorskip("trimesh")
    from PIL import Image

    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4, 0], picture[:, 4:, 2] = 255, 255
    floor = trimesh.Trimesh(
        [[0, 0, 0], [0, 0, 4], [4, 0, 4], [4, 0, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    floor.visual = trimesh.visual.TextureVisuals(
        uv=np.array([[0, 1], [0, 0], [1, 0], [1, 1]]), image=Image.fromarray(picture)
    )
    box = trimesh.creation.box(bounds=[[1.5, 0, 1.5], [2.5, 1.2, 2.5]])
    trimesh.Scene([floor, box]).export(tmp_path / "scan.glb")
    backend = EmbeddedBackend(scenes=str(tmp_path))
    backend.load("data/scene_datasets/scan.glb")
    assert backend.is_navigable(np.array([1.0, 0, 1.0]))
    assert not backend.is_navigable(np.array([2.0, 0, 2.0]))
    assert not backend.is_navigable(np.array([5.0, 0, 1.0]))
    seen = backend.render(np.array([2.0, 0, 0.4]), math.pi, Sensors(rgb=32, depth=0))
    left, right = seen.rgb[0, -1, [2, -3]].astype(int)  # looking to +z, +x is to the left
    assert left[2] > 2 * left[0] + 9
    assert right[0] > 2 * right[2] + 9


def test_a_scan_with_stairs_is_walked_on_both_storeys(tmp_path):
    write_two_storeys(tmp_path / "house.glb")
    backend = EmbeddedBackend(scenes=str(tmp_path))
    backend.load("house.glb")
    below, above = np.array([5.5, 0, 3.0]), np.array([5.5, 2.4, 3.0])
    assert backend.is_navigable(below)
    assert backend.is_navigable(above)
    assert not backend.is_navigable(np.array([5.5, 1.2, 3.0]))  # in the air
    assert not backend.is_navigable(np.array([2.0, 0, 1.0]))  # under the stairs: too low
    # To the foot of the stairs, up their slope, and on along the upper floor.
    length, path = backend.geodesic(below, above), backend.shortest_path(below, above)
    true = math.hypot(5.0, 1.5) + math.hypot(3.6, 2.4) + math.hypot(1.2, 1.6)
    assert length == pytest.approx(true, rel=0.05)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(length, rel=0.05)
    assert length == pytest.approx(backend.geodesic(above, below))
    assert path[0, 1] == 0
    assert path[-1, 1] == pytest.approx(2.4, abs=1e-5)

    position = np.array([0.3, 0, 1.0])  # at the foot, looking to +x
    for _ in range(17):
        position, collided = backend.forward(position, -math.pi / 2, 0.25)
        assert not collided
    np.testing.assert_allclose(position, [4.55, 2.4, 1.0], atol=1e-5)
    edge, collided = backend.forward(np.array([2.0, 2.4, 1.8]), 0.0, 0.25)
    assert collided  # nobody falls from the upper floor
    np.testing.assert_allclose(edge, [2.0, 2.4, 1.7], atol=0.051)


# ---------------------------------------------------------------- floors


def room_with_wall() -> Grid:
    """4 x 4 m, a wall at x = 2 m with a gap at its end."""
    floor = np.zeros((1, 80, 80))
    floor[:, :60, 39:41] = np.nan
    return Grid(floor, (0.0, 0.0), radius=0.1)


def test_ways_lead_around_walls():
    grid = room_with_wall()
    start, end = np.array([1.0, 0, 1.0]), np.array([3.0, 0, 1.0])
    true = math.hypot(0.85, 2.1) * 2 + 0.3  # around the corner, a radius from it
    assert 0.98 * true <= grid.geodesic(start, end) <= 1.04 * true
    way = grid.shortest_path(start, end)
    length = np.linalg.norm(np.diff(way, axis=0), axis=1).sum()
    assert length == pytest.approx(true, rel=0.03)
    assert grid.geodesic(end, end) == 0


def test_what_is_walled_off_is_infinitely_far():
    floor = np.zeros((1, 80, 80))
    floor[:, :, 39:41] = np.nan
    grid = Grid(floor, (0.0, 0.0), radius=0.1)
    assert math.isinf(grid.geodesic(np.array([1.0, 0, 1.0]), np.array([3.0, 0, 1.0])))
    assert len(grid.shortest_path(np.array([1.0, 0, 1.0]), np.array([3.0, 0, 1.0]))) == 0


def test_a_step_slides_along_a_wall_or_ends_there():
    grid, start = room_with_wall(), np.array([1.82, 0.0, 1.0])
    yaw = -math.pi / 4  # to +x and −z
    slid, collided = grid.forward(start, yaw, 0.25, sliding=True)
    assert collided
    assert start[2] - slid[2] > 0.1
    stuck, collided = grid.forward(start, yaw, 0.25, sliding=False)
    assert collided
    assert start[2] - stuck[2] < 0.06
    free, collided = grid.forward(start, math.pi / 2, 0.25, sliding=True)
    assert not collided
    np.testing.assert_allclose(free, [1.57, 0, 1.0], atol=1e-9)


def test_no_walk_leaves_the_house(backend):
    rng = np.random.default_rng(0)
    position = backend.random_point(rng)
    for _ in range(300):
        position, _ = backend.forward(position, float(rng.uniform(0, 7)), 0.25)
        assert backend.is_navigable(position)


def test_geodesic_distances_are_no_shorter_than_straight_lines(backend):
    rng = np.random.default_rng(0)
    goal = backend.random_point(rng)
    for _ in range(20):
        start = backend.random_point(rng)
        assert backend.geodesic(start, goal) >= np.linalg.norm(start - goal) - 1e-9
