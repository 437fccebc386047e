from __future__ import annotations

import pytest

from internvideo.errors import ConfigError
from internvideo.recipe import load_recipe
from internvideo.recipe.disk import refuse_trimmed, trim_run


def finished(directory, *, same: bool):
    for name in ("model", "best"):
        (directory / name).mkdir(parents=True)
        content = b"weights" if same or name == "model" else b"others."
        (directory / name / "model.safetensors").write_bytes(content)
    for name in ("last.ckpt", "previous.ckpt"):
        (directory / name).touch()
    return directory


@pytest.mark.parametrize("same", [True, False])
def test_equal_weights_are_one_file_and_the_state_before_goes(tmp_path, same):
    run = finished(tmp_path, same=same)
    trim_run(run, keep_state=True)
    best, model = run / "best/model.safetensors", run / "model/model.safetensors"
    assert best.samefile(model) == same
    assert best.read_bytes() == (b"weights" if same else b"others.")
    assert (run / "last.ckpt").exists()
    assert not (run / "previous.ckpt").exists()
    trim_run(run, keep_state=True)  # again


def test_a_run_that_kept_no_state_is_not_begun_anew(tmp_path):
    run = finished(tmp_path, same=True)
    refuse_trimmed(run)
    trim_run(run, keep_state=False)
    assert not list(run.glob("*.ckpt"))
    recipe = load_recipe("world_videomae-nano", ["runtime.keep_state=false"])
    (run / "recipe.yaml").write_text(recipe.to_yaml())
    with pytest.raises(ConfigError, match="kept no state"):
        refuse_trimmed(run)
