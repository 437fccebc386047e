"""A masked pretraining step (forward, loss, backward) against transformers' VideoMAEForPreTraining.

Both have the same weights (with biases of query and value, checked to have arrived), the same clips
and the same tube mask of 90 %, and must have the same loss to 1e-5 first. "dual" adds the running
cell mask of VideoMAE V2, which transformers does not have: half of the tokens are reconstructed.

On a CPU: ViT-S, float32, CPU time of all threads (`--clock wall` for wall time).
On a GPU (`--device cuda`): ViT-B, L and H under bfloat16 autocast, with tokens a second, the share
of what a large bfloat16 matrix product reaches in the same process, and peak memory.

The AdamW step, which is alike for both, is measured apart and printed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import numpy as np
import torch
from _operations import num_tokens, step_operations, utilisation
from _transformers import draw_biases, pretraining_peer
from harness import Row, measure, report
from torch import Tensor, nn

from internvideo.models.tubelets import TokenSplit, split_mask
from internvideo.models.videomae import SIZES, VideoMAE, VideoMAEConfig, VideoMAEOutput
from internvideo.models.vit import VideoViTConfig
from internvideo.video.masks import running_cell_mask, tube_mask

TINY = VideoMAEConfig(
    encoder=VideoViTConfig(image_size=64, num_frames=4, width=32, depth=2, num_heads=2),
    decoder_width=16,
    decoder_depth=2,
    decoder_num_heads=2,
)
CONFIGS = {"tiny": TINY, **SIZES}
GPU_BATCH = {"S": 64, "B": 32, "L": 32, "H": 16}
MASK_RATIO, DECODER_MASK_RATIO = 0.9, 0.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model with a batch of clips and their masks."""

    model: VideoMAE
    video: Tensor
    mask: Tensor
    split: TokenSplit
    decoder_split: TokenSplit

    @property
    def batch_size(self) -> int:
        """Return the number of clips."""
        return self.video.shape[0]

    @property
    def reconstructed(self) -> dict[str, int]:
        """Return how many tokens of a clip are predicted, without and with a decoder mask."""
        return {
            "ours": self.split.masked.shape[1],
            "ours, dual": self.decoder_split.visible.shape[1],
        }


@dataclass(frozen=True)
class Step:
    """One training step of a model; call it to make it."""

    model: nn.Module
    loss_of: Callable[[], Tensor]
    device: torch.device
    low_precision: bool

    def __call__(self) -> None:
        """Compute the loss and all gradients."""
        self.model.zero_grad()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            loss = self.loss_of()
        loss.backward()
        synchronize(self.device)


def build_case(
    config: VideoMAEConfig, *, batch_size: int, device: torch.device, mask_ratio: float = MASK_RATIO
) -> Case:
    """Return a fresh model with a random batch."""
    torch.manual_seed(0)
    rng, grid = np.random.default_rng(0), config.encoder.grid
    model = VideoMAE(config)
    draw_biases(model)
    tubes = [tube_mask(grid, mask_ratio, rng=rng) for _ in range(batch_size)]
    cells = [
        running_cell_mask(grid, DECODER_MASK_RATIO, start=int(rng.integers(4)))
        for _ in range(batch_size)
    ]
    mask, cells = torch.from_numpy(np.stack(tubes)), torch.from_numpy(np.stack(cells))
    size = config.encoder.image_size
    video = torch.randn(batch_size, 3, config.encoder.num_frames, size, size)
    return Case(
        model=model.to(device).train(),
        video=video.to(device),
        mask=mask.to(device),
        split=TokenSplit(*(part.to(device) for part in split_mask(mask))),
        decoder_split=TokenSplit(*(part.to(device) for part in split_mask(cells))),
    )


def build_steps(
    case: Case, peers: Sequence[str], *, low_precision: bool, compiled: bool = False
) -> dict[str, Step]:
    """Return one training step a name, after the losses of ours and the peers proved equal."""
    device = case.video.device
    frames_first = case.video.transpose(1, 2).contiguous()
    # On a GPU transformers' patch embedding, a convolution, would be less precise than ours.
    torch.backends.cudnn.allow_tf32 = False
    models: dict[str, nn.Module] = {}
    with torch.no_grad():
        exact = case.model(case.video, case.split).loss
        for name in peers:
            models[name] = pretraining_peer(case.model, name).to(device)
            theirs = models[name](frames_first, case.mask).loss
            torch.testing.assert_close(exact, theirs, rtol=0.0, atol=1e-5)
            print(f"loss {exact.item():.6f} equals that of transformers ({name})")
    forward: Callable[..., VideoMAEOutput] = torch.compile(case.model) if compiled else case.model

    def step(model: nn.Module, loss_of: Callable[[], Tensor]) -> Step:
        return Step(model, loss_of, device, low_precision)

    steps = {
        "ours": step(case.model, lambda: forward(case.video, case.split).loss),
        "ours, dual": step(
            case.model, lambda: forward(case.video, case.split, case.decoder_split).loss
        ),
    }
    for name, peer in models.items():
        steps[name] = step(peer, lambda peer=peer: peer(frames_first, case.mask).loss)
    return steps


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, *, dtype: torch.dtype, size: int, clock: str) -> float:
    """Return the operations a second of a large square matrix product."""
    left, right = torch.randn(2, size, size, device=device).to(dtype)

    def run() -> None:
        left @ right
        synchronize(device)

    return 2.0 * size**3 / measure({"matmul": run}, repeats=9, clock=clock)["matmul"]


def peak_memory(step: Step) -> float | None:
    """Return the GiB that activations and gradients take at most; None on a CPU."""
    if step.device.type != "cuda":
        return None
    step.model.zero_grad()
    before = torch.cuda.memory_allocated(step.device)
    torch.cuda.reset_peak_memory_stats(step.device)
    step()
    return (torch.cuda.max_memory_allocated(step.device) - before) / 2**30


def adamw_seconds(model: nn.Module, *, repeats: int, clock: str) -> float:
    """Return the seconds of one AdamW step over gradients that are there already."""
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def run() -> None:
        optimizer.step()
        synchronize(device)

    return measure({"adamw": run}, repeats=repeats, clock=clock)["adamw"]


def bench(
    name: str,
    case: Case,
    *,
    peers: Sequence[str],
    repeats: int,
    clock: str,
    low_precision: bool = False,
    compiled: bool = False,
    peak: float,
) -> list[Row]:
    """Measure one model beside its peers; dual masking has our own plain step as its peer."""
    config = case.model.config
    steps = build_steps(case, peers, low_precision=low_precision, compiled=compiled)
    seconds = measure(steps, repeats=repeats, clock=clock)
    adamw = adamw_seconds(case.model, repeats=repeats, clock=clock)
    print(f"AdamW, alike for both and not counted: {adamw * 1e3:.1f} ms")
    encoder = config.encoder
    title = f"VideoMAE-{name} {encoder.num_frames}x{encoder.image_size}², batch {case.batch_size}"
    notes = {}
    for kind, reconstructed in case.reconstructed.items():
        operations = case.batch_size * step_operations(
            config, visible=case.split.visible.shape[1], reconstructed=reconstructed
        )
        share = utilisation(operations, seconds[kind], peak)
        rate = case.batch_size * num_tokens(config) / seconds[kind]
        notes[kind] = f"{rate:,.0f} clip tokens/s, {share:.0%} of matmul peak"
    for kind, step in steps.items():
        memory = peak_memory(step)
        if memory is not None:
            print(f"{kind}: {memory:.1f} GiB of activations and gradients")
    rows = [
        Row(
            case=title,
            ours=seconds["ours"],
            peer=seconds[peer],
            peer_name=f"transformers {peer}",
            note=notes["ours"],
        )
        for peer in peers
    ]
    dual = Row(
        case=f"{title}, dual masking",
        ours=seconds["ours, dual"],
        peer=seconds["ours"],
        peer_name="ours, one mask",
        note=notes["ours, dual"],
    )
    return [*rows, dual]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer frames")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--size", choices=CONFIGS, help="one model only")
    parser.add_argument("--batch", type=int, help="clips of a step; 2 on a CPU")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="for a CPU")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--compile", action="store_true", help="compile our model")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    gpu = device.type != "cpu"
    clock = "wall" if gpu else options.clock
    peak = matmul_peak(
        device,
        dtype=torch.bfloat16 if gpu else torch.float32,
        size=8192 if gpu else 2048,
        clock=clock,
    )
    print(f"matmul peak {peak / 1e9:,.0f} GFLOP a second ({clock} time)")
    rows = []
    names = [options.size] if options.size else (["B", "L", "H"] if gpu else ["S"])
    for name in names:
        config = CONFIGS[name]
        if options.quick:
            config = replace(config, encoder=replace(config.encoder, num_frames=4))
        batch_size = options.batch or (GPU_BATCH.get(name, 8) if gpu else 2)
        mask_ratio = 0.5 if name == "tiny" else MASK_RATIO
        case = build_case(config, batch_size=batch_size, device=device, mask_ratio=mask_ratio)
        # Eager attention of the large models does not fit beside the others.
        peers = ["sdpa"] if gpu and name in ("L", "H", "g", "G") else ["eager", "sdpa"]
        rows += bench(
            name,
            case,
            peers=peers,
            repeats=3 if options.quick else 9,
            clock=clock,
            low_precision=gpu,
            compiled=options.compile,
            peak=peak,
        )
        del case
    report("pretrain_step", rows)


if __name__ == "__main__":
    main()
