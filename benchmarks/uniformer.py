"""UniFormerV2 (B/16, 8 frames of 224 pixels): forward pass and training step against a plain one.

The peer, `_plain_uniformerv2`, is the same network with the formulas written one after the other:
tokens first, a softmax of all logits ("eager") or PyTorch's fused attention ("fused"), projected
keys and values in the global blocks, QuickGELU spelled out. All have the same weights and must
return the same logits, or the same loss, first; the rounds are interleaved in one process. A step
is forward, cross-entropy and backward; the optimiser is alike for both and left out. Dropout is
off, for the peer has none. `--bf16` compares in float32, then measures all under autocast to
bfloat16, as one trains.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
import torch.nn.functional as F
from _plain_uniformerv2 import PlainUniFormerV2
from harness import Row, measure, report
from torch import Tensor, nn

from internvideo.models.uniformerv2_classifier import (
    SIZES,
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)

TINY = UniFormerV2ClassifierConfig(
    num_classes=5, image_size=32, num_frames=4, width=64, depth=2, num_heads=2, global_layers=(0, 1)
)
TINY_SSV = replace(TINY, temporal_downsample=True, local_mhra="double")
CONFIGS = {
    "tiny": TINY,
    "tiny-ssv": TINY_SSV,
    **{name: SIZES[name] for name in ("b16", "b16-ssv", "l14", "l14-336", "l14-ssv")},
}
PEERS = {"eager": False, "fused": True}


def build(config: UniFormerV2ClassifierConfig, device: torch.device) -> dict[str, nn.Module]:
    """Return ours and the plain models, with equal weights none of which is zero."""
    torch.manual_seed(0)
    config = replace(config, global_drop_rate=0.0, head_drop_rate=0.0)
    ours = UniFormerV2Classifier(config)
    for parameter in ours.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    models: dict[str, nn.Module] = {"ours": ours}
    for name, fused in PEERS.items():
        models[name] = PlainUniFormerV2(config, fused=fused)
        models[name].load_state_dict(ours.state_dict())
    return {name: model.to(device) for name, model in models.items()}


def forward_runs(models: dict[str, nn.Module], video: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return one forward pass a model, after their logits proved equal."""

    def run(model: nn.Module) -> Tensor:
        with torch.inference_mode():
            logits = model.eval()(video)
        _synchronize(video.device)
        return logits

    return _equal({name: lambda model=model: run(model) for name, model in models.items()})


def autocast(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Return the same in bfloat16."""

    def go() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return run()

    return go


def step_runs(models: dict[str, nn.Module], video: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return one training step a model, after their losses proved equal."""
    labels = torch.arange(len(video), device=video.device) % 5

    def run(model: nn.Module) -> Tensor:
        model.train().zero_grad()
        loss = F.cross_entropy(model(video), labels)
        loss.backward()
        _synchronize(video.device)
        return loss.detach()

    return _equal({name: lambda model=model: run(model) for name, model in models.items()})


def _equal(runs: dict[str, Callable[[], Tensor]]) -> dict[str, Callable[[], Tensor]]:
    expected = runs["ours"]()
    for name in PEERS:
        torch.testing.assert_close(expected, runs[name](), rtol=1e-4, atol=1e-4)
    return runs


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--size", choices=CONFIGS, default="b16")
    parser.add_argument("--frames", type=int, help="of a clip")
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="for a CPU")
    parser.add_argument("--threads", type=int, help="of the CPU")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    # On a GPU the convolutions of the peer would be less precise than our matrix products.
    torch.backends.cudnn.allow_tf32 = False
    device, config = torch.device(options.device), CONFIGS[options.size]
    config = replace(config, num_frames=options.frames or config.num_frames)
    models = build(config, device)
    size = config.image_size
    video = torch.randn(options.batch, 3, config.num_frames, size, size, device=device)
    title = f"UniFormerV2-{options.size} {config.num_frames}x{size}², batch {options.batch}"
    title += ", bf16" if options.bf16 else ""
    rows = []
    for what, make in (("forward", forward_runs), ("training step", step_runs)):
        runs = make(models, video)
        if options.bf16:
            runs = {name: autocast(run, device) for name, run in runs.items()}
        seconds = measure(
            dict(runs),
            repeats=3 if options.quick else 7,
            clock="wall" if device.type != "cpu" else options.clock,
        )
        rows += [
            Row(
                case=f"{title}, {what}",
                ours=seconds["ours"],
                peer=seconds[name],
                peer_name=f"plain, {name} attention",
            )
            for name in PEERS
        ]
    report("uniformer", rows)


if __name__ == "__main__":
    main()
