"""Where a model runs."""

from __future__ import annotations

import torch

from internvideo.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to run on; "auto" is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if "device type" in reason:  # PyTorch lists twenty kinds
            reason = "expected auto, cpu, cuda, cuda:1 and so on, or mps"
        raise ConfigError(f"device {str(device)!r} cannot be used here: {reason}") from None
    return chosen
