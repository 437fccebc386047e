from __future__ import annotations

import pytest
from rich.console import Console

from internvideo.train.progress import TrainingProgress

NUMBERS = {"loss": 1.611, "grad_norm": 10.52, "lr": 3.125e-05, "clips_per_s": 0.549,
           "data_wait_ms": 7.0, "data_wait": 0.0, "memory_gib": 2.5, "skipped": 0}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_step_epoch_and_remaining_time_are_seen_at_any_width(width):
    progress = TrainingProgress(0, 1400, steps_per_epoch=140)
    progress._console = Console(width=width)
    progress.log(1011, NUMBERS)
    line = progress.line().plain
    assert len(line) < width
    assert line.startswith("step 1011/1400  epoch 8/10  ETA 0:00:0")
    shown = [part for part in line.split("  ")[2:] if part not in ("…", "")]
    assert line.endswith("  …")
    facts = ["loss 1.611", "grad_norm 10.52", "lr 3.125e-05", "0.549 clips/s"]
    assert shown[1:] == facts[: len(shown) - 1]  # after the remaining time; none is cut


def test_a_terminal_keeps_some_lines_and_all_evaluations(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress = TrainingProgress(0, 100, steps_per_epoch=10)
    for step in range(1, 101):
        progress.advance(step)
        progress.log(step, NUMBERS)
        if step % 50 == 0:
            long = {"val_mean_class_accuracy": 50.0, "val_loss": 0.0123, "val_top5": 99.5}
            progress.log(step, {"val_top1": 50.0, "val_num_failed": 0.0, **long})
    progress.close(failed=False)
    shown = capsys.readouterr().err
    assert shown.count("val_top1 50") == 2
    assert shown.count("val_top5 99.5") == 2  # in a second line
    assert "videos failed" not in shown
    assert 20 <= shown.count("  loss 1.611") <= 60  # 20 kept lines, and the moving one


def test_a_file_gets_a_line_a_record(capsys):
    progress = TrainingProgress(0, 4, steps_per_epoch=2)
    progress.log(2, {"loss": 0.5})
    assert capsys.readouterr().err.startswith("step 2/4  epoch 1/2  loss 0.5  ETA 0:00:0")
