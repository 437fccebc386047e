"""Models as graphs: another batch gives the numbers of the model, and the file says what it is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

import tiny
from internvideo.cli.application import run
from internvideo.errors import CheckpointError, ConfigError, MissingExtraError
from internvideo.pipeline import load
from internvideo.zoo import graph, load_model
from internvideo.zoo.graph import export_graph


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny.save_classifier(root / "classifier")
    tiny.save_viclip(root / "viclip")
    return root


def test_a_program_takes_batches_of_any_size(models, tmp_path, capsys):
    out = tmp_path / "deep" / "classifier.pt2"
    assert run(["models", "export", str(models / "classifier"), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"logits of {len(tiny.CLASSES)} classes" in told
    assert "differs by 0.0e+00" in told
    extra = {"internvideo.json": ""}
    program = torch.export.load(out, extra_files=extra).module()
    loaded = load(models / "classifier")
    clips = loaded.model.example_inputs(5)[0]
    torch.testing.assert_close(program(clips), loaded.model(clips))
    about = json.loads(extra["internvideo.json"])
    assert tuple(about["labels"]) == tiny.CLASSES
    assert about["preprocessing"] == loaded.preprocessing.to_dict()


@pytest.mark.parametrize("part", ["video", "text"])
def test_onnx_runtime_computes_what_the_model_does(models, tmp_path, part):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    loaded = load_model(str(models / "viclip"))
    found = export_graph(loaded, tmp_path / "viclip.onnx", part=part)
    assert found.runtime == "ONNX Runtime"
    assert found.difference < 1e-5
    session = runtime.InferenceSession(tmp_path / "viclip.onnx")
    [asked] = session.get_inputs()
    assert asked.shape[0] == "batch"
    about = json.loads(session.get_modelmeta().custom_metadata_map["internvideo"])
    assert about["input"] == {"video": "video", "text": "tokens"}[part]


def test_a_graph_that_computes_something_else_is_not_written(models, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "load", lambda *_: SimpleNamespace(module=torch.nn.Identity))
    monkeypatch.setattr(graph, "_part_of", lambda loaded, part: (
        torch.nn.Linear(4, 4), torch.zeros(1, 4), "video", "vectors"))  # fmt: skip
    with pytest.raises(CheckpointError, match="something else"):
        export_graph(load_model(str(models / "classifier")), tmp_path / "out.pt2")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_told_before_the_model_is_loaded(models, tmp_path, monkeypatch):
    loaded = load_model(str(models / "classifier"))
    with pytest.raises(ConfigError, match=r"\.onnx or \.pt2"):
        export_graph(loaded, tmp_path / "out.onx")
    with pytest.raises(ConfigError, match="no text tower"):
        export_graph(loaded, tmp_path / "out.pt2", part="text")

    def missing(module, *, extra):
        raise MissingExtraError(f"pip install 'internvideo[{extra}]'")

    monkeypatch.setattr(graph, "require", missing)
    with pytest.raises(MissingExtraError, match=r"internvideo\[onnx\]"):
        export_graph(loaded, tmp_path / "out.onnx")
