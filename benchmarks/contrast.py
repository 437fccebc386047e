"""The contrastive loss by blocks against the plain one: peak memory and time, forward and backward.

Both get the same unit vectors, some with equal ids, and must have the same loss and gradients to
1e-5 first. Each runs in a process of its own. Memory is how much the resident set grows at its peak
over what it was with the features in place (Linux); time is CPU time of all threads.

    python benchmarks/contrast.py              8192 x 768: a large batch of ViCLIP-L, one process
    python benchmarks/contrast.py --quick      1024 x 256
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
import torch.nn.functional as F
from harness import Row, grown_mib, report
from torch import Tensor

from internvideo.train.contrast import blockwise_contrast, contrastive_loss

TEMPERATURE = 0.05
TOLERANCE = 1e-5
KINDS = ("plain", "blocks")


def inputs(size: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return unit vectors of clips and captions that resemble each other, temperature and ids."""
    draw = torch.Generator().manual_seed(0)
    video = torch.randn(size, width, generator=draw)
    text = video + 2 * torch.randn(size, width, generator=draw)
    ids = torch.arange(size) // 2 * (torch.arange(size) % 16 > 1) + torch.arange(size) * size
    ids[1::16] = ids[0::16]  # every eighth caption occurs twice
    video, text = (F.normalize(x, dim=-1).requires_grad_() for x in (video, text))
    return video, text, torch.tensor(TEMPERATURE, requires_grad=True), ids


def step(kind: str, video: Tensor, text: Tensor, temperature: Tensor, ids: Tensor) -> Tensor:
    """Compute the loss and all gradients."""
    for leaf in (video, text, temperature):
        leaf.grad = None
    if kind == "plain":
        loss = contrastive_loss(video, text, temperature, ids=ids)
    else:
        loss = blockwise_contrast(video, text, temperature, ids=ids).loss
    loss.backward()
    return loss.detach()


def worker(kind: str, size: int, width: int, repeats: int, gradients: Path) -> dict[str, Any]:
    """Measure one of the two; runs in its own process."""
    step(kind, *inputs(64, width))  # what the libraries allocate once
    batch = inputs(size, width)
    for leaf in batch[:3]:
        leaf.grad = torch.zeros_like(leaf)  # what both must have
    grown, loss = grown_mib(lambda: step(kind, *batch))
    torch.save([leaf.grad for leaf in batch[:3]], gradients)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step(kind, *batch)
        times.append(time.process_time() - start)
    return {"loss": loss.item(), "mib": grown, "seconds": statistics.median(times)}


def measure(kind: str, size: int, width: int, repeats: int, gradients: Path) -> dict[str, Any]:
    """Run `worker` in a fresh process."""
    values = [kind, size, width, repeats, gradients]
    line = [sys.executable, __file__, "--worker", *map(str, values)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(size: int, width: int, repeats: int) -> Row:
    """Measure both, and check that they agree."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder) / f"{kind}.pt" for kind in KINDS}
        told = {kind: measure(kind, size, width, repeats, paths[kind]) for kind in KINDS}
        pairs = zip(*(torch.load(paths[kind]) for kind in KINDS), strict=True)
        for plain, blocks in pairs:
            torch.testing.assert_close(blocks, plain, rtol=TOLERANCE, atol=TOLERANCE)
    plain, blocks = (told[kind] for kind in KINDS)
    difference = abs(plain["loss"] - blocks["loss"])
    if difference > TOLERANCE:
        raise RuntimeError(f"the losses differ: {plain['loss']} and {blocks['loss']}")
    return Row(
        case=f"contrast, batch {size} x {width}",
        ours=blocks["seconds"],
        peer=plain["seconds"],
        peer_name="plain loss",
        note=f"memory {blocks['mib']:.0f} against {plain['mib']:.0f} MiB: "
        f"{plain['mib'] / blocks['mib']:.1f}x less; loss differs by {difference:.0e}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small batch, one round")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        kind, size, width, repeats, path = options.worker
        print(json.dumps(worker(kind, int(size), int(width), int(repeats), Path(path))))
        return
    size, width, repeats = (1024, 256, 1) if options.quick else (8192, 768, 3)
    report("contrast", [compare(size, width, repeats)])


if __name__ == "__main__":
    main()
