"""Started by torchrun: contrast spread over processes, and by one process, into files."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from internvideo.train.collectives import training_group
from internvideo.train.contrast import blockwise_contrast, contrastive_loss

SIZE, WIDTH = 12, 7


class Towers(nn.Module):
    """Two linear towers, a temperature and a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.video = nn.Linear(WIDTH, 4, bias=False)
        self.text = nn.Linear(WIDTH, 4, bias=False)
        self.temperature = nn.Parameter(torch.tensor(0.2))

    def forward(self, video: Tensor, text: Tensor, loss_of) -> tuple[Tensor, Tensor]:
        embedded = (
            F.normalize(tower(x), dim=-1) for tower, x in ((self.video, video), (self.text, text))
        )
        return loss_of(*embedded, self.temperature)


def alone(
    video: Tensor, text: Tensor, temperature: Tensor, *, ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    known = torch.arange(SIZE) if ids is None else ids
    hits = known[(video @ text.T).argmax(dim=1)] == known
    return contrastive_loss(video, text, temperature, ids=ids), hits.float().mean()


def main(directory: Path) -> None:
    dist.init_process_group("gloo")
    draw = torch.Generator().manual_seed(0)
    video, text = torch.randn(2, SIZE, WIDTH, generator=draw)
    groups = {3: training_group(), 2: dist.new_group([1, 2])}  # two with other ranks in the run
    for name, ids in (("distinct", None), ("repeated", torch.arange(SIZE) % 5)):
        if dist.get_rank() == 0:
            known = partial(alone, ids=ids)
            store(directory / f"alone-{name}", Towers(), (video, text), known)
        for exchange, (world, group) in product(("gather", "ring"), groups.items()):
            if (rank := dist.get_rank(group)) < 0:
                continue
            part = slice(rank * SIZE // world, (rank + 1) * SIZE // world)
            spread = partial(
                blockwise_contrast,
                ids=None if ids is None else ids[part],
                group=group,
                exchange=exchange,
                block=2 * SIZE,
            )
            towers = DistributedDataParallel(Towers(), process_group=group)
            path = directory / f"{exchange}-{name}-{world}"
            # The last one writes, so that what is shared is shown.
            store(path if rank == world - 1 else None, towers, (video[part], text[part]), spread)
            del towers
    gc.collect()  # what DDP leaves in cycles holds threads of the group
    dist.barrier()
    dist.destroy_process_group()


def store(
    path: Path | None, towers: nn.Module, inputs: tuple[Tensor, Tensor], loss_of: Callable
) -> None:
    """Compute loss and gradients, and write them to a file if there is one."""
    loss, accuracy = towers(*inputs, loss_of)
    loss.backward()
    inner = getattr(towers, "module", towers)
    gradients = {f"grad.{name}": p.grad for name, p in inner.named_parameters()}
    if path is not None:
        tensors = {"loss": loss.detach(), "accuracy": accuracy, **gradients}
        save_file(tensors, f"{path}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # the interpreter's clean-up now and then meets a thread of gloo, and aborts
