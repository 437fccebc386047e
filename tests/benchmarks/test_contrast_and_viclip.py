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


def test_contrast_compares_equal_numbers_and_has_repeated_captions():
    import contrast

    video, text, temperature, ids = contrast.inputs(64, 8)
    assert len(ids.unique()) == 60
    losses = [contrast.step(kind, video, text, temperature, ids) for kind in contrast.KINDS]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


def test_viclip_compares_what_is_equal(capsys):
    import viclip

    viclip.main(["--size", "tiny", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(lines[-1])
    assert sum("gradients differ by" in line for line in lines) == 2
    assert len(told["rows"]) == 8
    assert all(row["ratio"] > 0 for row in told["rows"])


def test_a_changed_weight_is_found():
    import viclip

    case = viclip.build_case(viclip.TINY, batch_size=2, device=torch.device("cpu"))
    with torch.no_grad():
        case.ours.vision_encoder.proj *= 2
    with pytest.raises(AssertionError):
        viclip.check(case)
