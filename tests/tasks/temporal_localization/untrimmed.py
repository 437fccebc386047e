"""Procedural features of untrimmed videos: an action of class k lifts channel k while it lasts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CLASSES = ("fall", "jump", "run")
CHANNELS, FPS, STRIDE, WINDOW = 12, 25.0, 5, 10


def write_videos(
    folder: Path,
    num_videos: int = 12,
    *,
    subset: str = "training",
    seed: int = 0,
    scale: float = 1.0,
) -> Path:
    """Write features and `annotations.json`; call it again to add another subset.

    Args:
        folder: where they go.
        num_videos: of the subset.
        subset: its name.
        seed: of all numbers.
        scale: how many times as long as usual videos and actions are.

    Returns:
        The annotation file.
    """
    rng = np.random.default_rng(seed)
    path = folder / "annotations.json"
    content = json.loads(path.read_text()) if path.exists() else {"database": {}}
    (folder / "features").mkdir(parents=True, exist_ok=True)
    for number in range(num_videos):
        name, num_rows = f"{subset}-{number:02d}", int(scale * rng.integers(40, 90))
        rows = rng.normal(0, 0.5, (num_rows, CHANNELS)).astype(np.float32)
        annotations, start = [], scale * float(rng.uniform(2, 8))
        while start < num_rows - 12 * scale:
            end, label = start + scale * float(rng.uniform(4, 10)), int(rng.integers(len(CLASSES)))
            inside = (np.arange(num_rows) >= start) & (np.arange(num_rows) <= end)
            rows[inside, label] += 3.0
            seconds = [(each * STRIDE + WINDOW / 2) / FPS for each in (start, end)]
            annotations.append({"label": CLASSES[label], "label_id": label, "segment": seconds})
            start = end + scale * float(rng.uniform(4, 14))
        np.save(folder / "features" / f"{name}.npy", rows)
        content["database"][name] = {
            "subset": subset,
            "duration": ((num_rows - 1) * STRIDE + WINDOW) / FPS,
            "fps": FPS,
            "annotations": annotations,
        }
    path.write_text(json.dumps(content))
    return path
