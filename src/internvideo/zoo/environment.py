"""Every environment variable that the library reads.

| variable              | meaning                                         | default                |
|-----------------------|-------------------------------------------------|------------------------|
| `INTERNVIDEO_CACHE`   | folder of the downloaded weight files           | `~/.cache/internvideo` |
| `INTERNVIDEO_OFFLINE` | `1`: never touch the network                    | off                    |
| `HF_HUB_OFFLINE`      | `1`: the same, shared with huggingface_hub      | off                    |
| `INTERNVIDEO_MIRROR`  | URL or folder searched before published links   | none                   |
| `HF_ENDPOINT`         | stands for `https://huggingface.co` in links    | the hub                |
| `MILVUS_TOKEN`        | `user:password` or key of a Milvus server       | none                   |

The access token for gated repositories is the one of `hf auth login`; huggingface_hub looks it up.
"""

from __future__ import annotations

import os
from pathlib import Path

from internvideo.errors import ConfigError

__all__ = ["HUB", "cache_directory", "hub_endpoint", "is_offline", "milvus_token", "mirror"]

HUB = "https://huggingface.co"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}


def cache_directory() -> Path:
    """Return the folder for downloaded weight files; it need not exist yet."""
    return Path(os.environ.get("INTERNVIDEO_CACHE") or "~/.cache/internvideo").expanduser()


def is_offline() -> bool:
    """Tell whether the network must not be touched.

    Raises:
        ConfigError: one of the two variables holds neither a yes nor a no.
    """
    return any([_flag("INTERNVIDEO_OFFLINE"), _flag("HF_HUB_OFFLINE")])


def milvus_token() -> str:
    """Return what a Milvus server wants to see; empty where it wants nothing."""
    return os.environ.get("MILVUS_TOKEN", "").strip()


def mirror() -> str | None:
    """Return the base URL or the folder that is searched before the published links."""
    return os.environ.get("INTERNVIDEO_MIRROR", "").strip() or None


def hub_endpoint() -> str:
    """Return the address of the Hugging Face hub, without a trailing slash."""
    return (os.environ.get("HF_ENDPOINT", "").strip() or HUB).rstrip("/")


def _flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigError(f"environment variable {name}={value!r}: expected 1 or 0")
    return value in _TRUE
