from __future__ import annotations

import errno
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.train.checkpoint import load_state, random_state, restore_random_state, save_state


def draw():
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002


def test_the_random_state_survives_the_file(tmp_path):
    save_state(tmp_path / "a" / "last.ckpt", {"random": random_state()})
    expected = draw()
    assert draw() != expected
    restore_random_state(load_state(tmp_path / "a" / "last.ckpt")["random"])
    assert draw() == expected


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


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_state(path, {"step": 1})
    with monkeypatch.context() as patch:
        real = Path.open
        patch.setattr(Path, "open", lambda *args, **kwargs: FullDisk(real(*args, **kwargs)))
        with pytest.raises(CheckpointError, match=r"last.ckpt: No space left.*the one before is"):
            save_state(path, {"step": torch.ones(1000)})
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / ".last.ckpt.4711.part").write_bytes(b"half")
    save_state(tmp_path / "last.ckpt", {"step": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
