from __future__ import annotations

import colorsys
import importlib.util

import numpy as np
import pytest

from internvideo.errors import MissingExtraError
from internvideo.world import BACKGROUNDS, COLORS, OBJECTS, TEXTURES
from internvideo.world import sprites as module
from internvideo.world.sprites import CELL, DIGIT_VARIANTS, background_tile, outline, sprite


def picture(name: str, texture: str, variant: int = 0, color: str = "cyan") -> np.ndarray:
    light, _ = sprite(name, variant, texture, color)
    return light[:-1, :3].reshape(CELL, CELL, 3).astype(float)


def test_there_are_shapes_digits_and_well_separated_hues():
    assert len(OBJECTS) == 18
    hues = sorted(colorsys.rgb_to_hsv(*(v / 255 for v in rgb))[0] * 360 for rgb in COLORS.values())
    gaps = np.diff([*hues, hues[0] + 360])
    assert len(hues) == 8
    assert gaps.min() >= 24
    assert min(max(rgb) - min(rgb) for rgb in COLORS.values()) > 150


@pytest.mark.parametrize("texture", TEXTURES)
def test_no_quarter_or_half_turn_hides_a_rotation(texture):
    disc = picture("circle", texture)
    inside = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, CELL),) * 2)) < 0.85
    for quarter in (1, 2, 3):
        change = np.abs(np.rot90(disc, quarter) - disc)[inside].mean()
        assert change > 20, quarter


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_cover_enough_of_their_cell_and_differ(name):
    _, veil = sprite(name, 0, "shaded", "red")
    cover = 1 - veil[:-1, 0].astype(float) / 128
    assert 0.12 < cover.mean() < 0.72
    assert veil[-1].tolist() == [128] * 4
    for other in OBJECTS:
        if other != name:
            _, other_veil = sprite(other, 0, "shaded", "red")
            assert np.abs(other_veil.astype(float) - veil).mean() > 4


def test_the_colour_of_a_sprite_is_its_colour():
    for color, rgb in COLORS.items():
        pixel = picture("square", "split", color=color)[CELL // 2, CELL // 4]
        np.testing.assert_allclose(pixel, rgb, atol=1)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = load_digits()
    for digit in (0, 4, 9):
        images = data.images[data.target == digit]
        for variant in (0, DIGIT_VARIANTS - 1):
            _, veil = sprite(module.DIGITS[digit], variant, "shaded", "red")
            cover = 128.0 - veil[:-1, 0].reshape(CELL, CELL)
            coarse = cover.reshape(8, 8, 8, 8).mean(axis=(1, 3))
            assert np.corrcoef(coarse.ravel(), images[variant].ravel())[0, 1] > 0.75


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    module._digit_masks.cache_clear()
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name)
    )

    def missing(name, *, extra):
        raise MissingExtraError(f"{name} {extra}")

    monkeypatch.setattr(module, "require", missing)
    with pytest.raises(MissingExtraError, match="sklearn world"):
        sprite("digit four", 0, "shaded", "red")
    sprite("star", 0, "shaded", "red")


@pytest.mark.parametrize("name", ["star", "moon", "digit four"])
def test_the_outline_encloses_what_is_visible(name):
    _, veil = sprite(name, 0, "split", "red")
    rows, columns = np.nonzero(veil[:-1, 0].reshape(CELL, CELL) < 64)
    points = outline(name, 0)
    for angle in np.linspace(0, 2 * np.pi, 13):
        direction = np.array([np.cos(angle), np.sin(angle)])
        centres = (np.stack([columns, rows], 1) + 0.5) * 2 / CELL - 1
        assert (centres @ direction).max() <= (points @ direction).max()


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_are_nearly_grey_quiet_and_periodic(kind):
    tiles = [background_tile(kind, variant)[..., :3].astype(float) for variant in range(12)]
    for tile in tiles:
        channels = tile.mean(axis=(0, 1))
        assert channels.max() - channels.min() < 16
        assert 4 < tile.std(axis=(0, 1)).mean() < 25
        seam = np.abs(tile[0] - tile[-1]).mean()
        assert seam <= 1.3 * np.abs(np.diff(tile, axis=0)).mean(axis=(1, 2)).max()
    assert len({tile.tobytes() for tile in tiles}) == 12
    np.testing.assert_array_equal(background_tile(kind, 12), background_tile(kind, 0))
