"""Frame mAP of AVA against a plain evaluator that goes picture by picture and class by class.

From the csv of detections to the average precision of 60 classes: 50 000 and 500 000 detections,
180 a picture. The peer follows the definition in the way of the official evaluator: for each
picture and each of the 80 classes it picks the boxes out by a mask, sorts and matches them, and it
sorts all scores of a class at the end. It leaves out what the official code does besides (box lists
with checked fields, a suppression that suppresses nothing, CorLoc), which takes most of its 6.9 CPU
seconds for 50 000 detections. The average precisions must agree to 1e-9. Memory is what the
resident set grows by at its peak, in a fresh process.

    python benchmarks/detection_map.py
    python benchmarks/detection_map.py --quick      50 000 detections
"""

from __future__ import annotations

import csv
import multiprocessing
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from harness import Row, grown_mib, measure, parse_arguments, report

from internvideo.formats.box_rows import EVALUATED, NUM_CLASSES, read_rows
from internvideo.tasks.action_detection.metric import frame_ap

OVERLAP = 0.5
PER_IMAGE = 180
TOLERANCE = 1e-9


def write_data(folder: Path, number: int, seed: int = 0) -> tuple[Path, Path]:
    """Write true boxes, two to four a picture, and detections: each box with many classes."""
    draw = np.random.default_rng(seed)
    truth, found = folder / f"truth-{number}.csv", folder / f"found-{number}.csv"
    with truth.open("w") as true_file, found.open("w") as file:
        for image in range(-(-number // PER_IMAGE)):
            movie, stamp = f"movie{image // 300:07d}", 902 + image % 300
            people = int(draw.integers(2, 5))
            corner = draw.uniform(0, 0.6, (people, 2))
            boxes = np.hstack([corner, corner + draw.uniform(0.15, 0.4, (people, 2))])
            for person, box in enumerate(boxes):
                sides = ",".join(f"{side:.3f}" for side in box)
                for action in draw.choice(EVALUATED, 3, replace=False):
                    true_file.write(f"{movie},{stamp:04d},{sides},{action},{person}\n")
            rows = min(PER_IMAGE, number - image * PER_IMAGE)
            near = boxes[np.arange(rows) // 60 % people] + draw.normal(0, 0.02, (rows, 4))
            actions = np.resize(EVALUATED, rows)
            for box, action, score in zip(near, actions, draw.random(rows) ** 3, strict=True):
                sides = ",".join(f"{side:.5f}" for side in box)
                file.write(f"{movie},{stamp:04d},{sides},{action},{score:.5f}\n")
    return truth, found


def ours(truth: Path, found: Path) -> np.ndarray:
    """Return the average precision of each class, from two files."""
    rows = read_rows(found, scored=True)
    return frame_ap(read_rows(truth), rows, EVALUATED, overlap=OVERLAP).average_precision


def plain(truth: Path, found: Path) -> np.ndarray:
    """Return the same by the definition, one picture and class at a time."""
    true_boxes, detections = _by_image(truth), _by_image(found)
    scores: dict[int, list[np.ndarray]] = defaultdict(list)
    hits: dict[int, list[np.ndarray]] = defaultdict(list)
    num_true: dict[int, int] = defaultdict(int)
    for actions, _, _ in true_boxes.values():
        for action in actions.tolist():
            num_true[action] += 1
    for image, (actions, boxes_of_image, scores_of_image) in detections.items():
        true = true_boxes.get(image)
        for action in range(1, NUM_CLASSES + 1):
            own = actions == action
            boxes, score = boxes_of_image[own], scores_of_image[own]
            theirs = true[1][true[0] == action] if true is not None else ()
            if not len(score):
                continue
            order = np.argsort(score, kind="stable")[::-1]
            boxes, score = boxes[order], score[order]
            right = np.zeros(len(score), bool)
            if len(theirs):
                overlaps = _overlaps(boxes, theirs)
                taken = np.zeros(len(theirs), bool)
                for place, best in enumerate(overlaps.argmax(axis=1)):
                    if overlaps[place, best] >= OVERLAP and not taken[best]:
                        taken[best] = right[place] = True
            scores[action].append(score)
            hits[action].append(right)
    values = np.full(len(EVALUATED), np.nan)
    for number, action in enumerate(EVALUATED):
        if num_true[action]:
            values[number] = _area(scores[action], hits[action], num_true[action])
    return values


def _by_image(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    found: dict[str, list[tuple[int, list[float], float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.reader(file):
            x1, y1, x2, y2 = map(float, row[2:6])
            if x2 > x1 and y2 > y1:
                key = f"{row[0]},{int(float(row[1])):04d}"
                found[key].append((int(row[6]), [x1, y1, x2, y2], float(row[7])))
    return {
        key: tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[misc]
        for key, rows in found.items()
    }


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(right - left, 0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def _area(scores: list[np.ndarray], hits: list[np.ndarray], num_true: int) -> float:
    if not scores:
        return 0.0
    order = np.argsort(np.concatenate(scores), kind="stable")[::-1]
    right = np.concatenate(hits)[order].cumsum()
    precision = [0.0, *(right / np.arange(1, len(right) + 1)), 0.0]
    recall = [0.0, *(right / num_true), 1.0]
    for place in range(len(precision) - 1)[::-1]:
        precision[place] = max(precision[place], precision[place + 1])
    return sum(
        (recall[place] - recall[place - 1]) * precision[place]
        for place in range(1, len(recall))
        if recall[place] != recall[place - 1]
    )


def _memory(truth: Path, found: Path, warm: tuple[Path, Path]) -> float:
    ours(*warm)
    return grown_mib(lambda: ours(truth, found))[0]


def compare(folder: Path, number: int, repeats: int) -> Row:
    """Measure the evaluation of so many detections, after a look at the results."""
    files = write_data(folder, number)
    wanted, found = plain(*files), ours(*files)
    difference = float(np.nanmax(np.abs(wanted - found)))
    if difference > TOLERANCE or (np.isnan(wanted) != np.isnan(found)).any():
        raise RuntimeError(f"the average precisions differ by {difference}")
    times = measure({"o": lambda: ours(*files), "p": lambda: plain(*files)}, repeats=repeats)
    warm = write_data(folder, 1_000, seed=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        memory = pool.apply(_memory, (*files, warm))
    return Row(
        case=f"frame mAP of {number} detections", ours=times["o"], peer=times["p"],
        peer_name="picture by picture",
        note=f"differs by {difference:.0e}; {memory:.0f} MiB at the peak, "
        f"{files[1].stat().st_size / 2**20:.0f} MiB of csv",
    )  # fmt: skip


def main() -> None:
    """Run all comparisons."""
    quick = parse_arguments(__doc__ or "").quick
    with tempfile.TemporaryDirectory() as folder:
        sizes = (50_000,) if quick else (50_000, 500_000)
        report("detection_map", [compare(Path(folder), size, 1) for size in sizes])


if __name__ == "__main__":
    main()
