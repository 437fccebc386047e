"""A scan of our own making: a house of two storeys with stairs, in boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

_WALL, _WOOD, _STONE, _SOFA = (220, 210, 190), (150, 100, 60), (120, 120, 130), (180, 40, 40)


def write_two_storeys(path: Path) -> None:
    """Write a file of the kind that its ending says.

    The house is 6 m along x and 4 m along z, the upper floor at 2.4 m. Stairs of twelve steps of
    0.2 m lead up to +x, from x = 0.6 m to 4.2 m at z = 0.5 to 1.5 m, below a hole in the floor.
    """
    trimesh = pytest.importorskip("trimesh")
    boxes = [
        ((0, -0.1, 0), (6, 0, 4), _STONE),
        ((0, 2.3, 1.6), (6, 2.4, 4), _WOOD),
        ((4.2, 2.3, 0), (6, 2.4, 1.6), _WOOD),
        ((-0.1, 0, 0), (0, 4.8, 4), _WALL),
        ((6, 0, 0), (6.1, 4.8, 4), _WALL),
        ((0, 0, -0.1), (6, 4.8, 0), _WALL),
        ((0, 0, 4), (6, 4.8, 4.1), _WALL),
        ((2.5, 0, 2.5), (3.5, 0.8, 3.2), _SOFA),
        *(
            ((0.6 + 0.3 * step, 0.2 * step, 0.5), (0.9 + 0.3 * step, 0.2 * step + 0.2, 1.5), _WOOD)
            for step in range(12)
        ),
    ]
    meshes = []
    for low, high, colour in boxes:
        box = trimesh.creation.box(bounds=[low, high])
        box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=np.tile(colour, (8, 1)))
        meshes.append(box)
    trimesh.util.concatenate(meshes).export(path)
