"""What importing costs: counted in modules, which does not depend on the machine's load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "av",
    "PIL",
    "einops",
    "jaxtyping",
    "safetensors",
    "huggingface_hub",
    "fsspec",
    "pydantic",
    "yaml",
    "open_clip",
    "tokenizers",
    "ftfy",
    "lightning_fabric",
    "sklearn",
    "matplotlib",
    "torchcodec",
    "rich",
)


def modules_after(code: str) -> list[str]:
    """Return the top-level modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after("import internvideo")
    assert sorted({name.partition(".")[0] for name in loaded} & {*HEAVY, "typer"}) == []
    assert [name for name in loaded if name.startswith("internvideo")] == ["internvideo"]


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    code = f"import sys\nfrom internvideo.cli.application import run\ncode = run({arguments!r})"
    loaded = {name.partition(".")[0] for name in modules_after(code)}
    # Newer typers look at pydantic themselves, for the types of options.
    assert sorted(loaded & (set(HEAVY) - {"pydantic"})) == []


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("from internvideo import errors", {"torch", "numpy"}),
        ("import internvideo.world", {"torch", "numpy", "av", "sklearn"}),
        ("import internvideo.video", {"torch", "numpy", "av"}),
        ("import internvideo as iv; iv.list_models", {"torch", "torchvision", "av"}),
        ("import internvideo as iv; iv.World", {"torch", "torchvision", "av"}),
        (
            "import internvideo as iv; iv.load",
            {"torchvision", "open_clip", "tokenizers", "matplotlib", "sklearn"},
        ),
    ],
)
def test_each_part_loads_only_what_it_needs(code, unwanted):
    loaded = {name.partition(".")[0] for name in modules_after(code)}
    assert not loaded & unwanted


def test_every_public_name_can_be_had():
    import internvideo

    for name in internvideo.__all__:
        assert getattr(internvideo, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        internvideo.nonsense  # noqa: B018
    assert dir(internvideo) == internvideo.__all__
