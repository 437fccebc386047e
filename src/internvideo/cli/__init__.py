"""The `internvideo` command: every verb parses its options, calls the library, and prints.

Answers go to stdout; progress, warnings and errors to stderr. Exit codes: 0 all went well, 1 some
of several inputs failed, 2 the command could not be carried out, 130 interrupted. A user's
mistake is reported in one line, never as a traceback.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from internvideo.cli.application import app, main

__all__ = ["app", "main"]
