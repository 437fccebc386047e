"""Suppression of segments and detection mAP against the methods of the published code.

Suppression: 20 classes of 5 000 segments each, of which the 200 best are kept, and one class of
which all are kept. The peers are the loop of the published operator in plain NumPy and, where there
is a C compiler, the same loop compiled (`cc -O3`); neither stops early, as the published one does
not. What is kept must be the same, bit by bit as in NumPy.

mAP: 1.5 million predictions on 4 728 videos of 200 classes at ten overlaps. The peer is the method
of the official evaluator of ActivityNet, prediction by prediction, with dictionaries in place of
its data frames, which are many times slower. The results must agree to 1e-6.

    python benchmarks/localization.py
    python benchmarks/localization.py --quick      50 000 predictions
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from harness import Row, measure, parse_arguments, report

from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_metrics import Ranking
from internvideo.evaluation.segment_nms import SegmentNMS, gaussian, select
from internvideo.evaluation.segments import Segments

SIGMA, MIN_SCORE, KEPT = 0.5, 0.001, 200
NUM_SEGMENTS, NUM_CLASSES = 5_000, 20
LENGTHS = {"short segments": (1, 10), "lengths 2 to 512": (2, 512), "long segments": (20, 600)}
OVERLAPS = np.linspace(0.5, 0.95, 10)
NUM_VIDEOS, VIDEO_CLASSES = 4728, 200
TOLERANCE = 1e-6
COMPILED = """
#include <math.h>
int soft(float *a, float *b, float *s, float *l, long *at, int n, float sigma, float least,
         float *score, long *place) {
  int i = 0;
  for (; i < n; i++) {
    int m = i;
    for (int j = i + 1; j < n; j++) if (s[m] < s[j]) m = j;
    float x = a[m], y = b[m], v = s[m], w = l[m]; long p = at[m];
    a[m] = a[i]; b[m] = b[i]; s[m] = s[i]; l[m] = l[i]; at[m] = at[i];
    score[i] = v; place[i] = p;
    for (int j = i + 1; j < n; j++) {
      float in = fmaxf(0.f, fminf(y, b[j]) - fmaxf(x, a[j])), o = in / (w + l[j] - in);
      s[j] *= expf(-(o * o) / sigma);
      if (s[j] < least) {
        n--; a[j] = a[n]; b[j] = b[n]; s[j] = s[n]; l[j] = l[n]; at[j] = at[n]; j--;
      }
    }
  }
  return i;
}
"""


# --- suppression ------------------------------------------------------------------------------


def segments(seed: int, kind: str) -> Segments:
    """Return the segments of one class; the lengths are spread evenly on a logarithmic scale."""
    draw = np.random.default_rng(seed)
    shortest, longest = LENGTHS[kind]
    start = draw.uniform(0, 2304, NUM_SEGMENTS)
    length = np.exp(draw.uniform(np.log(shortest), np.log(longest), NUM_SEGMENTS))
    times = np.stack([start, start + length], axis=1).astype(np.float32)
    scores = (draw.random(NUM_SEGMENTS) ** 3 * 0.98 + 0.0011).astype(np.float32)
    return Segments(times, scores, np.full(NUM_SEGMENTS, seed))


def plain_loop(found: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and places by the loop of the published operator, in NumPy."""
    start, end, score = found.times[:, 0], found.times[:, 1], found.scores.copy()
    length, place = end - start + np.float32(1e-6), np.arange(len(found))
    scores, kept = [], []
    while len(score):
        best = int(score.argmax())
        scores.append(score[best])
        kept.append(place[best])
        shared = np.minimum(end, end[best]) - np.maximum(start, start[best])
        shared = np.maximum(shared, 0)
        overlap = shared / (length + length[best] - shared)
        score = score * np.exp(-(overlap * overlap) / np.float32(SIGMA))
        alive = score >= MIN_SCORE
        alive[best] = False
        start, end, score, length, place = (
            each[alive] for each in (start, end, score, length, place)
        )
    return np.array(scores), np.array(kept)


def compiled_loop(folder: Path) -> Callable[[Segments], tuple[np.ndarray, np.ndarray]] | None:
    """Return the same loop in C, or None where it cannot be compiled."""
    if (compiler := shutil.which("cc")) is None:
        return None
    source, library = folder / "soft.c", folder / "soft.so"
    source.write_text(COMPILED)
    line = [compiler, "-O3", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"]
    subprocess.run(line, check=True)
    soft = ctypes.CDLL(str(library)).soft

    def run(found: Segments) -> tuple[np.ndarray, np.ndarray]:
        start, end = found.times.T.copy()
        arrays = [start, end, found.scores.copy(), end - start + np.float32(1e-6)]
        arrays.append(np.arange(len(found)))
        scores, kept = np.empty(len(found), np.float32), np.empty(len(found), np.int64)
        pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (*arrays, scores, kept)]
        sigma, least = ctypes.c_float(SIGMA), ctypes.c_float(MIN_SCORE)
        number = soft(*pointers[:5], len(found), sigma, least, *pointers[5:])
        return scores[:number], kept[:number]

    return run


def ours(found: Segments, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and places of the best segments."""
    kept = select(found.times, found.scores, gaussian(SIGMA), min_score=MIN_SCORE)
    scores, places = zip(*islice(kept, most), strict=True)
    return np.array(scores, np.float32), np.array(places)


def compare_suppression(kind: str, compiled: Callable | None, repeats: int) -> list[Row]:
    """Measure one class entirely, and the best of twenty."""
    classes = [segments(number, kind) for number in range(NUM_CLASSES)]
    whole = Segments.joined(classes)
    peers = {"plain NumPy": plain_loop, **({} if compiled is None else {"compiled": compiled})}
    wanted = plain_loop(classes[0])
    for name, run in {**peers, "ours": ours}.items():
        scores, kept = run(classes[0])
        close = TOLERANCE if name == "compiled" else 0.0  # its exponential rounds otherwise
        if not np.array_equal(kept, wanted[1]) or np.abs(scores - wanted[0]).max() > close:
            raise RuntimeError(f"{kind}: {name} keeps other segments than plain NumPy")
    best = np.sort(np.concatenate([plain_loop(each)[0] for each in classes]))[::-1][:KEPT]
    suppress = SegmentNMS(sigma=SIGMA, min_score=MIN_SCORE, max_segments=KEPT)
    if not np.array_equal(suppress(whole).scores, best):
        raise RuntimeError(f"{kind}: the best of all classes are others than by plain NumPy")
    rows: list[Row] = []
    for name, peer in peers.items():
        every = measure(
            {
                "ours": partial(suppress, whole),
                "peer": partial(lambda loop: [loop(each) for each in classes], peer),
            },
            repeats=max(repeats // 2, 1),
        )
        one = measure(
            {"ours": partial(ours, classes[0]), "peer": partial(peer, classes[0])}, repeats=repeats
        )
        rows += [
            Row(
                case=f"{kind}: best {KEPT} of {NUM_CLASSES} x {NUM_SEGMENTS}",
                ours=every["ours"], peer=every["peer"], peer_name=name,
                note="the peer does not stop early",
            ),
            Row(
                case=f"{kind}: all of {NUM_SEGMENTS}",
                ours=one["ours"], peer=one["peer"], peer_name=name,
                note=f"{len(wanted[0])} are kept",
            ),
        ]  # fmt: skip
    return rows


# --- mAP --------------------------------------------------------------------------------------


def tables(number: int) -> tuple[SegmentTable, SegmentTable]:
    """Return two true segments a video, and predictions near them, half of other classes."""
    draw = np.random.default_rng(0)
    videos = np.repeat(np.arange(NUM_VIDEOS), 2)
    start = draw.uniform(0, 100, len(videos))
    times = np.stack([start, start + draw.exponential(30, len(videos))], axis=1)
    labels = np.repeat(draw.integers(0, VIDEO_CLASSES, NUM_VIDEOS), 2)
    truth = SegmentTable(videos, Segments(times, np.ones(len(videos)), labels))
    near = draw.integers(0, len(videos), number)
    bounds = np.sort(times[near] + draw.normal(0, 8, (number, 2)), axis=1)
    own = np.where(draw.random(number) < 0.5, labels[near], draw.integers(0, VIDEO_CLASSES, number))
    return truth, SegmentTable(videos[near], Segments(bounds, draw.random(number), own))


def official_method(truth: SegmentTable, found: SegmentTable) -> np.ndarray:
    """Return the average precision "t k" as the official evaluator does, one after the other."""
    values = np.zeros((len(OVERLAPS), VIDEO_CLASSES))
    for label in range(VIDEO_CLASSES):
        own = truth.segments.labels == label
        times, true_videos = truth.segments.times[own], truth.videos[own]
        held = {video: np.flatnonzero(true_videos == video) for video in set(true_videos.tolist())}
        mine = np.flatnonzero(found.segments.labels == label)
        order = mine[found.segments.scores[mine].argsort()[::-1]]
        taken = np.full((len(OVERLAPS), len(times)), -1)
        right, wrong = np.zeros((2, len(OVERLAPS), len(order)))
        for rank, place in enumerate(order):
            true = held.get(int(found.videos[place]))
            if true is None:
                wrong[:, rank] = 1
                continue
            start, end = found.segments.times[place]
            shared = (np.minimum(end, times[true, 1]) - np.maximum(start, times[true, 0])).clip(0)
            overlap = shared / (end - start + times[true, 1] - times[true, 0] - shared)
            for row, least in enumerate(OVERLAPS):
                for each in overlap.argsort()[::-1]:
                    if overlap[each] < least:
                        break
                    if taken[row, true[each]] < 0:
                        taken[row, true[each]], right[row, rank] = rank, 1
                        break
                wrong[row, rank] = 1 - right[row, rank]
        hits, misses = right.cumsum(axis=1), wrong.cumsum(axis=1)
        for row in range(len(OVERLAPS)):
            precision = np.hstack([0, hits[row] / (hits[row] + misses[row]), 0])
            recall = np.hstack([0, hits[row] / len(times), 1])
            for step in range(len(precision) - 1)[::-1]:
                precision[step] = max(precision[step], precision[step + 1])
            steps = np.flatnonzero(np.diff(recall)) + 1
            values[row, label] = ((recall[steps] - recall[steps - 1]) * precision[steps]).sum()
    return values


def compare_map(number: int, repeats: int) -> Row:
    """Measure the evaluation of so many predictions."""
    truth, found = tables(number)

    def run() -> np.ndarray:
        return Ranking(truth, found, OVERLAPS.tolist(), VIDEO_CLASSES).average_precision()

    results: dict[str, np.ndarray] = {}
    times = measure(
        {"o": run, "p": lambda: results.update(peer=official_method(truth, found))},
        repeats=repeats,
    )
    difference = float(np.abs(run() - results["peer"]).max())
    if difference > TOLERANCE:
        raise RuntimeError(f"the average precisions differ by {difference}")
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    own = sum(
        each.nbytes
        for each in (
            found.videos,
            found.segments.times,
            found.segments.scores,
            found.segments.labels,
        )
    )
    return Row(
        case=f"mAP of {number} predictions",
        ours=times["o"], peer=times["p"], peer_name="official method",
        note=f"differs by {difference:.0e}; {peak:.0f} MiB beside {own / 2**20:.0f} of predictions",
    )  # fmt: skip


def main() -> None:
    """Run all comparisons."""
    quick = parse_arguments(__doc__ or "").quick
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_loop(Path(folder))
        for kind in LENGTHS:
            rows += compare_suppression(kind, compiled, 1 if quick else 5)
    rows.append(compare_map(50_000, 1))
    if not quick:
        rows.append(compare_map(1_500_000, 1))
    report("localization", rows)


if __name__ == "__main__":
    main()
