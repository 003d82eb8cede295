"""The recipes that come with slimmer, by name."""

from pathlib import Path

from slimmer.errors import RecipeError
from slimmer.recipe.yaml_text import shown
from slimmer.registry import hint

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "recipes", PACKAGE.parent / "recipes")  # in a wheel, in a checkout


def shipped_recipes() -> dict[str, Path]:
    """The file of each recipe that comes with slimmer, by its name: its path below recipes/ without
    ".yaml".

    >>> "cifar_resnet20" in shipped_recipes(), "published/l1_vgg16_a" in shipped_recipes()
    (True, True)
    """
    place = next((place for place in PLACES if place.is_dir()), None)
    if place is None:
        return {}
    return {
        path.relative_to(place).with_suffix("").as_posix(): path
        for path in sorted(place.rglob("*.yaml"))
    }


def find_recipe(named: str, where: str = "--recipe") -> Path:
    """The file that `named` means: a path, or the name of a recipe that comes with slimmer.

    Raises RecipeError, at `where`, for a name that is neither.

    >>> find_recipe("mine.yaml"), find_recipe("digits").name
    (PosixPath('mine.yaml'), 'digits.yaml')
    """
    path, known = Path(named), shipped_recipes()
    if path.suffix or path.exists():
        return path
    if named not in known:
        found = f"{shown(named)} is no file, and no recipe of that name comes with slimmer"
        raise RecipeError(where, found, hint(named, [name for name in known if "/" not in name]))
    return known[named]
