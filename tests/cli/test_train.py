from __future__ import annotations

import pytest

from internvideo.cli.application import run
from internvideo.train.stop import PreemptedError

TINY = [
    "data.num_clips=8",
    "runtime.batch_size=4",
    "runtime.num_workers=0",
    "runtime.accelerator=cpu",
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.stem.channels=[4, 4, 8]",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]


def train(directory, *overrides: str) -> int:
    return run(["train", "world_videomae-nano", *TINY, *overrides, "--out", str(directory)])


def test_train_says_where_the_model_is(tmp_path, capsys):
    assert train(tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert out == f"the model is in {tmp_path / 'run' / 'model'}\n"
    assert "step 2/2  loss" in err
    assert "ETA 0:00:00" in err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init=no-such-model", "no-such-model"),
        ("runtime.strategy=fsdp", "start them with torchrun"),
        ("runtime.wandb_project=p", "pip install 'internvideo[wandb]'"),
        ("optim.layer_decay=0.5", "optim.layer_decay needs a model with one stack of blocks"),
        ("init_labels=kinetics-400/authors", "the task 'masked' takes no init_labels"),
        ("augmentation=no-such-preset", "no augmentation preset 'no-such-preset'"),
    ],
)
def test_what_cannot_be_trained_is_one_line(tmp_path, capsys, monkeypatch, override, message):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert train(tmp_path / "run", override) == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("error:")]
    assert out == ""
    assert len(told) == 1
    assert message in told[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, 130)])
def test_a_preempted_run_ends_with_the_code_of_its_signal(
    tmp_path, capsys, monkeypatch, number, code
):
    def stopped(recipe, directory):
        raise PreemptedError(7, number)

    monkeypatch.setattr("internvideo.recipe.run.run_recipe", stopped)
    assert train(tmp_path / "run") == code
    assert "preempted at step 7" in capsys.readouterr().err
