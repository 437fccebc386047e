from __future__ import annotations

from pathlib import Path

import pytest

from internvideo.errors import ConfigError
from internvideo.zoo import environment


def test_the_cache_is_the_named_folder_or_the_one_in_the_home(monkeypatch):
    monkeypatch.setenv("INTERNVIDEO_CACHE", "~/weights")
    assert environment.cache_directory() == Path.home() / "weights"
    monkeypatch.delenv("INTERNVIDEO_CACHE")
    assert environment.cache_directory() == Path.home() / ".cache" / "internvideo"


@pytest.mark.parametrize("variable", ["INTERNVIDEO_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("YES", True), ("0", False), ("", False)]
)
def test_offline_is_switched_by_either_variable(monkeypatch, variable, value, offline):
    monkeypatch.setenv(variable, value)
    assert environment.is_offline() is offline


def test_a_switch_that_is_neither_yes_nor_no_is_refused(monkeypatch):
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "maybe")
    with pytest.raises(ConfigError, match=r"INTERNVIDEO_OFFLINE='maybe'.*1 or 0"):
        environment.is_offline()


def test_an_endpoint_has_no_trailing_slash(monkeypatch):
    assert environment.hub_endpoint() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert environment.hub_endpoint() == "https://mirror.example"
    assert environment.mirror() is None


def test_every_variable_that_the_package_reads_is_in_the_table():
    import re

    import internvideo

    used = set()
    for path in Path(internvideo.__file__).parent.rglob("*.py"):
        used |= set(re.findall(r"environ[^\n]*?\"([A-Z_]{4,})\"", path.read_text(encoding="utf-8")))
    assert {name for name in used if name in (environment.__doc__ or "")} >= {
        "INTERNVIDEO_CACHE",
        "INTERNVIDEO_MIRROR",
        "HF_ENDPOINT",
    }
    ours = {name for name in used if name.startswith("INTERNVIDEO_")}
    assert ours <= set(re.findall(r"`(INTERNVIDEO_\w+)`", environment.__doc__ or ""))
