"""Panoramas of the embedded simulator: RGB-D from one band of rays, against a ray for each pixel.

The scene is a room of 8 m with 40 boxes of furniture. The peer casts all rays of the twelve views;
both must show the same, but for pixels at edges, first. The rounds are interleaved in one process;
the last rows are panoramas per second of several processes at once, wall clock.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter

# Before numpy is imported: a core for each process.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from _plain_panorama import plain_panorama
from harness import Row, measure, parse_arguments, report

from internvideo.simulator.backend import Sensors
from internvideo.simulator.rendering import Caster, Surface, panorama

_SIDE, _HEIGHT, _BOXES = 8.0, 2.5, 40
_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def furnished_room(boxes: int = _BOXES, *, seed: int = 0) -> Caster:
    """Return a room with boxes in it."""
    rng = np.random.default_rng(seed)
    low = np.zeros((boxes + 1, 3))
    high = np.tile([_SIDE, _HEIGHT, _SIDE], (boxes + 1, 1))
    low[1:, [0, 2]] = rng.uniform(0, _SIDE - 1, (boxes, 2))
    high[1:] = low[1:] + rng.uniform(0.2, 1.0, (boxes, 3))
    corner = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    vertices = low[:, None] + corner * (high - low)[:, None]
    triangles = np.array([t for a, b, c, d in _FACES for t in ((a, b, c), (a, c, d))])
    faces = triangles + 8 * np.arange(boxes + 1)[:, None, None]
    colours = np.repeat(rng.integers(40, 255, (boxes + 1, 3)), len(triangles), axis=0)
    return Caster(Surface(vertices.reshape(-1, 3), faces.reshape(-1, 3), colours.astype(np.uint8)))


def places(count: int) -> list[tuple[np.ndarray, float]]:
    """Return positions and headings in the room."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0.5, _SIDE - 0.5, (count, 2))
    return [(np.array([x, 0.0, z]), float(yaw)) for (x, z), yaw in
            zip(points, rng.uniform(0, 2 * np.pi, count), strict=True)]  # fmt: skip


def agreement(caster: Caster, sensors: Sensors, count: int = 4) -> float:
    """Return the share of pixels whose depth is that of their own ray, within 1 cm."""
    same = [
        np.abs(
            panorama(caster, *pose, sensors).depth - plain_panorama(caster, *pose, sensors).depth
        )
        < 0.01 / sensors.far
        for pose in places(count)
    ]
    return float(np.mean(same))


def _render(count: int, side: int) -> int:
    caster = furnished_room()
    for pose in places(count):
        panorama(caster, *pose, Sensors(rgb=side, depth=side))
    return count


def rate(processes: int, count: int, side: int) -> float:
    """Return seconds for a panorama where several processes render at once, wall clock."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(_render, [2] * processes, [side] * processes))  # start and import
        start = perf_counter()
        done = sum(pool.map(_render, [count] * processes, [side] * processes))
        return (perf_counter() - start) / done


def main() -> None:
    """Print the table."""
    quick = parse_arguments(__doc__ or "").quick
    rounds = 3 if quick else 15
    caster, poses = furnished_room(), places(rounds + 1)
    rows: list[Row] = []
    for name, sensors in (
        ("12 x 224^2 RGB-D", Sensors(rgb=224, depth=224)),
        ("12 x 224^2 RGB, 256^2 depth", Sensors()),
        ("12 x 224^2 RGB alone", Sensors(depth=0)),
        ("12 x 64^2 RGB-D", Sensors(rgb=64, depth=64)),
    ):
        same = agreement(caster, sensors) if sensors.depth else None
        if same is not None and same < 0.93:
            raise SystemExit(f"{name}: only {same:.1%} of the pixels agree with their own ray")
        turn = iter(poses * 2)
        taken = measure(
            {
                "ours": lambda sensors=sensors, turn=turn: panorama(caster, *next(turn), sensors),
                "plain": lambda sensors=sensors, turn=turn: plain_panorama(
                    caster, *next(turn), sensors
                ),
            },
            repeats=rounds,
        )
        note = "" if same is None else f"{same:.1%} of the depths within 1 cm"
        rows.append(
            Row(case=name, ours=taken["ours"], peer=taken["plain"], peer_name="all rays", note=note)
        )
    single = rate(1, 20 if quick else 400, 64)
    for processes in (2,) if quick else (2, 4):
        several = rate(processes, 20 if quick else 400, 64)
        rows.append(
            Row(
                case=f"12 x 64^2 RGB-D, {processes} processes",
                ours=several,
                peer=single,
                peer_name="1 process",
                note=f"{1 / several:.0f} panoramas/s",
            )
        )
    report("navigation", rows)


if __name__ == "__main__":
    main()
