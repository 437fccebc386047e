from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from internvideo.world import REVERSAL_PAIRS, Background, Scene, World, render
from internvideo.world.sprites import CELL, TILE, background_tile, sprite


def plain_render(scene: Scene) -> np.ndarray:
    """Paint pixel by pixel as the definitions say, in floating point."""
    side = scene.size
    pixels = np.arange(side)
    tile = background_tile(scene.background.kind, scene.background.variant)[..., :3]
    frames = []
    for time in range(scene.num_frames):
        shift = [
            round(side * (offset + drift * time))
            for offset, drift in zip(scene.background.offset, scene.background.drift, strict=True)
        ]
        columns, rows = (((pixels + s) * TILE / (2 * side)).astype(int) % TILE for s in shift)
        frame = tile[rows[:, None], columns[None, :]].astype(float)
        for actor in reversed(scene.actors):
            dx = (pixels[None, :] + 0.5) / side - actor.x[time]
            dy = (pixels[:, None] + 0.5) / side - actor.y[time]
            cos, sin = np.cos(actor.angle[time]), np.sin(actor.angle[time])
            size = actor.radius * actor.scale[time]
            u = np.floor(((cos * dx + sin * dy) / size + 1) * CELL / 2)
            v = np.floor(((-sin * dx + cos * dy) / size + 1) * CELL / 2)
            inside = (u >= 0) & (u < CELL) & (v >= 0) & (v < CELL)
            number = np.where(inside, v * CELL + u, CELL * CELL).astype(int)
            light, veil = sprite(actor.name, actor.variant, actor.texture, actor.color)
            opacity = actor.alpha[time]
            through = 1 - (1 - veil[number][..., :3] / 128) * opacity
            frame = frame * through + light[number][..., :3] * opacity
        frames.append(frame)
    return np.stack(frames)


@pytest.mark.parametrize("size", [64, 96])
def test_the_fast_painter_equals_the_plain_one(size):
    world = World(seed=5, size=size)
    for index in range(12):
        scene = world.scene(index)
        difference = np.abs(render(scene) - plain_render(scene))
        assert np.median(difference) <= 1
        assert (difference > 4).mean() < 0.004


def test_a_clip_is_uint8_rgb_of_the_asked_size():
    for size in (20, 32, 64, 100):
        frames = World(size=size, num_frames=5)[0].frames
        assert frames.shape == (5, size, size, 3)
        assert frames.dtype == np.uint8
        assert frames.flags.c_contiguous


def test_small_frames_are_averages_of_large_ones():
    small, large = (World(seed=2, size=size)[9].frames for size in (32, 64))
    mean = large.reshape(16, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - mean).max() <= 0.5


def test_parts_of_a_clip_are_slices_of_the_whole():
    for index in range(4):
        scene = World(seed=1, num_frames=40).scene(index)
        whole = render(scene)
        # The window around an object depends on its largest size in the part, and with it the
        # rounding of a coordinate: a sample may differ at an edge.
        part = render(scene, 11, 23)
        assert (part != whole[11:23]).mean() < 0.002


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, 10_000), pair=st.sampled_from(REVERSAL_PAIRS))
def test_reversed_actions_show_the_same_pictures_in_the_opposite_order(index, pair):
    world = World(seed=11)
    scenes = [world.scene(index, action=action) for action in pair]
    still = Background("cloudy", 0, (0.0, 0.0), (0.0, 0.0))
    first, second = (render(dataclasses.replace(scene, background=still)) for scene in scenes)
    np.testing.assert_array_equal(first[::-1], second)
    assert scenes[0].background == scenes[1].background


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 10_000), size=st.sampled_from([64, 80]))
@example(index=199, size=80)  # a shadow of high contrast
def test_boxes_fit_the_pixels_of_their_objects(index, size):
    scene = World(seed=4, size=size).scene(index)
    for number, actor in enumerate(scene.actors):
        alone = dataclasses.replace(scene, actors=(actor,))
        empty = dataclasses.replace(scene, actors=())
        change = np.abs(render(alone).astype(int) - render(empty)).max(axis=3)
        boxes, visible = scene.actors[number].boxes(size)
        for time in range(scene.num_frames):
            rows, columns = np.nonzero(change[time] > 40)
            if not visible[time]:  # beyond the edge, or a shadow of less than a quarter
                assert (change[time] > 64).sum() <= size / 4
                assert boxes[time].tolist() == [0, 0, 0, 0]
                continue
            x0, y0, x1, y1 = boxes[time]
            assert 0 <= x0 < x1 <= size
            assert 0 <= y0 < y1 <= size
            if len(rows):
                slack = 1.5
                assert columns.min() >= x0 - slack
                assert columns.max() + 1 <= x1 + slack
                assert rows.min() >= y0 - slack
                assert rows.max() + 1 <= y1 + slack
