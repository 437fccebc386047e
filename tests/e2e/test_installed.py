"""What is installed from a wheel works outside the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_makes_the_demo(tmp_path):
    pytest.importorskip("hatchling")
    builder = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", builder, str(wheels)], check=True, cwd=ROOT, timeout=200)
    [wheel] = wheels.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=200)
    paths = {"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    assert (site / "internvideo" / "py.typed").is_file()
    # the packages that it needs, but not this repository
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    ours = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*line: str) -> str:
        command = [str(python), "-m", "internvideo", *line]
        done = subprocess.run(
            command, cwd=tmp_path, env=ours, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [str(python), "-c", "import internvideo; print(internvideo.__file__)"]
    found = subprocess.run(
        where, cwd=tmp_path, env=ours, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(tmp_path / "env"))
    run("demo", "--out", "demo", "--num-clips", "28")
    numbers = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert numbers["world"]["rates"]["accuracy"]["value"] > 0.8
    assert "world_videomae-nano_actions" in run("recipes")
