from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from internvideo.errors import ConfigError, DataError, InternVideoError
from internvideo.recipe import load_recipe
from internvideo.train.journal import read_log
from internvideo.training import run_recipe

TINY = [
    "data.num_clips=48",
    "runtime.batch_size=8",
    "runtime.num_workers=0",
    "runtime.save_every=1",
    "runtime.log_every=1",
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.stem.channels=[4, 4, 8]",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]
RUN = """
import sys
from pathlib import Path
from internvideo.recipe import load_recipe
from internvideo.training import run_recipe
run_recipe(load_recipe("world_videomae-nano", sys.argv[2:]), Path(sys.argv[1]))
"""


def command(directory: Path) -> list[str]:
    return [sys.executable, "-c", RUN, str(directory), *TINY]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(command(directory), check=True, capture_output=True)
    return directory


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(uninterrupted, tmp_path):
    directory = tmp_path / "killed"
    process = subprocess.Popen(command(directory), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(read_log(directory / "log.jsonl")) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (directory / "model").exists(), "the run ended before it could be killed"

    subprocess.run(command(directory), check=True, capture_output=True)
    expected, actual = weights(uninterrupted), weights(directory)
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name
    steps = [record["step"] for record in read_log(directory / "log.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]
    losses = [[r["loss"] for r in read_log(d / "log.jsonl")] for d in (uninterrupted, directory)]
    assert losses[0] == losses[1]


def test_a_run_leaves_its_recipe_its_curves_and_a_loadable_model(uninterrupted):
    assert load_recipe(uninterrupted / "recipe.yaml").data.num_clips == 48
    assert (uninterrupted / "curves.png").stat().st_size > 0
    assert (uninterrupted / "model" / "config.json").exists()


def test_bfloat16_training_stays_close_to_float32(uninterrupted, tmp_path):
    recipe = load_recipe("world_videomae-nano", [*TINY, "runtime.precision=bf16-mixed"])
    run_recipe(recipe, tmp_path)
    exact, rounded = (read_log(d / "log.jsonl") for d in (uninterrupted, tmp_path))
    for one, other in zip(exact, rounded, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)


def test_other_settings_do_not_continue_a_run(uninterrupted):
    with pytest.raises(ConfigError, match="other settings"):
        run_recipe(load_recipe("world_videomae-nano", [*TINY, "optim.lr=0.1"]), uninterrupted)


def test_too_few_clips_are_refused(tmp_path):
    recipe = load_recipe("world_videomae-nano", [*TINY, "data.num_clips=7"])
    with pytest.raises(DataError, match="do not fill one batch"):
        run_recipe(recipe, tmp_path)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    recipe = load_recipe(
        "world_videomae-nano", [*TINY, "optim.lr=1e30", "optim.clip_grad_norm=null"]
    )
    with pytest.raises(InternVideoError, match="not finite at step"):
        run_recipe(recipe, tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all(torch.isfinite(t).all() for t in state["task"].values())


def test_contrastive_training_starts_from_the_masked_encoder(uninterrupted, tmp_path):
    overrides = [
        f"init={uninterrupted / 'model'}",
        "data.num_clips=16",
        "runtime.batch_size=8",
        "runtime.num_workers=0",
        "model.vision.width=16",
        "model.vision.depth=1",
        "model.vision.stem.channels=[4, 4, 8]",
        "model.text.width=16",
        "model.text.depth=1",
    ]
    model = run_recipe(load_recipe("world_viclip-nano", overrides), tmp_path)
    assert (model / "model.safetensors").exists()
    last = read_log(tmp_path / "log.jsonl")[-1]
    assert last["loss"] > 0
    assert 0 <= last["accuracy"] <= 1
