from __future__ import annotations

import os
import subprocess
import sys

import pytest

_TORCH = "import sys; sys.modules['torch'] = None; from internvideo.cli import main; main()"


@pytest.mark.parametrize(
    ("line", "found", "others"),
    [
        ("models show viclip-n", {"viclip-nano"}, set()),
        ("models ", {"list", "show", "verify", "viclip-nano"}, set()),
        ("models dow", {"download"}, {"list", "viclip-nano"}),
        ("classify clip.mp4 -m mm-n", {"mm-nano"}, {"viclip-nano"}),
        ("demo --model mm-n", {"mm-nano"}, {"viclip-nano"}),
        ("train world_videomae-nano_a", {"world_videomae-nano_actions"}, set()),
        ("recipes k600_videomae-h", {"k600_videomae-h"}, {"k400_videomae-h"}),
        ("train --data videos/ --out no-such-name", set(), set()),
    ],
)
def test_names_and_verbs_complete_without_torch_and_in_silence(line, found, others):
    words = f"internvideo {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = os.environ | asked | {"_INTERNVIDEO_COMPLETE": "complete_bash"}
    result = subprocess.run(
        [sys.executable, "-c", _TORCH], env=environment, capture_output=True, text=True
    )
    assert result.stderr == ""
    names = set(result.stdout.split())
    assert found <= names
    assert not names & others
    assert found or not names
