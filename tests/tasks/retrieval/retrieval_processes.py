"""Started by torchrun: losses of retrieval over two processes, and by one, into files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from internvideo.tasks.retrieval import task as room
from internvideo.train.task import LossModule

sys.path.insert(0, str(Path(__file__).parents[2]))
from tasks.retrieval.models import batch, make, retriever, towers

CASES = {
    "vectors": (lambda: towers("image-clip"), {}),
    "matrix": (lambda: towers("image-clip"), {"dual_softmax": 1.0}),
    "words": (lambda: retriever(header="words"), {"decorrelation": "weighted"}),
}


def main(directory: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    group = room.training_group
    for name, (model, options) in CASES.items():
        for way in ("alone", "exact", "own-rows"):
            gradient = "own-rows" if way == "own-rows" else "exact"
            task = make(model(), gradient=gradient, **options).eval()
            data = {key: value[:4] for key, value in batch(task).items()}
            loss_of = LossModule(task)
            if way == "alone":
                room.training_group = lambda: None
            else:
                data = {key: value[2 * rank : 2 * rank + 2] for key, value in data.items()}
                loss_of = DistributedDataParallel(loss_of)
            told = loss_of(data)
            told["loss"].backward()
            room.training_group = group
            trained = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
            found = {"loss": told["loss"].detach()}
            found |= {f"grad.{n}": p.grad.contiguous() for n, p in trained.items()}
            if rank == 1:
                save_file(found, directory / f"{name}-{way}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    os._exit(0)  # the interpreter's clean-up now and then meets a thread of gloo, and aborts
