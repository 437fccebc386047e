from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from internvideo.errors import ConfigError, MissingExtraError
from internvideo.train.log import RunLog, describe, draw_curves, read_log


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("internvideo.train.log.draw_curves", lambda *_: None)


def test_a_resumed_log_drops_what_will_be_written_again(tmp_path):
    with RunLog(tmp_path, total_steps=10, start_step=0) as log:
        log.log(2, {"loss": 3.0})
        log.log(4, {"loss": 2.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # cut off by a kill
    with RunLog(tmp_path, total_steps=10, start_step=2) as log:
        log.log(4, {"loss": 2.5})
    assert read_log(tmp_path / "log.jsonl") == [
        {"step": 2, "loss": 3.0},
        {"step": 4, "loss": 2.5},
    ]
    assert (tmp_path / "log.csv").read_text() == "step,loss\n2,3.0\n4,2.5\n"


def test_the_table_gets_a_column_when_a_new_number_comes(tmp_path):
    with RunLog(tmp_path, total_steps=3, start_step=0) as log:
        log.log(1, {"loss": 3.0})
        log.log(1, {"val_top1": 50.0})
        log.log(2, {"loss": 2.0})
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert rows == [
        {"step": "1", "loss": "3.0", "val_top1": ""},
        {"step": "1", "loss": "", "val_top1": "50.0"},
        {"step": "2", "loss": "2.0", "val_top1": ""},
    ]


def test_only_the_first_process_writes(tmp_path):
    with RunLog(tmp_path, total_steps=1, start_step=0, active=False) as log:
        log.log(1, {"loss": 1.0})
        log.advance(1)
    assert list(tmp_path.iterdir()) == []


def test_the_line_says_when_data_are_the_bottleneck(tmp_path, capsys):
    numbers = {
        "loss": 0.5,
        "clips_per_s": 120.0,
        "data_wait_ms": 12.3,
        "data_wait": 0.05,
        "memory_gib": 1.25,
        "lr": 1e-3,
        "skipped": 0,
    }
    with RunLog(tmp_path, total_steps=4, start_step=0) as log:
        log.log(2, numbers)
    line = "loss 0.5  lr 0.001  120 clips/s  waited 12 ms a step  1.25 GiB"
    shown = capsys.readouterr().err
    assert shown.startswith(f"step 2/4  {line}  ETA 0:00:0")
    assert shown.count("\n") == 1
    assert describe({**numbers, "data_wait": 0.43, "skipped": 3}) == (
        f"{line}  3 videos skipped  data loading is the bottleneck (43% of the time): "
        "raise runtime.num_workers"
    )


def test_tensorboard_events_are_written(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, total_steps=3, start_step=0) as log:
        log.log(1, {"loss": 3.0})
        log.log(2, {"loss": 2.0})
    events = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 2.0)]


def test_weights_and_biases_is_optional_and_goes_on_with_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(MissingExtraError, match=r"internvideo\[wandb\]"),
        RunLog(tmp_path, total_steps=3, start_step=0, wandb_project="p"),
    ):
        pass
    begun, logged, ended = [], [], []

    def init(**options):
        begun.append(options)
        return SimpleNamespace(
            log=lambda values, step: logged.append((step, values)),
            finish=lambda exit_code: ended.append(exit_code),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for start in (0, 1):
        with RunLog(tmp_path, total_steps=3, start_step=start, wandb_project="p") as log:
            log.log(start + 1, {"loss": 3.0})
    assert logged == [(1, {"loss": 3.0}), (2, {"loss": 3.0})]
    assert ended == [0, 0]
    assert begun[0]["id"] == begun[1]["id"]
    assert begun[0]["project"] == "p"


def test_mlflow_has_the_parameters_and_goes_on_with_the_same_run(tmp_path, monkeypatch, caplog):
    calls = []

    def start_run(**options):
        calls.append(options)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def log_metrics(values, step):
        if step > 1:
            raise OSError("the server is gone")
        calls.append((step, values))

    module = SimpleNamespace(
        set_experiment=calls.append,
        start_run=start_run,
        log_params=calls.append,
        log_metrics=log_metrics,
        end_run=lambda status: calls.append(status),
        exceptions=SimpleNamespace(MlflowException=OSError),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)

    def log_of(start: int) -> RunLog:
        parameters = {"optim.lr": 0.1}
        return RunLog(
            tmp_path,
            total_steps=3,
            start_step=start,
            mlflow_experiment="e",
            parameters=parameters,
        )

    with log_of(0) as log:
        log.log(1, {"loss": 3.0})
    begun = ["e", {"run_name": tmp_path.name}, {"optim.lr": 0.1}]
    assert calls == [*begun, (1, {"loss": 3.0}), "FINISHED"]
    calls.clear()
    log = log_of(1)
    log.__enter__()
    for step in (2, 3):
        log.log(step, {"loss": 2.0})
    log.__exit__(RuntimeError, None, None)
    assert calls == ["e", {"run_id": "r1"}, "FAILED"]
    assert caplog.text.count("the server is gone") == 1
    assert len(read_log(tmp_path / "log.jsonl")) == 3


def test_a_disk_that_is_full_on_resuming_does_not_cost_the_log(tmp_path, monkeypatch):
    with RunLog(tmp_path, total_steps=10, start_step=0) as log:
        log.log(2, {"loss": 3.0})
    before = (tmp_path / "log.jsonl").read_text()

    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        with pytest.raises(OSError), RunLog(tmp_path, total_steps=10, start_step=2):  # noqa: PT011
            pass
    assert (tmp_path / "log.jsonl").read_text() == before


def test_somebody_who_is_not_logged_in_reads_how_to(tmp_path, monkeypatch):
    class NotLoggedInError(Exception): ...

    def init(**_):
        raise NotLoggedInError("No API key configured.\nUse `wandb login` to log in.")

    module = SimpleNamespace(init=init, Error=NotLoggedInError)
    monkeypatch.setitem(sys.modules, "wandb", module)
    with (
        pytest.raises(ConfigError, match=r"wandb_project=p: No API key configured. Use `wandb log"),
        RunLog(tmp_path, total_steps=3, start_step=0, wandb_project="p"),
    ):
        pass


def test_every_number_gets_its_plot(tmp_path):
    records = [
        {"step": step, "loss": 1 / step, "lr": 0.1, "data_wait_ms": 3.0, "skipped": 0}
        for step in (1, 2, 3)
    ]
    path = draw_curves(records, tmp_path / "a.png")
    assert path == tmp_path / "a.png"
    two = Image.open(path).size
    measured = [{"step": 2, "val_top1": 10.0}, {"step": 3, "val_top1": 20.0}]
    four = [{**record, "memory_gib": 1.0, "skipped": 1} for record in records]
    five = Image.open(draw_curves(four + measured, tmp_path / "b.png")).size
    assert five[0] == two[0]
    assert five[1] == 2 * two[1], "five plots are two rows of three"


def test_without_records_there_is_no_picture(tmp_path):
    assert draw_curves([], tmp_path / "a.png") is None
    assert not (tmp_path / "a.png").exists()
