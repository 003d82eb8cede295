"""What a run is to do: the recipe, its sections, their keys, and sweeps over it; loads without
torch.
"""

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
