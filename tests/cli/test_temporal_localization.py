from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.models.actionformer import ActionFormer
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import save_pretrained
from internvideo.zoo.kinds.actionformer import ACTIONFORMER
from tasks.temporal_localization.untrimmed import CLASSES, write_videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A detector that has learnt nothing, and videos."""
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 4, subset="validation")
    write_videos(folder, 2)
    torch.manual_seed(0)
    model = ActionFormer(replace(ACTIONFORMER.tiny["window"], prior=0.3)).eval()
    save_pretrained(model, folder / "model", preprocessing=PRESETS["tal-features"], labels=CLASSES)
    return folder


def test_a_detector_is_measured_on_features(folder, tmp_path, call):
    line = ("evaluate", "temporal-localization", folder / "model")
    data = ("-d", folder / "annotations.json", "--split", "validation")
    code, _, errors = call(*line, *data)
    assert code == 2
    assert "--features" in errors
    rows = ("--features", folder / "features", "--feature-stride", 5, "--feature-window", 10)
    code, told, _ = call(*line, *data, *rows, "--json", "--out", tmp_path)
    assert code == 0
    found = json.loads(told)
    assert found["num_videos"] == 4
    assert found["num_predictions"] > 100
    assert found == json.loads((tmp_path / "report.json").read_text())
    code, again, _ = call(*line, *data, *rows, "--json", "--out", tmp_path)  # from the file
    assert json.loads(again)["mAP"] == found["mAP"]


def asked(folder, *others, model=None):
    data = ("-d", folder / "annotations.json", "--split", "validation")
    return ("evaluate", "temporal-localization", model or folder / "model", *data, *others)


def test_features_at_another_rate_are_named_with_both_lengths(folder, call):
    rows = ("--features", folder / "features", "--feature-stride", 10, "--json")
    code, told, errors = call(*asked(folder, *rows))
    assert code == 2
    assert "annotation of validation-00 says" in told + errors


def test_another_model_is_refused(folder, call):
    rows = ("--features", folder / "features", "--feature-stride", 5)
    code, _, errors = call(*asked(folder, *rows, model="viclip-nano"))
    assert code == 2
    assert "finds no moments" in errors


def test_a_stride_is_a_number_or_spread(folder, call):
    rows = ("--features", folder / "features", "--feature-stride")
    assert "expected a number, or spread" in call(*asked(folder, *rows, "some"))[2]
    code, told, _ = call(*asked(folder, *rows, "spread", "--json"))
    assert code == 0
    assert np.isfinite(json.loads(told)["mAP"])
