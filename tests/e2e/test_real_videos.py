"""Real videos of several makers, where they are at hand: they classify and embed as any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny
from internvideo.cli.application import run
from internvideo.pipeline import load

LABELS = ("-l", "a red star", "-l", "a blue arrow")
FOLDER = Path(__file__).parents[2].parent / "shared" / "videos"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the sample videos in {FOLDER}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.save_viclip(tmp_path_factory.mktemp("models") / "viclip")


def test_all_of_them_embed(folder):
    videos = sorted(FOLDER.iterdir())
    model = load(folder, device="cpu")
    rows = model.embed_video(videos)
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(videos)), atol=1e-5)
    for row, path in zip(rows, videos, strict=True):
        assert torch.allclose(model.embed_video(path.read_bytes())[0], row, atol=1e-5)


def test_all_of_them_classify_from_the_command_line(folder, capsys):
    code = run(["classify", str(FOLDER), *LABELS, "-m", str(folder), "--json"])
    captured = capsys.readouterr()
    assert code == 0
    answered = [Path(json.loads(line)["video"]).name for line in captured.out.splitlines()]
    assert sorted(answered) == sorted(path.name for path in FOLDER.iterdir())
