"""Forward pass of VideoMAE-B (16 frames of 224 pixels, batch 1) against transformers.

Both get the same weights and the same clip, and must return the same tokens first. The share of the
matmul peak compares the operations of the network, counted by formula, with what one large matrix
product of the same precision reaches in the same process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

# Threads that wait must sleep, or their waiting would count as CPU time of whoever computes.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
from _transformers import draw_biases, encoder_peer
from harness import Row, measure, parse_arguments, report

from internvideo.models.vit import SIZES, VideoViT, VideoViTConfig

MATMUL_SIZE = 2048


def operations(config: VideoViTConfig) -> float:
    """Return the floating-point operations of one clip: 2 a multiply-add, matrix products only."""
    t, h, w = config.grid
    tokens, width = t * h * w, config.width
    tubelet = config.num_channels * config.tubelet_size * config.patch_size**2
    linear = 4 * width * width + 2 * width * config.mlp_hidden
    attention = 2 * tokens * width
    return 2.0 * tokens * (tubelet * width + config.depth * (linear + attention))


def main() -> None:
    quick = parse_arguments(__doc__ or "").quick
    torch.manual_seed(0)
    size = replace(SIZES["S" if quick else "B"], num_frames=8 if quick else 16)
    ours = VideoViT(size).eval()
    draw_biases(ours)  # biases that are zero could be swapped unseen
    peers = {name: encoder_peer(ours, name) for name in ("eager", "sdpa")}
    video = torch.randn(1, 3, size.num_frames, size.image_size, size.image_size)
    frames_first = video.transpose(1, 2).contiguous()
    left, right = torch.randn(2, MATMUL_SIZE, MATMUL_SIZE)

    with torch.inference_mode():
        tokens = ours(video).tokens
        for name, peer in peers.items():
            torch.testing.assert_close(
                tokens, peer(frames_first).last_hidden_state, rtol=1e-4, atol=1e-4
            )
            print(f"tokens equal those of transformers ({name})")
        contestants: dict[str, Callable[[], object]] = {
            "ours": lambda: ours(video),
            **{name: (lambda peer=peer: peer(frames_first)) for name, peer in peers.items()},
            "matmul": lambda: left @ right,
        }
        seconds = measure(contestants, repeats=3 if quick else 7)

    peak = 2.0 * MATMUL_SIZE**3 / seconds["matmul"]
    share = operations(size) / seconds["ours"] / peak
    print(
        f"{operations(size) / 1e9:.0f} GFLOP a clip; matmul peak {peak / 1e9:.0f} GFLOP per CPU "
        f"second; share of the peak {share:.0%}"
    )
    case = f"VideoMAE-{'S' if quick else 'B'} {size.num_frames}x{size.image_size}²"
    report(
        "forward",
        [
            Row(
                case=case,
                ours=seconds["ours"],
                peer=seconds[name],
                peer_name=f"transformers {name}",
                note=f"{share:.0%} of matmul peak",
            )
            for name in peers
        ],
    )


if __name__ == "__main__":
    main()
