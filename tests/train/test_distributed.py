from __future__ import annotations

import os
import subprocess
import sys

from internvideo.train.journal import read_log

TINY = [
    "data.num_clips=24",
    "runtime.batch_size=4",
    "runtime.num_workers=0",
    "runtime.log_every=1",
    "runtime.accelerator=cpu",
    "model.encoder.width=16",
    "model.encoder.depth=1",
    "model.encoder.stem.channels=[4, 4, 8]",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]


def test_torchrun_trains_with_two_processes(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    train = ["-m", "internvideo", "train", "world_videomae-nano", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *train, *TINY], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    records = read_log(tmp_path / "run" / "log.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3], "24 clips are 3 batches of 2 x 4"
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
