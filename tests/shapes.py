"""Checks the shapes in signatures while tests run: `make shapes`."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Refuses arguments that are not what a signature says; an int may stand for a float."""
