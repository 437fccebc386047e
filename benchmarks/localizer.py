"""ActionFormer as on THUMOS14 (2304 rows of 2048 channels): training step and inference.

The peer, `_plain_actionformer`, is the network as it was published: convolutions with one tap for
linear layers, channels first, attention in overlapping chunks, a call of the heads for each level.
Both have the same weights and reference padding, and must return the same numbers first; the rounds
are interleaved in one process. A step is forward, loss and backward; the optimiser is alike for
both and left out, as is dropout.

The last column says which share of the speed of plain matrix products ours reaches: the floating-
point operations of all products in the step over its time, against one product of the size of the
widest layer measured beside it. `--profile` lists where the rest of the time goes.

Inference is also measured on one video of the median length of the test videos of THUMOS14 and of
ActivityNet (by their annotations), which the published code pads to the length of training.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
from _plain_actionformer import PlainActionFormer
from harness import Row, measure, report
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from internvideo.models.actionformer import SIZES, ActionFormer, ActionFormerConfig
from internvideo.tasks.temporal_localization.losses import LossNormalizer, detection_loss
from internvideo.zoo.load import official_state

TINY = replace(
    SIZES["thumos-i3d"], input_dims=(24,), width=32, head_width=32, windows=(5,), num_branch=3,
    max_length=96,
)  # fmt: skip
CONFIGS = {"thumos": SIZES["thumos-i3d"], "tiny": TINY}
# (configuration, rows of the video)
MEDIAN_VIDEOS = {
    "thumos": (("thumos-i3d", 1226), ("anet-videomae-h", 110)),
    "tiny": (("tiny", 50),),
}

Batch = dict[str, Tensor]


def build(config: ActionFormerConfig, device: torch.device) -> dict[str, nn.Module]:
    """Return ours and the plain model, with equal weights none of which is zero."""
    torch.manual_seed(0)
    ours = ActionFormer(config)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale") and parameter.ndim:
                parameter.fill_(0.5)
    plain = PlainActionFormer(config)
    plain.load_state_dict(official_state(ours), strict=True)
    # In evaluation mode, for the plain model has no stochastic depth.
    return {"ours": ours.to(device).eval(), "plain": plain.to(device).eval()}


def batch_of(config: ActionFormerConfig, lengths: Sequence[int], device: torch.device) -> Batch:
    """Return the features of videos of some lengths, and targets of their points."""
    size, rows = len(lengths), config.max_length
    points = sum(config.lengths(rows))
    valid = torch.arange(rows) < torch.tensor(lengths)[:, None]
    batch = {
        "features": torch.randn(size, rows, sum(config.input_dims)),
        "valid": valid,
        "classes": (torch.rand(size, points, config.num_classes) < 0.01).float(),
        "boundaries": torch.rand(size, points, 2) * 4,
        "counted": torch.cat([valid[:, ::stride] for stride in config.strides], dim=1),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def found_by(model: nn.Module, batch: Batch, longest: int) -> tuple[Tensor, Tensor]:
    """Return logits and offsets of all points up to the longest video."""
    if isinstance(model, ActionFormer):
        rows = min(longest + 2**model.config.num_branch, model.config.max_length)
        found: Any = model(batch["features"][:, :rows], batch["valid"][:, :rows])
        parts = (found.logits, found.offsets)
    else:
        parts = model(batch["features"], batch["valid"])
    logits, offsets = (
        [level[:, : -(-longest // 2**n)] for n, level in enumerate(levels)] for levels in parts
    )
    return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)


def inference(models: dict[str, nn.Module], batch: Batch) -> dict[str, Callable[[], Tensor]]:
    """Return one forward pass a model, after their numbers proved equal."""
    longest = int(batch["valid"].sum(dim=1).max())

    def run(model: nn.Module) -> Tensor:
        with torch.inference_mode():
            found = torch.cat(found_by(model, batch, longest), dim=-1)
        _synchronize(found.device)
        return found

    return _equal({name: lambda model=model: run(model) for name, model in models.items()})


def steps(models: dict[str, nn.Module], batch: Batch) -> dict[str, Callable[[], Tensor]]:
    """Return one training step a model, after their losses proved equal."""

    def run(model: nn.Module) -> Tensor:
        model.zero_grad()
        logits, offsets = found_by(model, batch, batch["valid"].shape[1])
        normalizer = LossNormalizer(100.0).to(logits.device)
        targets = (batch["classes"], batch["boundaries"], batch["counted"])
        loss = detection_loss(logits, offsets, *targets, normalizer).total
        loss.backward()
        _synchronize(loss.device)
        return loss.detach()

    return _equal({name: lambda model=model: run(model) for name, model in models.items()})


def autocast(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Return the same in bfloat16."""

    def go() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return run()

    return go


def product(device: torch.device, dtype: torch.dtype, config: ActionFormerConfig, size: int):
    """Return one matrix product of the size of the widest layer, and its operations."""
    rows, width = size * config.max_length, config.width
    x = torch.randn(rows, width, device=device, dtype=dtype)
    weight = torch.randn(4 * width, width, device=device, dtype=dtype)

    def run() -> Tensor:
        out = torch.nn.functional.linear(x, weight)
        _synchronize(device)
        return out

    return run, 2 * rows * width * 4 * width


def operations(run: Callable[[], object]) -> int:
    """Return the floating-point operations of all products."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _equal(runs: dict[str, Callable[[], Tensor]]) -> dict[str, Callable[[], Tensor]]:
    torch.testing.assert_close(runs["ours"](), runs["plain"](), rtol=1e-3, atol=1e-3)
    return runs


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile(run: Callable[[], object], device: torch.device) -> str:
    """Return the operators that took most of the time."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as found:
        run()
    key = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return found.key_averages().table(sort_by=key, row_limit=14, max_name_column_width=40)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--size", choices=CONFIGS, default="thumos")
    parser.add_argument("--batch", type=int, default=2, help="videos")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="for a CPU")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--profile", action="store_true", help="say where our time goes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # the convolutions of the peer would be less precise
    device, config = torch.device(options.device), CONFIGS[options.size]
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    models = build(config, device)
    lengths = [config.max_length] * (options.batch - 1) + [3 * config.max_length // 4]
    batch = batch_of(config, lengths, device)
    title = f"{options.size} {config.max_length}x{sum(config.input_dims)}, batch {options.batch}"
    multiply, size_of_product = product(device, dtype, config, options.batch)
    rows = []

    def timed(runs: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
        return measure(
            {**runs, "product": multiply},
            repeats=3 if options.quick else 7,
            clock="wall" if device.type != "cpu" else options.clock,
        )

    for what, make in (("inference", inference), ("training step", steps)):
        runs = make(models, batch)
        if options.bf16:
            runs = {name: autocast(run, device) for name, run in runs.items()}
        seconds = timed(runs)
        speed = operations(runs["ours"]) / seconds["ours"]
        share = speed * seconds["product"] / size_of_product
        rows.append(
            Row(
                case=f"{title}, {what}",
                ours=seconds["ours"],
                peer=seconds["plain"],
                peer_name="plain, as published",
                note=f"{speed / 1e9:.0f} GFLOP/s, {100 * share:.0f} % of a product",
            )
        )
        if options.profile:
            print(profile(runs["ours"], device))
    for name, length in MEDIAN_VIDEOS[options.size]:
        config = TINY if name == "tiny" else SIZES[name]
        # The plain network has no positions, which are the same few additions in both.
        config = replace(config, positions=False)
        runs = inference(build(config, device), batch_of(config, [length], device))
        if options.bf16:
            runs = {name: autocast(run, device) for name, run in runs.items()}
        seconds = timed(runs)
        rows.append(
            Row(
                case=f"{name}, a video of {length} rows, inference",
                ours=seconds["ours"],
                peer=seconds["plain"],
                peer_name=f"plain, padded to {config.max_length}",
            )
        )
    report("localizer", rows)


if __name__ == "__main__":
    main()
