"""What the world is painted with: shapes, handwritten digits, textures, colours, backgrounds.

Everything is made by arithmetic or read from scikit-learn's bundled digits, once per process, and
looked up afterwards. A sprite is a square cell of `CELL` x `CELL` samples that covers -1 … 1 in the
object's own frame, so an object of radius r is drawn by reading the cell at (x, y) / r.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np

from internvideo.errors import DataError, require

__all__ = [
    "BACKGROUNDS",
    "CELL",
    "COLORS",
    "DIGITS",
    "DIGIT_VARIANTS",
    "HELD_OUT_SHAPES",
    "OBJECTS",
    "SHAPES",
    "TEXTURES",
    "TILE",
    "background_tile",
    "outline",
    "sprite",
]

CELL = 64
TILE = 128
DIGIT_VARIANTS = 60
_TILES_PER_KIND = 12

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (235, 30, 30),
    "orange": (255, 135, 0),
    "yellow": (250, 235, 20),
    "green": (30, 190, 40),
    "cyan": (20, 220, 225),
    "blue": (40, 70, 250),
    "purple": (150, 40, 230),
    "pink": (255, 90, 190),
}
SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "heart",
    "arrow",
    "moon",
)
DIGITS: tuple[str, ...] = (
    "digit zero",
    "digit one",
    "digit two",
    "digit three",
    "digit four",
    "digit five",
    "digit six",
    "digit seven",
    "digit eight",
    "digit nine",
)
HELD_OUT_SHAPES: tuple[str, ...] = SHAPES[2::3]
"""Unknown in open-set tests."""

OBJECTS: tuple[str, ...] = SHAPES + DIGITS
TEXTURES: tuple[str, ...] = ("striped", "dotted", "checkered", "shaded", "split")
BACKGROUNDS: tuple[str, ...] = ("cloudy", "grainy", "wavy", "tiled")


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the sample centres in -1 … 1, shapes (1, side) and (side, 1)."""
    axis = (np.arange(side) + 0.5) * (2.0 / side) - 1.0
    return axis[None, :], axis[:, None]


def _shape(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return whether (x, y) lies inside the shape; y points downwards."""
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    match name:
        case "circle":
            return radius < 0.92
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) < 0.76
        case "triangle":
            return (y < 0.62) & (np.abs(x) * 1.6 < y + 0.98)
        case "star":
            tooth = np.abs((angle / (2 * np.pi) * 5 + 0.5) % 1.0 - 0.5) * 2.0
            return radius * (1.0 + 1.15 * tooth) < 1.0
        case "cross":
            ax, ay = np.abs(x), np.abs(y)
            return ((ax < 0.3) & (ay < 0.94)) | ((ay < 0.3) & (ax < 0.94))
        case "heart":
            u, v = x * 1.25, -y * 1.2 + 0.1
            return (u * u + v * v - 0.8) ** 3 - u * u * v**3 * 1.6 < 0
        case "arrow":
            head = (y < 0.05) & (np.abs(x) < 0.92 * (y + 0.98))
            return head | ((np.abs(x) < 0.32) & (y >= 0.05) & (y < 0.92))
        case "moon":
            return (radius < 0.96) & (np.hypot(x - 0.5, y) > 0.72)
        case _:
            raise ValueError(f"shape must be one of {SHAPES}, got {name!r}")


def _texture(name: str) -> np.ndarray:
    """Return brightness in 0.2 … 1, shape (CELL, CELL).

    All get darker to the right, so none looks the same after any turn below a full one: otherwise
    a rotation could not be told from the opposite one, or from none.
    """
    x, y = _grid(CELL)
    fall = np.clip(0.68 - 0.5 * x + 0.0 * y, 0.3, 1.0)
    match name:
        case "striped":
            return np.where(np.sin(6.5 * y + 0.7) > 0.15, 0.4, 1.0) * fall
        case "dotted":
            dots = np.zeros((CELL, CELL), bool)
            for dot_x, dot_y, size in ((-0.35, -0.4, 0.26), (-0.3, 0.35, 0.24), (0.4, 0.0, 0.22)):
                dots |= np.hypot(x - dot_x, y - dot_y) < size
            return np.where(dots, 0.35, 1.0) * fall
        case "checkered":
            board = (np.floor((x + 1.1) / 0.55) + np.floor((y + 1.1) / 0.55)) % 2 > 0
            return np.where(board, 0.45, 1.0) * fall
        case "shaded":
            return np.clip(0.6 - 0.7 * x + 0.0 * y, 0.2, 1.0)
        case "split":
            return np.where(x + 0.0 * y > 0.05, 0.25, 1.0)
        case _:
            raise ValueError(f"texture must be one of {TEXTURES}, got {name!r}")


def _soften(masks: np.ndarray) -> np.ndarray:
    """Blur the edges of (n, CELL, CELL) masks by about one sample in each direction."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16


def _shape_masks() -> np.ndarray:
    x, y = _grid(4 * CELL)
    inside = np.stack(
        [np.broadcast_to(_shape(name, x, y), (4 * CELL, 4 * CELL)) for name in SHAPES]
    )
    return _soften(inside.reshape(-1, CELL, 4, CELL, 4).mean(axis=(2, 4)))


def _digit_file() -> Path:
    """Return scikit-learn's table of digits; importing the package would cost two seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        require("sklearn", extra="world")
        raise DataError("scikit-learn is installed without its files; reinstall scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"scikit-learn's digits are missing ({path}); reinstall scikit-learn")
    return path


@functools.lru_cache(maxsize=1)
def _digit_masks() -> np.ndarray:
    """Return (10 * DIGIT_VARIANTS, CELL, CELL): the first examples of every class, in order."""
    text = gzip.decompress(_digit_file().read_bytes()).decode("ascii")
    table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32)
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)
    chosen = np.concatenate(
        [images[np.flatnonzero(labels == digit)[:DIGIT_VARIANTS]] for digit in range(10)]
    )
    chosen = np.pad(chosen, ((0, 0), (1, 1), (1, 1)))
    zoom = _interpolation(10, CELL, margin=0.7)
    smooth = np.einsum("ri,nij,cj->nrc", zoom, chosen, zoom, optimize=True)
    return np.clip((smooth - 2.6) / 3.0, 0.0, 1.0)


def _interpolation(size: int, length: int, margin: float) -> np.ndarray:
    """Return the (length, size) matrix of linear interpolation, leaving out a margin of samples."""
    places = np.linspace(margin, size - 1 - margin, length)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(size)[None, :]))


@functools.lru_cache(maxsize=1)
def _texture_cells() -> dict[str, np.ndarray]:
    return {name: _texture(name).astype(np.float32) for name in TEXTURES}


@functools.lru_cache(maxsize=1)
def _shape_cells() -> np.ndarray:
    return _shape_masks().astype(np.float32)


def _mask(name: str, variant: int) -> np.ndarray:
    if name in SHAPES:
        return _shape_cells()[SHAPES.index(name)]
    return _digit_masks()[DIGITS.index(name) * DIGIT_VARIANTS + variant]


def sprite(name: str, variant: int, texture: str, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the painted cell as two flat look-up tables of CELL * CELL + 1 samples.

    The extra last sample is transparent: what lies outside the cell reads it.

    Args:
        name: one of `OBJECTS`.
        variant: which handwriting, below `DIGIT_VARIANTS`; shapes have one form only.
        texture: one of `TEXTURES`.
        color: one of `COLORS`.

    Returns:
        light: uint8 (CELL * CELL + 1, 4), the colour times the opacity; the last channel is 0.
        veil: uint8 (CELL * CELL + 1, 4), 128 where the background is seen, 0 where it is covered.
    """
    mask = _mask(name, variant)
    light = np.zeros((CELL * CELL + 1, 4), np.uint8)
    veil = np.full((CELL * CELL + 1, 4), 128, np.uint8)
    shade = (mask * _texture_cells()[texture]).reshape(-1, 1)
    light[:-1, :3] = shade * np.array(COLORS[color], np.float32) + 0.5
    veil[:-1] = (128.5 - 128.0 * mask).reshape(-1, 1)
    return light, veil


@functools.lru_cache(maxsize=1024)
def outline(name: str, variant: int) -> np.ndarray:
    """Return the extreme points of a cell's visible part, shape (n, 2), x and y in -1 … 1."""
    mask = _mask(name, variant) > 0.25
    rows, columns = np.nonzero(mask)
    corners = np.concatenate(
        [np.stack([columns + dx, rows + dy], axis=1) for dx in (0, 1) for dy in (0, 1)]
    )
    points = corners * (2.0 / CELL) - 1.0
    angles = np.arange(64) * (2 * np.pi / 64)
    ahead = points @ np.stack([np.cos(angles), np.sin(angles)])
    return points[np.unique(ahead.argmax(axis=0))]


def _noise(rng: np.random.Generator, cycles: float, width: float) -> np.ndarray:
    """Return periodic noise of unit variance whose spatial frequencies lie around `cycles`."""
    frequency = np.fft.fftfreq(TILE) * TILE
    distance = np.hypot(frequency[:, None], frequency[None, :])
    band = np.exp(-0.5 * ((distance - cycles) / width) ** 2)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * band).real
    return (field - field.mean()) / field.std()


def _pattern(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return one periodic texture of about unit variance, shape (TILE, TILE)."""
    x, y = np.arange(TILE)[None, :], np.arange(TILE)[:, None]
    match kind:
        case "cloudy":
            return _noise(rng, 0.0, 3.0)
        case "grainy":
            return _noise(rng, 24.0, 10.0)
        case "wavy":
            counts = rng.integers(4, 8, 2) * rng.choice([-1, 1], 2)
            bend = 1.5 * _noise(rng, 0.0, 2.0)
            return np.sin(2 * np.pi * (counts[0] * x + counts[1] * y) / TILE + bend) * 1.2
        case "tiled":
            side = int(rng.choice([8, 16]))
            blocks = rng.standard_normal((TILE // side, TILE // side))
            joints = ((x % side) == 0) | ((y % side) == 0)
            return np.kron(blocks, np.ones((side, side))) * 0.8 - 1.2 * joints
        case _:
            raise ValueError(f"background must be one of {BACKGROUNDS}, got {kind!r}")


@functools.lru_cache(maxsize=len(BACKGROUNDS) * _TILES_PER_KIND)
def background_tile(kind: str, variant: int) -> np.ndarray:
    """Return a periodic, nearly grey, low-contrast texture: uint8 (TILE, TILE, 4), last channel 0.

    Args:
        kind: one of `BACKGROUNDS`.
        variant: any integer from 0; there are 12 different ones, then they repeat.
    """
    rng = np.random.Generator(
        np.random.PCG64([7, BACKGROUNDS.index(kind), variant % _TILES_PER_KIND])
    )
    tint = rng.uniform(95, 150) + rng.uniform(-7, 7, 3)
    tile = np.zeros((TILE, TILE, 4), np.uint8)
    pattern = _pattern(kind, rng)[:, :, None] * rng.uniform(8.0, 13.0)
    tile[:, :, :3] = np.clip(tint + pattern, 0, 255)
    return tile
