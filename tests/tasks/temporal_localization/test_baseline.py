"""A classifier of sliding windows, measured alone and beside another model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from internvideo.zoo.hub import weights_sha256
from internvideo.zoo.load import load_model
from tiny import CLASSES, save_classifier

_ROWS = 40


@pytest.fixture
def folder(tmp_path):
    """Features of a tiny classifier: what makes it sure of a class, for a while in each video."""
    torch.manual_seed(0)
    model = load_model(save_classifier(tmp_path / "classifier"), device="cpu")
    weight = model.model.head.weight.detach()
    features, database = tmp_path / "features", {}
    features.mkdir()
    for number in range(3):
        rows = torch.zeros(_ROWS, weight.shape[1])
        rows[10 + number : 20 + number] = 20 * torch.nn.functional.normalize(weight[number], dim=0)
        np.save(features / f"v{number}.npy", rows.numpy())
        segment = [2 * (10 + number), 2 * (20 + number)]
        label = CLASSES[number].capitalize()
        database[f"v{number}"] = {
            "subset": "val", "duration": 2.0 * _ROWS,
            "annotations": [{"label": label, "segment": segment}],
        }  # fmt: skip
    manifest = {"model": "tiny", "fps": 1.0, "stride": 2, "window": 2}
    manifest["weights_sha256"] = weights_sha256(model.model)
    (features / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "a.json").write_text(json.dumps({"database": database}))
    return tmp_path


def _arguments(folder, model, *more):
    return (
        "evaluate", "temporal-localization", model, "-d", folder / "a.json", "--split", "val",
        "--features", folder / "features", *more,
    )  # fmt: skip


def test_a_classifier_of_windows_is_measured_alone_and_beside(folder, call):
    model = folder / "classifier"
    code, out, err = call(
        *_arguments(folder, model, "--baseline", model, "--json", "--out", folder / "out",
                    "--plot", folder / "p.png")
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert report["mAP@0.95"] == pytest.approx(100)
    assert report["baseline"]["mAP"] == report["mAP"]
    assert (folder / "out" / "baseline" / "submission.json").is_file()
    code, out, _ = call(*_arguments(folder, model, "--baseline", model))
    assert code == 0
    assert "baseline: " in out


def test_features_of_another_encoder_are_refused(folder, call):
    path = folder / "features" / "manifest.json"
    path.write_text(path.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    code, _, err = call(*_arguments(folder, folder / "classifier"))
    assert code == 2
    assert "its own encoder" in err
    path.unlink()
    options = ("--feature-fps", 1, "--feature-stride", 2)
    np.save(folder / "features" / "v1.npy", np.zeros((_ROWS, 5), np.float32))
    code, _, err = call(*_arguments(folder, folder / "classifier", *options))
    assert code == 2
    assert "5 channels" in err
