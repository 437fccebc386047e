import json
import os
import signal
import subprocess
import sys
import time

import pytest

from internvideo.errors import ConfigError, InternVideoError
from internvideo.reproduce.budget import find_budget
from internvideo.reproduce.running import carry_out
from internvideo.reproduce.steps import Step, plan


def _painting(name, *, world=1, needs=()):
    return Step(
        name=name,
        work="paint",
        options={
            "parts": {"few": {"world": world, "num_clips": 2}},
            "captions": {},
            "captions_per_clip": 1,
        },
        needs=needs,
    )


def test_what_is_done_is_not_done_again(tmp_path):
    steps = [_painting("a"), _painting("b", needs=("a",))]
    first = carry_out(steps, tmp_path, jobs=2)
    written = (tmp_path / "b" / "few.safetensors").stat().st_mtime_ns
    assert carry_out(steps, tmp_path, jobs=2) == first
    assert (tmp_path / "b" / "few.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match="another study"):
        carry_out([_painting("a", world=2)], tmp_path, jobs=1)


def test_a_failure_names_its_log(tmp_path):
    broken = Step(name="a", work="train", options={"recipe": "no-such", "overrides": {}})
    with pytest.raises(InternVideoError, match=r"no recipe 'no-such'.*output\.log"):
        carry_out([broken, _painting("b")], tmp_path, jobs=1)
    assert not (tmp_path / "a" / "result.json").exists()


def _command(out):
    line = ["-m", "internvideo", "reproduce", "--budget", "tiny", "--out", str(out), "--jobs", "2"]
    return [sys.executable, *line]


def _numbers(out):
    return {
        str(path.parent.relative_to(out)): json.loads(path.read_text())["numbers"]
        for path in sorted(out.glob("seed-*/*/result.json"))
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_study_goes_on_to_the_same_numbers(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for wanted in (3, 8):
        run = subprocess.Popen(_command(killed), stderr=subprocess.DEVNULL)
        while len(_numbers(killed)) < wanted:
            assert run.poll() is None
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not (killed / "report.json").exists()
    subprocess.run(_command(killed), check=True, capture_output=True)

    steps = [step for step in plan(find_budget("tiny")) if step.name.startswith("seed-1/")]
    carry_out(steps, whole, jobs=2)
    undisturbed, found = _numbers(whole), _numbers(killed)
    assert len(undisturbed) == len(steps)
    assert undisturbed == {name: found[name] for name in undisturbed}

    report = json.loads((killed / "report.json").read_text())
    verdicts = [claim["verdict"] for claim in report["sections"][0]["claims"]]
    assert len(verdicts) == 6
    assert "not measured" not in verdicts
    assert "</html>" in (killed / "index.html").read_text()
    for run in killed.glob("seed-*/*-actions"):
        if (run / "model").exists():
            assert {"recipe.yaml", "log.jsonl", "output.log"} <= {p.name for p in run.iterdir()}
