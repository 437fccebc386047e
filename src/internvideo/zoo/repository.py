"""A model repository of the Hugging Face hub, fetched into its cache."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from internvideo.errors import CheckpointError
from internvideo.zoo import environment
from internvideo.zoo.weight_files import (
    CONFIG_FILE,
    INDEX_FILES,
    WEIGHT_FILES,
    is_saved_model,
    shard_names,
)

__all__ = ["fetch_repository", "hub_is_known"]


def fetch_repository(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Download configuration and weights of a hub repository; return their folder.

    The weights are in `model.safetensors`, or else in the first there is of `WEIGHT_FILES` and
    `INDEX_FILES`; of another library's repository its preprocessing is fetched too.

    Raises:
        CheckpointError: not a hub id, not there, not reachable, or not open to this user.
    """
    fetch = partial(
        hf_hub_download,
        repo_id,
        revision=revision,
        cache_dir=cache_dir,
        force_download=force_download,
        local_files_only=local_files_only or not hub_is_known(),
        token=token,
    )
    name = CONFIG_FILE
    try:
        folder = Path(fetch(name)).parent
        missing = None
        for name in (*WEIGHT_FILES, *INDEX_FILES):
            try:
                found = Path(fetch(name))
                break
            except EntryNotFoundError as error:
                missing = error
        else:
            if isinstance(missing, LocalEntryNotFoundError):
                raise missing
            expected = ", ".join((*WEIGHT_FILES, *INDEX_FILES))
            raise CheckpointError(f"{repo_id!r} has no weights: none of {expected}")
        if found.name in INDEX_FILES:
            for name in shard_names(found):
                fetch(name)
        if not is_saved_model(folder):
            for name in ("preprocessor_config.json", "open_clip_config.json"):
                with suppress(EntryNotFoundError):
                    fetch(name)
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id!r} is neither a folder nor a hub id") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{repo_id}: no such file or folder here, and as a hub repository it cannot be"
            f" fetched: {name} is not in the hub's cache, and the hub is not reachable"
            " (offline mode, or no connection)"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{repo_id!r}: no such file or folder here, and as a hub repository it cannot be"
            f" fetched: {name}"
            f" ({str(error).strip().splitlines()[0]}); a gated one needs `hf auth login`"
        ) from error
    return folder


def hub_is_known() -> bool:
    """Tell whether the name of the hub leads anywhere; behind a proxy that is not ours to tell.

    Without it the hub's client tries again for half a minute before it looks into its cache.
    """
    server = urlsplit(environment.hub_endpoint())
    if urllib.request.getproxies().get(server.scheme):
        return True
    try:
        return bool(socket.getaddrinfo(server.hostname, server.port or server.scheme))
    except OSError:
        return False
