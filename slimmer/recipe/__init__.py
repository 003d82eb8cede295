"""Recipes: what a run is to do, as data. Sections, keys and sweeps. Imports no torch."""

from slimmer.recipe.recipe import SHORT, Recipe, data_at, make_recipe, parse_setting, read_recipe
from slimmer.recipe.shipped import find_recipe

__all__ = [
    "SHORT",
    "Recipe",
    "data_at",
    "find_recipe",
    "make_recipe",
    "parse_setting",
    "read_recipe",
]
