"""Clips of noise in which events happen, each a direction of its own, and questions about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

EVENTS = ("bell", "cat", "drum", "egg", "fan", "gong")
CHANNELS = 12
SECONDS_PER_ROW = 0.5
MANIFEST = {"fps": 30.0, "stride": 15.0, "window": 15.0}


def write(folder: Path, *, num_clips: int, split: str, seed: int, channels: int = CHANNELS) -> Path:
    """Write features and `nlq_{split}.json` of clips with two events each; return the json."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(len(EVENTS), channels))
    features = folder / "features"
    features.mkdir(parents=True, exist_ok=True)
    (features / "manifest.json").write_text(json.dumps(MANIFEST))
    clips = []
    for number in range(num_clips):
        uid, num_rows = f"{split}-{number}", int(rng.integers(24, 40))
        rows = rng.normal(size=(num_rows, channels))
        happening = rng.choice(len(EVENTS), 2, replace=False)
        places = sorted(rng.choice(np.arange(0, num_rows - 6), 2, replace=False).tolist())
        places[1] = max(places[1], places[0] + 5)
        asked = []
        for event, place in zip(happening, places, strict=True):
            end = min(place + int(rng.integers(3, 6)), num_rows)
            rows[place:end] += 2 * directions[event]
            asked.append(
                {
                    "query": f"When does the {EVENTS[event]} sound?",
                    "clip_start_sec": place * SECONDS_PER_ROW,
                    "clip_end_sec": end * SECONDS_PER_ROW,
                }
            )
        np.save(features / f"{uid}.npy", rows.astype(np.float32))
        clips.append(
            {
                "clip_uid": uid,
                "video_start_sec": 0.0,
                "video_end_sec": num_rows * SECONDS_PER_ROW,
                "annotations": [{"annotation_uid": f"{uid}-a", "language_queries": asked}],
            }
        )
    path = folder / f"nlq_{split}.json"
    path.write_text(json.dumps({"version": "1", "videos": [{"video_uid": "v", "clips": clips}]}))
    return path


def recipe(folder: Path, **changes: object) -> dict[str, object]:
    """Return a recipe that learns the words and the events, as plain data."""
    words = folder / "words.txt"
    words.write_text("\n".join(("when", "does", "the", "sound", "?", *EVENTS)))

    def data(split: str) -> dict[str, object]:
        return {
            "kind": "features",
            "annotations": str(folder / f"nlq_{split}.json"),
            "features": {"folders": str(folder / "features")},
        }

    model = {
        "video_width": CHANNELS,
        "width": 24,
        "num_heads": 4,
        "max_length": 48,
        "drop_rate": 0.0,
        "text": {"kind": "WordText", "vocabulary": str(words), "word_width": 16, "letter_width": 8},
    }
    return {
        "name": "toy_queries",
        "task": {"kind": "language-queries"},
        "model": model,
        "data": data("train"),
        "evaluation": {"data": data("val"), "every_epochs": 5, "final_views": True},
        "optim": {"lr": 6e-3, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_grad_norm": 1.0},
        "schedule": {"rule": "linear", "epochs": 5, "warmup_epochs": 0},
        "runtime": {"batch_size": 8, "num_workers": 0, "seed": 3, "accelerator": "cpu"},
        **changes,
    }
