"""Multi-scale deformable attention against the published fallback in plain PyTorch.

Five maps, 8 heads of 32 channels, 4 points a map, as in the detectors of state changes. The peer is
the formulation of Deformable DETR and mmcv without their compiled kernel: every map is sampled by
`grid_sample`, all samples are stacked, weighed and added. Outputs must agree to 1e-4. "Encoder" has
a query for each pixel of all maps, "decoder" 900.

    python benchmarks/deformable_attention.py
    python benchmarks/deformable_attention.py --quick    smaller pictures
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from harness import Row, measure, parse_arguments, report
from torch import Tensor

from internvideo.models.deformable_attention import deformable_attention

HEADS, CHANNELS, POINTS, LEVELS, QUERIES = 8, 32, 4, 5, 900
TOLERANCE = 1e-4

Sizes = tuple[tuple[int, int], ...]


def sampled(value: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """Return the attention by `grid_sample`, level by level; arguments as for ours."""
    b, _, h, d = value.shape
    q, num_levels, num_points = locations.shape[1], locations.shape[3], locations.shape[4]
    grids = 2 * locations - 1
    found = []
    for level, part in enumerate(value.split([y * x for y, x in sizes], dim=1)):
        maps = part.flatten(2).transpose(1, 2).reshape(b * h, d, *sizes[level])
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        found.append(
            F.grid_sample(
                maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False
            )
        )  # fmt: skip
    shares = weights.transpose(1, 2).reshape(b * h, 1, q, num_levels * num_points)
    added = (torch.stack(found, dim=-2).flatten(-2) * shares).sum(-1)
    return added.view(b, h * d, q).transpose(1, 2).contiguous()


def pyramid(height: int, width: int) -> Sizes:
    """Return the sizes of the maps of a picture, at strides 4 to 64."""
    return tuple((-(-height // stride), -(-width // stride)) for stride in (4, 8, 16, 32, 64))


def draw(sizes: Sizes, num_queries: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw values, places some pixels around pixels (or anywhere), and weights."""
    torch.manual_seed(0)
    total = sum(y * x for y, x in sizes)
    value = torch.randn(1, total, HEADS, CHANNELS)
    if num_queries is None:
        centres = [
            torch.cartesian_prod((torch.arange(y) + 0.5) / y, (torch.arange(x) + 0.5) / x).flip(1)
            for y, x in sizes
        ]
        places = torch.cat(centres)
    else:
        places = torch.rand(num_queries, 2)
    extent = torch.tensor([(x, y) for y, x in sizes]).float()[:, None]
    offsets = 2 * torch.randn(len(places), HEADS, LEVELS, POINTS, 2)
    locations = places[:, None, None, None] + offsets / extent
    weights = torch.randn(len(places), HEADS, LEVELS * POINTS).softmax(-1)
    return value, locations[None], weights.unflatten(-1, (LEVELS, POINTS))[None]


def compare(
    name: str, sizes: Sizes, num_queries: int | None, *, trained: bool, repeats: int
) -> Row:
    """Measure one case after a look at the results."""
    value, locations, weights = draw(sizes, num_queries)
    inputs = [each.requires_grad_(trained) for each in (value, locations, weights)]

    def step(attend: Callable[..., Tensor]) -> list[Tensor]:
        if not trained:
            with torch.no_grad():
                return [attend(value, sizes, locations, weights)]
        found = attend(value, sizes, locations, weights)
        return [found, *torch.autograd.grad(found.square().sum(), inputs)]

    worst = 0.0
    for mine, theirs in zip(step(deformable_attention), step(sampled), strict=True):
        difference = (mine - theirs).detach().abs().max() / theirs.detach().abs().max()
        worst = max(worst, float(difference))
    if worst > TOLERANCE:
        raise RuntimeError(f"{name}: results differ by {worst}")
    times = measure(
        {"o": lambda: step(deformable_attention), "p": lambda: step(sampled)}, repeats=repeats
    )
    return Row(
        case=f"{name}, {'with gradients' if trained else 'forward'}",
        ours=times["o"],
        peer=times["p"],
        peer_name="grid_sample",
        note=f"{locations.shape[1]} queries, {value.shape[1]} pixels, differ by {worst:.0e}",
    )


def main() -> None:
    """Run all comparisons."""
    quick = parse_arguments(__doc__ or "").quick
    height, width = (320, 512) if quick else (800, 1344)
    sizes = pyramid(height, width)
    cases = [
        (name, count, trained)
        for trained in (False, True)
        for name, count in (("encoder", None), ("decoder", QUERIES))
    ]
    rows = [
        compare(f"{name}, {width}×{height}", sizes, count, trained=trained, repeats=3)
        for name, count, trained in cases
    ]
    report("deformable_attention", rows)


if __name__ == "__main__":
    main()
