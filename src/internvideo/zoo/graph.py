"""Models as graphs that run without this library: ONNX, or a program of `torch.export`.

The graph takes normalised clips, or the tokens of sentences, in batches of any size. What belongs
to a model besides its graph (input protocol, class names) is written into the file as JSON, and the
file is opened again and asked: the largest difference to the model is part of the result.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError, ConfigError, did_you_mean, require
from internvideo.files import replacing
from internvideo.models.contract import has
from internvideo.zoo.hub import LoadedModel

__all__ = ["ENDINGS", "ExportedGraph", "GraphPart", "check_format", "export_graph"]

GraphPart = Literal["video", "text"]

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
"""Format → ending of its files."""

_TRACED, _ASKED = 2, 3  # clips of the graph's making, and of the question afterwards
_TOLERANCE = 1e-3  # of the largest output: rounding is a hundred times less
_ONNX_BYTES = 1.9e9
_KEY = "internvideo"


@dataclass(frozen=True, kw_only=True)
class ExportedGraph:
    """What was written.

    Attributes:
        path: the file.
        inputs: shape of the input, "batch" where it is free.
        output: what comes out, in words.
        difference: the largest, to the model, for clips or texts drawn at random.
        scale: the largest output of the model for these.
        runtime: what computed the graph.
    """

    path: Path
    inputs: tuple[str | int, ...]
    output: str
    difference: float
    scale: float
    runtime: str

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.inputs))
        return (
            f"{self.path}: ({shape}) → {self.output}; {self.runtime} differs by "
            f"{self.difference:.1e} at most, of {self.scale:.3g}"
        )


class _Part(nn.Module):
    """The part of a model that becomes a graph."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the part makes of clips or tokens."""
        return getattr(self.model, self.method)(inputs)


def export_graph(
    loaded: LoadedModel, path: str | Path, *, format: str | None = None, part: GraphPart = "video"
) -> ExportedGraph:
    """Write a model as a graph with a free batch, and compare the file with the model.

    Args:
        loaded: a classifier gives logits, any other encoder vectors of unit length.
        path: the file, `.onnx` or `.pt2`.
        format: "onnx" or "torch", whose file `torch.export.load` reads; None: by the ending.
        part: "text" takes the tokens of sentences instead, of a model with two towers.

    Raises:
        ConfigError: no such format, or the model has no such part.
        MissingExtraError: ONNX without its packages.
        CheckpointError: what the file computes is something else.
    """
    path = Path(path)
    kind = check_format(path, format)
    size = sum(each.nbytes for each in loaded.model.state_dict().values())
    if kind == "onnx" and size > _ONNX_BYTES:
        raise ConfigError(
            f"{loaded.name} has {size / 1e9:.1f} GB of weights, more than one ONNX file holds; "
            "write .pt2"
        )
    module, inputs, name, output = _part_of(loaded, part)
    about = {"model": loaded.name, "input": name, "output": output}
    if part == "video":
        about |= {"preprocessing": loaded.protocol.to_dict(), "labels": loaded.class_names}
    traced, asked = (_drawn(inputs, count) for count in (_TRACED, _ASKED))
    with torch.no_grad(), replacing(path, keep_ending=True) as draft:
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(module, (traced,), dynamic_shapes=({0: batch},))
        expected = module(asked)
        if kind == "onnx":
            _write_onnx(program, draft, name, about)
            found = _run_onnx(draft, name, asked)
        else:
            torch.export.save(program, draft, extra_files={f"{_KEY}.json": json.dumps(about)})
            found = torch.export.load(draft).module()(asked)
        difference = float((found - expected).abs().max())
        scale = float(expected.abs().max())
        if not difference <= _TOLERANCE * max(scale, 1e-6):
            raise CheckpointError(
                f"the graph of {loaded.name} computes something else than the model (differs by "
                f"{difference:.1e} of {scale:.3g}); nothing was written"
            )
    return ExportedGraph(
        path=path, inputs=("batch", *traced.shape[1:]), output=output, difference=difference,
        scale=scale, runtime="ONNX Runtime" if kind == "onnx" else "the program",
    )  # fmt: skip


def check_format(path: Path, format: str | None) -> str:
    """Return the format of a file: the one that is named, or else that of its ending.

    Raises:
        ConfigError: there is no such format.
        MissingExtraError: ONNX without its packages.
    """
    known = {ending: name for name, ending in ENDINGS.items()}
    if format is None and path.suffix not in known:
        raise ConfigError(
            f"cannot tell the format from {path}: the name must end in .onnx or .pt2, or --format "
            f"say it.{did_you_mean(path.suffix, known, count=1)}"
        )
    kind = known[path.suffix] if format is None else format
    if kind not in ENDINGS:
        raise ConfigError(f"no format '{kind}'; there are {', '.join(ENDINGS)}")
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, extra="onnx")
    return kind


def _part_of(loaded: LoadedModel, part: GraphPart) -> tuple[nn.Module, Tensor, str, str]:
    """Return the module, an input of any batch, the name of the input, and what comes out."""
    model: Any = loaded.model.float().cpu().eval()
    if part == "text":
        if not has(model, "text"):
            raise ConfigError(f"{loaded.name} has no text tower; leave out --part")
        tokens = model.tokenizer(["a video"])
        return _Part(model, "encode_text").eval(), tokens, "tokens", "vectors of unit length"
    if not has(model, "features"):
        raise ConfigError(f"{loaded.name} has no video encoder to export")
    clips: Tensor = model.example_inputs(1)[0]
    if has(model, "classes"):
        output = f"logits of {len(loaded.class_names or ())} classes"
        return _Part(model, "forward").eval(), clips, "video", output
    return _Part(model, "embed").eval(), clips, "video", "vectors of unit length"


def _drawn(inputs: Tensor, count: int) -> Tensor:
    """Return a batch like an input: clips drawn anew, tokens repeated."""
    if inputs.is_floating_point():
        generator = torch.Generator().manual_seed(count)
        return torch.randn((count, *inputs.shape[1:]), generator=generator)
    return inputs[:1].expand(count, *inputs.shape[1:]).clone()


def _write_onnx(program: Any, path: Path, name: str, about: dict[str, Any]) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.onnx.export(
            program, input_names=[name], output_names=["output"], dynamo=True, verbose=False,
            dynamic_shapes=({0: "batch"},),
        )  # fmt: skip
    assert graph is not None
    graph.model.metadata_props[_KEY] = json.dumps(about, ensure_ascii=False)
    graph.save(path)


def _run_onnx(path: Path, name: str, inputs: Tensor) -> Tensor:
    runtime = require("onnxruntime", extra="onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {name: inputs.numpy()})
    return torch.from_numpy(found)
