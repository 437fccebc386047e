"""One slice all the way through: train by recipe, load what came out, ask it about a file."""

from __future__ import annotations

import json

MASKED = """
name: tiny_videomae
task: {kind: masked, mask: random, mask_ratio: 0.5}
model:
  encoder: {image_size: 32, num_frames: 16, patch_size: 16, tubelet_size: 4, width: 32, depth: 1,
            num_heads: 2}
  decoder_width: 32
  decoder_depth: 1
  decoder_num_heads: 2
data: {kind: world, num_clips: 32}
schedule: {epochs: 1}
runtime: {batch_size: 8, threads: 1, num_workers: 0, log_every: 1}
"""

CONTRASTIVE = """
name: tiny_viclip
task: {kind: contrastive}
init: INIT
model:
  vision: {kind: VideoViT, image_size: 32, num_frames: 16, patch_size: 16, tubelet_size: 4,
           width: 32, depth: 1, num_heads: 2}
  text: {width: 32, depth: 1, num_heads: 2, context_length: 26, embed_dim: 16}
  embed_dim: 16
  vocabulary: world
data: {kind: world, num_clips: 32}
schedule: {epochs: 1}
runtime: {batch_size: 8, threads: 1, num_workers: 0, log_every: 1}
"""


def test_masked_then_contrastive_then_the_model_answers(call, tmp_path):
    masked, contrastive = tmp_path / "masked.yaml", tmp_path / "contrastive.yaml"
    masked.write_text(MASKED, encoding="utf-8")
    first, second = tmp_path / "first", tmp_path / "second"
    contrastive.write_text(CONTRASTIVE.replace("INIT", str(first / "model")), encoding="utf-8")

    code, out, err = call("train", masked, "--out", first)
    assert code == 0, err
    assert str(first / "model") in out
    code, out, err = call("train", contrastive, "optim.lr=2e-3", "--out", second)
    assert code == 0, err
    assert "0.002" in (second / "recipe.yaml").read_text("utf-8")
    assert len((second / "log.jsonl").read_text("utf-8").splitlines()) == 4

    clips = tmp_path / "clips"
    assert call("world", "--out", clips, "-n", 3, "--seed", 9, "--workers", 1)[0] == 0
    code, out, err = call(
        "classify", clips, "-l", "something grows", "-l", "a red star", "--json",
        "-m", second / "model",
    )  # fmt: skip
    assert code == 0, err
    assert len(out.splitlines()) == 3
    assert all(len(json.loads(line)["predictions"]) == 2 for line in out.splitlines())

    embeddings = tmp_path / "masked.npz"
    assert call("embed", clips, "-m", first / "model", "--out", embeddings)[0] == 0
    code, out, _ = call(
        "demo", "--out", tmp_path / "demo", "-m", second / "model", "--num-clips", 28
    )
    assert code == 0
    assert (tmp_path / "demo/index.html").is_file()
