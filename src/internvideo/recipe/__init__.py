"""Recipes: everything a training run is, in one YAML file.

`schema` says what a recipe may hold, `loading` reads one, with its base and the overrides of the
command line. The names of the recipes cost nothing to import: a shell completes them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
