"""What the offline model is worth on real data, beside chance.

    python benchmarks/offline_model.py --data DIR [--model NAME]

DIR holds `exercises.json` and `exercises/` (219 exercises, two photographs each: free-exercise-db,
public domain), `fir_activitynet.json` and `fir/` (untrimmed videos of nine actions under a ceiling
camera: FIR-RGB). A part that is not there is left out. Any model with a text tower can be named.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

import internvideo as iv

FIR_SENTENCES = {
    "walk": "a person walks through the room",
    "sitdown": "a person sits down on a chair",
    "sit": "a person sits on a chair",
    "standup": "a person stands up",
    "active": "a person moves about in the room",
    "lying": "a person lies down on a bed",
    "sleeping": "a person sleeps in a bed",
    "falling": "a person falls to the floor",
    "falled": "a person lies on the floor",
}
FRAMES = 8


def recall(similarity: Tensor, k: int) -> float:
    """Return the share of rows, in percent, whose own column is among the k highest."""
    better = (similarity > similarity.diagonal()[:, None]).sum(dim=1)
    return 100 * float((better < k).float().mean())


def exercises(model: iv.VideoModel, data: Path) -> Iterator[tuple[str, float, float]]:
    """Yield what was measured, the result and chance, in percent: which exercise, which thing."""
    entries = json.loads((data / "exercises.json").read_text())
    photographs = [
        (number, path)
        for number, entry in enumerate(entries)
        for path in sorted((data / "exercises" / entry["id"]).glob("*.jpg"))
    ]
    stills = model.with_preprocessing(dataclasses.replace(model.preprocessing, num_frames=1))
    rows = stills.embed_video([path for _, path in photographs])
    owners = torch.tensor([number for number, _ in photographs])
    videos = torch.zeros(len(entries), rows.shape[1]).index_add_(0, owners, rows)
    videos = torch.nn.functional.normalize(videos, dim=1)
    similarity = model.embed_text([entry["name"].lower() for entry in entries]) @ videos.T
    for k in (1, 5, 10):
        yield f"exercises: text to clip, R@{k}", recall(similarity, k), 100 * k / len(entries)
    counts = Counter(entry["equipment"] for entry in entries)
    kinds = ("barbell", "body only", "dumbbell", "machine", "cable", "kettlebells", "bands")
    chosen = [n for n, entry in enumerate(entries) if entry["equipment"] in kinds]
    scores = videos[chosen] @ model.embed_text(kinds).T
    truth = torch.tensor([kinds.index(entries[n]["equipment"]) for n in chosen])
    right = 100 * float((scores.argmax(dim=1) == truth).float().mean())
    most = 100 * max(counts[kind] for kind in kinds) / len(chosen)
    yield f"exercises: equipment, {len(kinds)} kinds (beside it: always {kinds[0]})", right, most


def fir(model: iv.VideoModel, data: Path) -> Iterator[tuple[str, float, float]]:
    """Yield the same for actions under a ceiling camera: by sentences, and by a linear probe."""
    database = json.loads((data / "fir_activitynet.json").read_text())["database"]
    clips: dict[str, list[Tensor]] = {"training": [], "validation": []}
    truth: dict[str, list[str]] = {"training": [], "validation": []}
    for name, entry in database.items():
        [path] = (data / "fir").glob(f"{name}.*")
        with iv.Video(path) as video:
            for each in entry["annotations"]:
                start, end = each["segment"]
                steps = torch.linspace(start, end, 2 * FRAMES + 1)[1::2] * video.fps
                frames = steps.long().clamp(max=video.num_frames - 1).tolist()
                clips[entry["subset"]].append(video.frames(frames))
                truth[entry["subset"]].append(each["label"])
    names = sorted({label for labels in truth.values() for label in labels})
    tests = truth["validation"]
    most = 100 * Counter(tests).most_common(1)[0][1] / len(tests)
    vectors = torch.stack([model.embed_video_batch(clip[None])[0] for clip in clips["validation"]])
    words = model.embed_text([FIR_SENTENCES.get(name, name) for name in names])
    answers = [names[best] for best in (vectors @ words.T).argmax(dim=1).tolist()]
    shown = "fir: action by sentences (beside it: always the most frequent)"
    yield shown, _percent_equal(answers, tests), most
    if answers := _probe(model, clips, truth["training"]):
        yield "fir: action by a linear probe", _percent_equal(answers, tests), most


def _probe(model: iv.VideoModel, clips: dict[str, list[Tensor]], labels: list[str]) -> list[str]:
    """Return the actions of the validation clips by logistic regression on the mean features."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        return []
    features = {}
    with torch.no_grad():
        for part, several in clips.items():
            rows = [
                model.model.forward_features(model.preprocessing.transform(clip)[None]).pool()[0]
                for clip in several
            ]
            features[part] = torch.stack(rows).numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return probe.fit(features["training"], labels).predict(features["validation"]).tolist()


def _percent_equal(answers: Sequence[str], truth: Sequence[str]) -> float:
    return 100 * sum(a == b for a, b in zip(answers, truth, strict=True)) / len(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--model", default="offline-objects", help="name, file or folder")
    options = parser.parse_args()
    model = iv.load(options.model)
    print(f"{model.name}: {model.preprocessing.describe()}")
    for part, run in (("exercises", exercises), ("fir", fir)):
        if (options.data / part).is_dir():
            for what, result, chance in run(model, options.data):
                print(f"{what:72} {result:5.1f} %   chance {chance:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
