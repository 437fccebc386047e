"""Recipes: everything a training run is, in one YAML file.

`schema` says what a recipe may hold, `loading` reads one, with its base and the overrides of the
command line.
"""

from __future__ import annotations

from internvideo.recipe.loading import find_recipe, list_recipes, load_recipe
from internvideo.recipe.schema import Recipe

__all__ = ["Recipe", "find_recipe", "list_recipes", "load_recipe"]
