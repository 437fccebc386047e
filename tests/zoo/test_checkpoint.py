from __future__ import annotations

import argparse
import collections
import io
import os
import pathlib
import pickle
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from internvideo.errors import CheckpointError
from internvideo.zoo.checkpoint import read_checkpoint

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).half()}


class EasyDict(dict):
    """A configuration dictionary as many code bases have one: keys are attributes too."""

    def __init__(self, **values):
        super().__init__()
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        super().__setitem__(name, value)


class Callback:
    """A class of a trainer that is not on the list of harmless ones."""


class Evil:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(params=[False, True], ids=["zip", "legacy"])
def save(request, tmp_path):
    def write(content, name="file.pth", **options):
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=not request.param, **options)
        return path

    return write


def assert_equal(state):
    assert state.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(state[name], tensor)
        assert state[name].dtype == tensor.dtype


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", "model_state"])
def test_weights_are_found_under_each_wrapper(save, wrapper):
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    file = read_checkpoint(save({wrapper: WEIGHTS, "optimizer": optimizer, "epoch": 7}))
    assert_equal(file.state)
    assert file.wrapper == wrapper
    assert file.metadata["epoch"] == 7


def test_bare_and_doubly_wrapped_weights(save):
    bare = read_checkpoint(save(collections.OrderedDict(WEIGHTS)))
    assert_equal(bare.state)
    assert bare.wrapper == ""
    nested = read_checkpoint(save({"state_dict": {"model": WEIGHTS}}))
    assert_equal(nested.state)
    assert nested.wrapper == "state_dict.model"


def test_the_ending_of_the_name_does_not_matter(save, tmp_path):
    assert_equal(read_checkpoint(save(WEIGHTS, "vit_h.sh")).state)
    save_file(WEIGHTS, tmp_path / "model.bin", metadata={"made": "here"})
    file = read_checkpoint(tmp_path / "model.bin")
    assert_equal(file.state)
    assert file.format == "safetensors"
    assert file.metadata == {"made": "here"}


def test_options_of_a_training_run_are_read_as_plain_values(save):
    content = {
        "model": WEIGHTS,
        "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("/runs/one")),
        "config": EasyDict(size="l", inner=EasyDict(depth=24)),
        "best": np.float64(81.5),
        "counts": collections.defaultdict(list, {"a": 1}),
        "random": np.random.RandomState(0).get_state(),
    }
    file = read_checkpoint(save(content))
    assert_equal(file.state)
    assert file.metadata["args"] == {"lr": 1e-3, "out": "/runs/one"}
    assert file.metadata["config"] == {"size": "l", "inner": {"depth": 24}}
    assert file.metadata["best"] == 81.5
    assert file.metadata["counts"] == {"a": 1}


def test_entries_that_are_no_tensors_are_named(save):
    assert read_checkpoint(save({**WEIGHTS, "version": 3})).ignored == ("version",)


@pytest.fixture
def trap(tmp_path):
    """A file that a hostile pickle would create; the test fails if it does."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "the pickle was executed"


HOSTILE = {
    "os.system": (lambda trap: Evil(os.system, f"touch {trap}"), r"(posix|nt)\.system"),
    "eval": (lambda trap: Evil(eval, f"open({str(trap)!r}, 'w')"), r"builtins\.eval"),
    "exec": (lambda trap: Evil(exec, f"open({str(trap)!r}, 'w')"), r"builtins\.exec"),
    "subprocess": (lambda trap: Evil(subprocess.Popen, ["touch", str(trap)]), r"subprocess\.Popen"),
    "open": (lambda trap: Evil(open, str(trap), "w"), r"open"),
    "getattr": (lambda trap: Evil(getattr, "text", "upper"), r"builtins\.getattr"),
    "import": (lambda trap: Evil(__import__, "os"), r"builtins\.__import__"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("place", ["top", "model", "beside", "inside"])
def test_a_pickle_that_would_call_something_is_refused_by_name(save, trap, what, place):
    make, name = HOSTILE[what]
    evil = make(trap)
    content = {
        "top": evil,
        "model": {"model": evil},
        "beside": {"model": WEIGHTS, "config": evil},
        "inside": {"model": {**WEIGHTS, "x": [evil]}},
    }[place]
    with pytest.raises(CheckpointError, match=rf"refused.*import .*{name}.*nothing was executed"):
        read_checkpoint(save(content))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_plain_pickle_is_refused_in_every_protocol(tmp_path, trap, protocol):
    path = tmp_path / "file.pt"
    path.write_bytes(pickle.dumps({"model": Evil(os.system, f"touch {trap}")}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"refused.*system"):
        read_checkpoint(path)


def test_protocols_that_are_not_recognised_are_refused_too(tmp_path, trap):
    path = tmp_path / "file.pt"
    path.write_bytes(pickle.dumps(Evil(os.system, f"touch {trap}"), protocol=0))
    with pytest.raises(CheckpointError, match="not a weight file"):
        read_checkpoint(path)


def test_an_allowed_name_is_not_a_way_to_call_another_function(tmp_path, trap):
    # a permitted class as the callable, the command as its argument: must stay a stand-in
    program = (
        b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00m"
        b"cos\nsystem\n(X"
        + struct.pack("<I", len(f"touch {trap}"))
        + f"touch {trap}".encode()
        + b"tRu."
    )
    path = tmp_path / "file.pt"
    path.write_bytes(program)
    with pytest.raises(CheckpointError, match=r"os\.system|posix\.system"):
        read_checkpoint(path)


def test_a_whole_pickled_model_is_refused_with_the_way_out(save):
    with pytest.raises(CheckpointError, match=r"save model\.state_dict\(\)"):
        read_checkpoint(save({"model": torch.nn.Linear(2, 2)}))


def test_a_class_may_be_permitted_and_is_never_imported(save):
    path = save({"model": WEIGHTS, "callback": Callback()})
    name = f"{Callback.__module__}.Callback"
    with pytest.raises(CheckpointError, match=r"permit=\('.*Callback',\)"):
        read_checkpoint(path)
    assert_equal(read_checkpoint(path, permit=[name]).state)


def test_permitting_a_function_does_not_run_it(save, trap):
    path = save({"model": WEIGHTS, "x": Evil(eval, f"open({str(trap)!r}, 'w')")})
    assert_equal(read_checkpoint(path, permit=["builtins.eval"]).state)


def test_extension_codes_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(b"\x80\x02\x82\x01.")
    with pytest.raises(CheckpointError, match="copyreg extension 1"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello world", "not a weight file"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<html><head>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"PK\x03\x04 nonsense", "truncated or damaged"),
        (b"\x80\x02nonsense", "not a readable pickle"),
        (struct.pack("<Q", 100) + b"{not json}", "broken safetensors"),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path, content, message):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_said(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [{"optimizer": {"lr": 0.1}}, [1, 2], "text", {"model": {}}])
def test_a_file_without_weights_is_said(save, content):
    with pytest.raises(CheckpointError, match=r"holds (no weights|a )"):
        read_checkpoint(save(content))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_file_never_crashes_and_never_runs(tmp_path_factory, legacy, data):
    buffer = io.BytesIO()
    torch.save({"model": WEIGHTS}, buffer, _use_new_zipfile_serialization=not legacy)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    path = tmp_path_factory.mktemp("damaged") / "file.pth"
    path.write_bytes(content)
    try:
        file = read_checkpoint(path)
    except CheckpointError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in file.state.values())


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("bomb/data/0", bytes(1 << 24))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(CheckpointError, match="compressed zip archive"):
        read_checkpoint(path)


def test_another_zip_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_checkpoint(path)


def tampered(path, old: bytes, new: bytes) -> None:
    """Replace bytes of data.pkl in a torch file, and write the archive anew."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("/data.pkl"))
    assert old in records[name]
    records[name] = records[name].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"w": torch.zeros(300)}, path)
    number = b"M" + struct.pack("<H", 300)
    tampered(path, number, b"J" + struct.pack("<i", 2_000_000_000))
    with pytest.raises(CheckpointError, match=r"claims|damaged"):
        read_checkpoint(path)


def test_an_expanded_tensor_of_absurd_size_is_refused(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, path)
    assert path.stat().st_size < 4096
    with pytest.raises(CheckpointError, match=r"claims .* but holds only 4 bytes"):
        read_checkpoint(path)


def test_safetensors_with_overlapping_tensors_are_refused(tmp_path):
    header = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    with pytest.raises(CheckpointError, match="broken safetensors"):
        read_checkpoint(path)


def test_sparse_tensors_are_refused(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"w": torch.eye(2).to_sparse()}, path)
    with pytest.raises(CheckpointError, match="not a plain tensor"):
        read_checkpoint(path)
