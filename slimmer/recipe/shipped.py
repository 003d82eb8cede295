"""Built-in recipes, by name."""

from pathlib import Path

from slimmer.errors import RecipeError
from slimmer.recipe.yaml_text import shown
from slimmer.registry import hint

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "recipes", PACKAGE.parent / "recipes")  # in a wheel; in a checkout


def shipped_recipes() -> dict[str, Path]:
    """The files of the built-in recipes, by name: the path below recipes/ without ".yaml".

    >>> "cifar_resnet20" in shipped_recipes(), "published/l1_vgg16_a" in shipped_recipes()
    (True, True)
    """
    found = {}
    for place in PLACES:
        for path in sorted(place.rglob("*.yaml")):
            found[path.relative_to(place).with_suffix("").as_posix()] = path
        if found:
            break
    return found


def find_recipe(named: str, where: str = "--recipe") -> Path:
    """The file of a recipe, given as a path or as the name of a built-in recipe.

    Raises RecipeError, at `where`, if `named` is neither.

    >>> find_recipe("mine.yaml"), find_recipe("digits").name
    (PosixPath('mine.yaml'), 'digits.yaml')
    """
    path, known = Path(named), shipped_recipes()
    if path.suffix or path.exists():
        return path
    if named not in known:
        found = f"{shown(named)} is neither a file nor the name of a built-in recipe"
        at_top = [name for name in known if "/" not in name]
        raise RecipeError(where, found, hint(named, at_top))
    return known[named]
