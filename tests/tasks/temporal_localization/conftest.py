from __future__ import annotations

import pytest

from internvideo.cli.application import run


@pytest.fixture
def call(capsys):
    """Run a command line in this process; return exit code, stdout and stderr."""

    def run_line(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_line
