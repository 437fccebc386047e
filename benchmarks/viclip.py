"""ViCLIP-B/16 against the formulation of its research code, with the same weights.

The peer (`_viclip_reference.py`) is measured with eager attention and with PyTorch's fused one.
Video tower and text tower in evaluation; a training step (forward, loss, backward) with 90 % of the
patches dropped (stage one) and with all (stage two), text tower frozen as in the published recipes.
Before anything is measured, embeddings, losses and gradients must agree.

    python benchmarks/viclip.py                 B/16, 8 x 224², batch 2; CPU time of all threads
    python benchmarks/viclip.py --quick         one round
    python benchmarks/viclip.py --device cuda   bfloat16 autocast, batch 16
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
from _viclip_reference import ReferenceViCLIP
from harness import Row, measure, report
from torch import Tensor, nn

from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.tokenizer import trim_padding
from internvideo.models.viclip import SIZES, ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.train.contrast import blockwise_contrast, contrastive_loss

TINY = ViCLIPConfig(
    vision=ViCLIPVisionConfig(
        image_size=32, num_frames=4, patch_size=8, width=32, depth=2, num_heads=2, embed_dim=16
    ),
    text=CLIPTextConfig(context_length=32, width=32, depth=2, num_heads=2, embed_dim=16),
    embed_dim=16,
)
CAPTIONS = (
    "a dog runs over the snow",
    "a woman in a red coat opens the door of a small car",
    "hands knead dough",
    "two men talk in front of a whiteboard full of numbers",
)
PEERS = {"reference, eager": True, "reference, fused": False}


@dataclass(frozen=True, kw_only=True)
class Case:
    """The model, its peers and a batch."""

    ours: ViCLIP
    peers: dict[str, ReferenceViCLIP]
    video: Tensor
    ids: Tensor
    noise: Tensor
    low_precision: bool

    def autocast(self) -> torch.autocast:
        """Return the context of a training step."""
        return torch.autocast(self.video.device.type, torch.bfloat16, enabled=self.low_precision)


def build_case(config: ViCLIPConfig, *, batch_size: int, device: torch.device) -> Case:
    """Return a fresh model without drop path, which would differ by chance, and a random batch."""
    torch.manual_seed(0)
    config = replace(config, vision=replace(config.vision, drop_path_rate=0.0))
    ours = ViCLIP(config)
    assert isinstance(config.vision, ViCLIPVisionConfig)
    nn.init.normal_(ours.vision_encoder.temporal_positional_embedding, std=0.02)
    ours.text_encoder.requires_grad_(False)
    steps, rows, columns = config.vision.grid
    shape = (batch_size, 3, config.vision.num_frames, *[config.vision.image_size] * 2)
    captions = [CAPTIONS[number % len(CAPTIONS)] for number in range(batch_size)]
    return Case(
        peers={
            name: ReferenceViCLIP(ours, need_weights=eager).to(device)
            for name, eager in PEERS.items()
        },
        ours=ours.to(device),
        video=torch.randn(shape).to(device),
        ids=ours.tokenizer(captions).to(device),
        noise=torch.rand(batch_size, steps * rows * columns).to(device),
        low_precision=device.type != "cpu",
    )


def our_loss(case: Case, mask_ratio: float) -> Tensor:
    """Compute the loss as the task does; texts are cut to the longest."""
    with case.autocast():
        output = case.ours(
            case.video, trim_padding(case.ids), mask_ratio=mask_ratio, noise=case.noise
        )
        return blockwise_contrast(output.video, output.text, case.ours.temperature()).loss


def peer_loss(case: Case, name: str, mask_ratio: float) -> Tensor:
    """Compute the loss of a peer."""
    peer = case.peers[name]
    with case.autocast():
        video, text = peer(case.video, case.ids, mask_ratio, case.noise)
        return contrastive_loss(video, text, peer.temp)


def check(case: Case) -> None:
    """Refuse to compare what is not equal; float32 only, as rounding differs below."""
    if case.low_precision:
        return
    for name, peer in case.peers.items():
        with torch.no_grad():
            exact = case.ours.encode_video(case.video, normalize=False)
            torch.testing.assert_close(peer.vision(case.video), exact, rtol=1e-3, atol=1e-4)
            exact = case.ours.encode_text(trim_padding(case.ids), normalize=False)
            torch.testing.assert_close(peer.text(case.ids), exact, rtol=1e-3, atol=1e-4)
        for module in (case.ours, peer):
            module.zero_grad()
        losses = our_loss(case, 0.9), peer_loss(case, name, 0.9)
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)
        for loss in losses:
            loss.backward()
        ours, theirs = case.ours.vision_encoder.conv1.weight.grad, peer.vision.conv1.weight.grad
        assert ours is not None
        assert theirs is not None
        difference = ((ours - theirs).norm() / theirs.norm()).item()
        if not difference < 1e-3:
            raise RuntimeError(f"{name}: the gradients of the patches differ by {difference:.1e}")
        print(f"{name}: loss {losses[0].item():.6f}, gradients differ by {difference:.0e}")


def contestants(case: Case) -> dict[str, dict[str, Callable[[], None]]]:
    """Return what to run, by case and name."""

    def inference(run: Callable[[], Tensor]) -> Callable[[], None]:
        def go() -> None:
            with torch.inference_mode(), case.autocast():
                run()
            synchronize(case.video.device)

        return go

    def training(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def go() -> None:
            module.zero_grad()
            loss().backward()
            synchronize(case.video.device)

        return go

    ours, text = case.ours, trim_padding(case.ids)
    runs = {
        "video tower": {"ours": inference(lambda: ours.encode_video(case.video))},
        "text tower": {"ours": inference(lambda: ours.encode_text(text))},
    }
    for name, peer in case.peers.items():
        runs["video tower"][name] = inference(lambda peer=peer: peer.vision(case.video))
        runs["text tower"][name] = inference(lambda peer=peer: peer.text(case.ids))
    for title, ratio in (("train step, 90 % dropped", 0.9), ("train step, all patches", 0.0)):
        runs[title] = {"ours": training(ours, lambda ratio=ratio: our_loss(case, ratio))}
        for name, peer in case.peers.items():
            loss = lambda name=name, ratio=ratio: peer_loss(case, name, ratio)  # noqa: E731
            runs[title][name] = training(peer, loss)
    return runs


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--size", choices=("tiny", *SIZES), default="b16")
    parser.add_argument("--batch", type=int, help="clips; 2 on a CPU")
    parser.add_argument("--rounds", type=int, help="how often each is measured; 5")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    cpu = device.type == "cpu"
    batch_size = options.batch or (16 if not cpu else 2)
    config = TINY if options.size == "tiny" else SIZES[options.size]
    case = build_case(config, batch_size=batch_size, device=device)
    check(case)
    rows = []
    for title, runs in contestants(case).items():
        rounds = options.rounds or (1 if options.quick else 5)
        seconds = measure(runs, repeats=rounds, clock="cpu" if cpu else "wall")
        rows += [
            Row(
                case=f"ViCLIP-{options.size}, batch {batch_size}, {title}",
                ours=seconds["ours"],
                peer=seconds[name],
                peer_name=name,
            )
            for name in PEERS
        ]
    report("viclip", rows)


if __name__ == "__main__":
    main()
