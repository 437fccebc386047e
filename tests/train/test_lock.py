from __future__ import annotations

import subprocess
import sys

import pytest

from internvideo.cli.application import run
from internvideo.errors import ConfigError
from internvideo.train.lock import only_run

HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from internvideo.train.lock import only_run
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
            pytest.raises(ConfigError, match=rf"process {process.pid} on \S+ is training in"),
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
