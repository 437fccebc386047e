from __future__ import annotations

import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from internvideo.errors import CheckpointError
from internvideo.zoo.checkpoint import read_checkpoint


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.register_buffer("context_length", torch.tensor(77))
        self.sizes = [1, 2]

    def forward(self, x):
        return self.linear(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Inner()
        self.scale = nn.Parameter(torch.ones(2, 2).half())
        self.blocks = nn.Sequential(Inner(), Inner())

    def forward(self, x):
        return self.visual(x)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(Outer())
        torch.jit.save(module, path)
    return path, module.state_dict()


def test_the_tensors_come_out_without_the_program(archive, monkeypatch):
    path, expected = archive
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("the program was loaded"))
    file = read_checkpoint(path)
    assert file.format == "torchscript"
    assert file.state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(file.state[name], tensor)
        assert file.state[name].dtype == tensor.dtype


def rewritten(path, change) -> None:
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def test_a_pickle_that_names_anything_else_is_refused(archive, tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

    path, _ = archive

    def change(records):
        name = next(name for name in records if name.endswith("/data.pkl"))
        records[name] = pickle.dumps(Evil(), protocol=2)

    rewritten(path, change)
    with pytest.raises(CheckpointError, match=r"builtins\.eval.*nothing was executed"):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_missing_tensor_and_no_module_are_said(archive):
    path, _ = archive
    rewritten(path, lambda records: [records.pop(n) for n in list(records) if "/data/" in n])
    with pytest.raises(CheckpointError, match="damaged TorchScript archive"):
        read_checkpoint(path)

    def change(records):
        name = next(name for name in records if name.endswith("/data.pkl"))
        records[name] = pickle.dumps([1], protocol=2)

    rewritten(path, change)
    with pytest.raises(CheckpointError, match="holds no module"):
        read_checkpoint(path)
