"""What runs leave behind, to compare them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from internvideo.train.log import read_log

_MACHINE = {"clips_per_s", "data_wait_ms", "data_wait", "memory_gib"}


def learnt(directory: Path | str) -> list[dict]:
    """Return the records of a run without what depends on the machine."""
    records = read_log(Path(directory) / "log.jsonl")
    return [{k: v for k, v in record.items() if k not in _MACHINE} for record in records]


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare tensors by their names."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def assert_same_weights(one: Path | str, other: Path | str) -> None:
    """Compare the weights of the folders of two models."""
    assert_equal(*(load_file(Path(each) / "model.safetensors") for each in (one, other)))
