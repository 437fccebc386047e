from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from internvideo.cli.application import run
from internvideo.errors import CheckpointError, ConfigError
from internvideo.train.checkpoint import load_state, only_run, save_state


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state(path, {"step": 1})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_state(path, {"step": lambda: 2})
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


class Hostile:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_file_with_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    torch.save({"step": Hostile()}, path)
    with pytest.raises(CheckpointError, match="cannot resume"):
        load_state(path)
    assert capsys.readouterr().out == ""


def test_a_truncated_file_is_a_clear_error(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state(path, {"step": torch.arange(100)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="delete the file"):
        load_state(path)


class FullDisk:
    """A file on which there is no room."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self): ...

    def fileno(self):
        return self.file.fileno()


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_state(path, {"step": 1})
    with monkeypatch.context() as patch:
        real = Path.open
        patch.setattr(Path, "open", lambda *args, **kwargs: FullDisk(real(*args, **kwargs)))
        with pytest.raises(CheckpointError, match=r"last\.ckpt: No space left"):
            save_state(path, {"step": torch.ones(1000)})
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / ".last.ckpt.4711.part").write_bytes(b"half")
    save_state(tmp_path / "last.ckpt", {"step": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from internvideo.train.checkpoint import only_run
with only_run(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,), daemon=True).start()
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path, capsys):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with (
            pytest.raises(ConfigError, match=rf"process {process.pid}"),
            only_run(tmp_path),
        ):
            pass
        assert run(["train", "world_videomae-nano", "--out", str(tmp_path)]) == 2
        assert not (tmp_path / "recipe.yaml").exists()
        assert f"error: process {process.pid} on" in capsys.readouterr().err
        process.kill()
        process.wait()
    with only_run(tmp_path):  # though a data worker outlives it
        pass
