"""Ranks of retrieval by counting against full sorts: time, peak memory, and growth with the size.

The peer sorts every row, as the published evaluators do. Both get the same scores, plain and by
dual softmax, in both directions, and must find the same ranks first. Rounds are interleaved in one
process, and time is CPU time; memory is how much the resident set grows at its peak over what it
was with the scores in place, in a process of its own (Linux).

    one caption a video     10 000 x 10 000, logits
    several                 27 763 captions of 670 videos (MSVD), 15 000 of 1 500 (VATEX)
    from vectors            growing numbers of texts and videos of 512 numbers, no matrix at all

    python benchmarks/retrieval.py --threads 1
    python benchmarks/retrieval.py --quick      a tenth of the size, one round
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import numpy as np
import torch
import torch.nn.functional as F
from harness import Row, grown_mib, measure, report
from torch import Tensor

from internvideo.evaluation.retrieval_ranks import retrieval_ranks
from internvideo.evaluation.similarity import Similarity

TEMPERATURE = 0.01
KINDS = ("counts", "sorts")


class Case(NamedTuple):
    """Scores, and which video each text is about."""

    scores: Tensor
    owners: Tensor


class Ranks(NamedTuple):
    """Ranks of all texts and of all videos, plain and by dual softmax."""

    plain: tuple[np.ndarray, np.ndarray]
    dual: tuple[np.ndarray, np.ndarray]


def vectors(num_texts: int, num_videos: int, width: int = 512) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit vectors of videos and of texts that resemble theirs, and the owners."""
    draw = torch.Generator().manual_seed(0)
    owners = torch.arange(num_texts) * num_videos // num_texts
    videos = F.normalize(torch.randn(num_videos, width, generator=draw), dim=1)
    noise = torch.randn(num_texts, width, generator=draw) * 8 / width**0.5  # mean rank 26 of 10 000
    return F.normalize(videos[owners] + noise, dim=1), videos, owners


def make_case(num_texts: int, num_videos: int) -> Case:
    """Return the logits of some texts with some videos."""
    texts, videos, owners = vectors(num_texts, num_videos)
    return Case((texts @ videos.T).div_(TEMPERATURE), owners)


def by_counts(case: Case) -> Ranks:
    """What the library does."""
    similarity = Similarity.of_matrix(case.scores)
    side = "both" if case.scores.shape[0] == case.scores.shape[1] else "text"
    both = retrieval_ranks(similarity, case.owners, side=side)
    return Ranks(*((x.to_video.ahead.numpy(), x.to_text.ahead.numpy()) for x in both))


def by_sorts(case: Case) -> Ranks:
    """Full sorts of the rows, with whole matrices in between."""
    scores = case.scores.numpy()
    if scores.shape[0] == scores.shape[1]:
        return Ranks(
            (sorted_diagonal(scores), sorted_diagonal(scores.T)),
            (sorted_diagonal(weighed(scores)), sorted_diagonal(weighed(scores.T))),
        )
    return Ranks(
        *(
            (argsorted(each, case.owners.numpy()), sorted_diagonal(best_of(each, case.owners)))
            for each in (scores, weighed(scores))
        )
    )


def weighed(scores: np.ndarray) -> np.ndarray:
    """Return scores times their softmax over the rows."""
    shares = np.exp(scores - scores.max(axis=0))
    return scores * (shares / shares.sum(axis=0))


def sorted_diagonal(scores: np.ndarray) -> np.ndarray:
    """Return the place of the diagonal in every row in descending order."""
    differences = np.sort(-scores, axis=1) + np.diag(scores)[:, None]
    rows, places = np.where(differences == 0)
    first = np.unique(rows, return_index=True)[1]
    return places[first]


def argsorted(scores: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the place of the owner in every row, from sorting the row and then its order."""
    places = np.argsort(np.argsort(-scores, axis=1), axis=1)
    return places[np.arange(len(owners)), owners]


def best_of(scores: np.ndarray, owners: Tensor) -> np.ndarray:
    """Return, for every video, its best score with the texts of each video."""
    counts = torch.bincount(owners).tolist()
    padded = np.full((len(counts), max(counts), scores.shape[1]), -np.inf)  # as published
    start = 0
    for video, count in enumerate(counts):
        padded[video, :count] = scores[start : start + count]
        start += count
    return padded.max(axis=1).T


def check(case: Case) -> str:
    """Compare the ranks; those by dual softmax may differ where rounding decides.

    Raises:
        RuntimeError: they differ.
    """
    ours, theirs = by_counts(case), by_sorts(case)
    shares = []
    for ways in zip(ours, theirs, strict=True):
        for one, other in zip(*ways, strict=True):
            shares.append(float(np.mean(one != other)))
    if max(shares[:2]) > 0 or max(shares[2:]) > 1e-3:
        raise RuntimeError(f"the ranks differ: {shares}")
    return f"ranks equal; by dual softmax {100 * max(shares[2:]):.3g} % differ by rounding"


def alone(kind: str, num_texts: int, num_videos: int) -> tuple[float, float]:
    """Return memory and time of `worker` in a fresh process."""
    values = ("--worker", kind, str(num_texts), str(num_videos))
    line = [sys.executable, __file__, *values, "--threads", str(torch.get_num_threads())]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    mib, seconds = json.loads(done.stdout.splitlines()[-1])
    return mib, seconds


def worker(kind: str, num_texts: int, num_videos: int) -> tuple[float, float]:
    """Return by how many MiB one of the two grows beside its input, and its CPU seconds."""

    def prepared(num_texts: int, num_videos: int) -> Callable[[], object]:
        if kind != "vectors":
            case = make_case(num_texts, num_videos)
            return lambda: by_counts(case) if kind == "counts" else by_sorts(case)
        texts, videos, owners = vectors(num_texts, num_videos)
        similarity = Similarity.of_vectors(texts, videos, TEMPERATURE, keep=False)
        return lambda: retrieval_ranks(similarity, owners, side="both")

    prepared(400, 400)()
    run = prepared(num_texts, num_videos)
    start = time.process_time()
    mib, _ = grown_mib(run)
    return mib, time.process_time() - start


def compare(name: str, num_texts: int, num_videos: int, repeats: int) -> Row:
    """Measure time and memory of both on equal scores."""
    case = make_case(num_texts, num_videos)
    note = check(case)
    times = measure(
        {"counts": lambda: by_counts(case), "sorts": lambda: by_sorts(case)}, repeats=repeats
    )
    matrix = case.scores.numel() * 4 / 2**20
    del case
    ours, theirs = (alone(kind, num_texts, num_videos)[0] for kind in KINDS)
    return Row(
        case=f"{name}, {num_texts} x {num_videos}",
        ours=times["counts"],
        peer=times["sorts"],
        peer_name="full sorts",
        note=f"{note}; beside the matrix of {matrix:.0f} MiB {ours:.0f} against {theirs:.0f} MiB",
    )


def growth(sizes: Sequence[int]) -> None:
    """Print time and memory of ranks from vectors at growing sizes."""
    print("from vectors of 512 numbers, plain and dual softmax in both directions, no matrix:")
    for size in sizes:
        mib, seconds = alone("vectors", size, size)
        print(
            f"  {size} x {size}: {seconds:.1f} CPU s, {1e9 * seconds / size**2:.1f} ns a pair; "
            f"memory beside the vectors {mib:.0f} MiB; the matrix would take "
            f"{size**2 * 4 / 2**20:.0f} MiB"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.worker:
        kind, num_texts, num_videos = options.worker
        print(json.dumps(worker(kind, int(num_texts), int(num_videos))))
        return
    part, repeats = (10, 1) if options.quick else (1, 3)
    rows = [
        compare("one caption a video", 10_000 // part, 10_000 // part, repeats),
        compare("MSVD", 27_763 // part, 670 // part, repeats),
        compare("VATEX", 15_000 // part, 1_500 // part, repeats),
    ]
    growth([size // part for size in (5_000, 10_000, 20_000, 40_000)])
    report("retrieval", rows)


if __name__ == "__main__":
    main()
