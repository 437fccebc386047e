"""Painting procedural clips: clips per second of one core, beside a plain per-frame painter.

The plain painter follows the definitions pixel by pixel over the whole frame, vectorised over the
pixels of a frame, in floating point. Both paint the same scenes; the pictures are compared first.
"""

from __future__ import annotations

import numpy as np
from harness import Row, measure, parse_arguments, report

from internvideo.world import Scene, World, render
from internvideo.world.sprites import CELL, TILE, background_tile, sprite


def plain_render(scene: Scene) -> np.ndarray:
    """Paint a scene one full frame and one object at a time."""
    side = scene.size
    pixels = np.arange(side)
    tile = background_tile(scene.background.kind, scene.background.variant)[..., :3]
    looks = [sprite(a.name, a.variant, a.texture, a.color) for a in scene.actors]
    frames = np.empty((scene.num_frames, side, side, 3), np.uint8)
    for time in range(scene.num_frames):
        shift = [
            round(side * (offset + drift * time))
            for offset, drift in zip(scene.background.offset, scene.background.drift, strict=True)
        ]
        columns, rows = (((pixels + s) * TILE / (2 * side)).astype(int) % TILE for s in shift)
        frame = tile[rows[:, None], columns[None, :]].astype(np.float32)
        for actor, (light, veil) in reversed(list(zip(scene.actors, looks, strict=True))):
            dx = (pixels[None, :] + 0.5) / side - actor.x[time]
            dy = (pixels[:, None] + 0.5) / side - actor.y[time]
            cos, sin = np.cos(actor.angle[time]), np.sin(actor.angle[time])
            size = actor.radius * actor.scale[time]
            u = np.floor(((cos * dx + sin * dy) / size + 1) * CELL / 2)
            v = np.floor(((-sin * dx + cos * dy) / size + 1) * CELL / 2)
            inside = (u >= 0) & (u < CELL) & (v >= 0) & (v < CELL)
            number = np.where(inside, v * CELL + u, CELL * CELL).astype(int)
            opacity = np.float32(actor.alpha[time])
            through = 1 - (1 - veil[number][..., :3] / np.float32(128)) * opacity
            frame = frame * through + light[number][..., :3] * opacity
        frames[time] = frame + 0.5
    return frames


def main() -> None:
    """Compare, then time."""
    arguments = parse_arguments(__doc__ or "")
    count, repeats = (20, 3) if arguments.quick else (100, 7)
    rows = []
    for size in (64, 128):
        world = World(seed=0, size=size)
        scenes = [world.scene(index) for index in range(count)]
        for scene in scenes[:20]:
            ours, plain = render(scene).astype(int), plain_render(scene)
            wrong = float((np.abs(ours - plain) > 4).mean())
            if wrong > 0.005:
                raise SystemExit(f"the painters disagree on clip {scene.index}: {wrong:.2%}")
        times = measure(
            {
                "clips": lambda world=world: [world[index] for index in range(count)],
                "ours": lambda scenes=scenes: [render(scene) for scene in scenes],
                "plain": lambda scenes=scenes: [plain_render(scene) for scene in scenes],
            },
            repeats=repeats,
        )
        rows.append(
            Row(
                case=f"paint one clip, 16 x {size} x {size}",
                ours=times["ours"] / count,
                peer=times["plain"] / count,
                peer_name="plain NumPy",
                note=f"{count / times['clips']:.0f} clips/s/core with drawing the scene",
            )
        )
    report("world", rows)


if __name__ == "__main__":
    main()
