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


@pytest.mark.parametrize("more", [("tiny",), ("tiny-ssv", "--bf16")])
def test_it_compares_equal_models_and_reports_both_passes(capsys, more):
    import uniformer

    uniformer.main(["--quick", "--frames", "4", "--batch", "2", "--size", *more])
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["benchmark"] == "uniformer"
    cases = {(row["case"].rpartition(", ")[2], row["peer_name"]) for row in answer["rows"]}
    assert cases == {
        (what, f"plain, {name} attention")
        for what in ("forward", "training step")
        for name in ("eager", "fused")
    }


def test_a_peer_with_other_weights_is_refused():
    import uniformer

    models = uniformer.build(uniformer.TINY, torch.device("cpu"))
    torch.nn.init.ones_(models["fused"].transformer.dpe[1].weight)
    video = torch.randn(2, 3, 4, 32, 32)
    for make in (uniformer.forward_runs, uniformer.step_runs):
        with pytest.raises(AssertionError, match="not close"):
            make(models, video)
