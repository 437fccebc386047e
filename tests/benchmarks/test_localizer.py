"""The benchmark of detectors compares what is equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


@pytest.mark.parametrize("more", [(), ("--bf16",)])
def test_it_compares_equal_networks_and_reports_all_passes(capsys, more):
    import localizer

    localizer.main(["--quick", "--size", "tiny", *more])
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["benchmark"] == "localizer"
    cases = [row["case"].partition(", ")[2].removeprefix("batch 2, ") for row in answer["rows"]]
    assert cases == ["inference", "training step", "a video of 50 rows, inference"]
    assert all("% of a product" in row["note"] for row in answer["rows"][:2])


def test_a_peer_with_other_weights_is_refused():
    import localizer

    models = localizer.build(localizer.TINY, torch.device("cpu"))
    torch.nn.init.ones_(models["plain"].backbone.stem[0].attn.proj.weight)
    batch = localizer.batch_of(localizer.TINY, [96, 72], torch.device("cpu"))
    for make in (localizer.inference, localizer.steps):
        with pytest.raises(AssertionError, match=r"not (close|equal)"):
            make(models, batch)


def test_operations_are_those_of_the_products():
    import localizer

    run, count = localizer.product(torch.device("cpu"), torch.float32, localizer.TINY, 2)
    assert localizer.operations(run) == count
