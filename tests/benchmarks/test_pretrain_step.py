from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from internvideo.models.videomae import SIZES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


@pytest.fixture
def case():
    import pretrain_step

    cpu = torch.device("cpu")
    return pretrain_step.build_case(pretrain_step.TINY, batch_size=2, device=cpu, mask_ratio=0.5)


@pytest.mark.parametrize("dual", [False, True])
def test_the_formula_counts_what_the_network_does(case, dual):
    import _operations

    arguments = (case.decoder_split,) if dual else ()
    # the fused attention of the CPU is not counted, the plain one is
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        case.model(case.video, case.split, *arguments)
    reconstructed = case.reconstructed["ours, dual" if dual else "ours"]
    visible, config = case.split.visible.shape[1], case.model.config
    formula = _operations.forward_operations(config, visible=visible, reconstructed=reconstructed)
    # Queries of the last block are projected for all tokens: not needed, so not in the formula.
    spare = 2.0 * visible * config.decoder_width**2
    assert counter.get_total_flops() == case.batch_size * (formula + spare)


def test_a_step_is_three_forward_passes_without_the_gradient_of_the_pixels(case):
    import _operations

    config = case.model.config
    counts = {"visible": 16, "reconstructed": 16}
    forward = _operations.forward_operations(config, **counts)
    pixels = 2.0 * 16 * (3 * 2 * 16 * 16) * config.encoder.width
    assert _operations.step_operations(config, **counts) == 3 * forward - pixels


def test_the_published_sizes_have_the_known_cost():
    import _operations

    counts = {"visible": 160, "reconstructed": 1408}
    base = _operations.forward_operations(SIZES["B"], **counts) / 1e9
    deeper = replace(SIZES["B"], decoder_depth=8)
    # V2's paper: 35.48 G multiply-adds of pretraining ViT-B with a decoder of all tokens
    assert 0.9 < base / (2 * 35.48) < 1.1
    assert _operations.forward_operations(deeper, **counts) / 1e9 > 1.4 * base


def test_utilisation_is_a_share_of_the_peak():
    import _operations

    assert _operations.utilisation(5e12, 0.1, 100e12) == 0.5


@pytest.mark.parametrize("low_precision", [False, True])
def test_every_step_leaves_gradients_and_the_losses_agree(case, low_precision, capsys):
    pytest.importorskip("transformers")
    import pretrain_step

    steps = pretrain_step.build_steps(case, ["eager", "sdpa"], low_precision=low_precision)
    assert list(steps) == ["ours", "ours, dual", "eager", "sdpa"]
    assert capsys.readouterr().out.count("equals that of transformers") == 2
    for run in steps.values():
        run()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in case.model.parameters())


def test_a_lost_bias_is_found(case):
    pytest.importorskip("transformers")
    import _transformers

    _transformers.pretraining_peer(case.model, "sdpa")
    torch.nn.init.zeros_(case.model.encoder.blocks[1].attn.v_bias)
    with pytest.raises(RuntimeError, match=r"lost the value bias of videomae\.encoder\.layer\.1"):
        _transformers.pretraining_peer(case.model, "sdpa")


def test_the_script_prints_its_rows_as_json(capsys):
    pytest.importorskip("transformers")
    import pretrain_step

    pretrain_step.main(["--size", "tiny", "--quick"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["benchmark"] == "pretrain_step"
    peers = [row["peer_name"] for row in told["rows"]]
    assert peers == ["transformers eager", "transformers sdpa", "ours, one mask"]
    assert all(row["ratio"] == row["peer"] / row["ours"] > 0 for row in told["rows"])
    assert all("of matmul peak" in row["note"] for row in told["rows"])


def test_a_cpu_has_no_device_memory(case):
    import pretrain_step

    steps = pretrain_step.build_steps(case, [], low_precision=False)
    assert pretrain_step.peak_memory(steps["ours"]) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_its_memory(capsys):
    pytest.importorskip("transformers")
    import pretrain_step

    pretrain_step.main(["--size", "tiny", "--quick", "--device", "cuda"])
    assert "GiB of activations and gradients" in capsys.readouterr().out
