"""How readable the code is, in figures: rooms, import layers, dense expressions, long lines, files
and functions.

python benchmarks/house.py [FOLDER]: one line a figure; FOLDER is a checkout, by default this one.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONG = 100


def main(root: Path) -> None:
    package = root / "slimmer"
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = sum(text.count("\n") for text in texts.values())
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    top = [path for path in package.iterdir() if path.is_dir() or path.suffix == ".py"]
    inner = [path for path in top if path.name not in {"__init__.py", "__main__.py", "__pycache__"}]
    print(f"files {len(texts)}, lines {lines}")
    print(f"top-level entries {len(inner)}")
    print(f"import layers {layers(root)}")
    per_thousand("comprehensions", sum(isinstance(node, COMPREHENSIONS) for node in nodes), lines)
    per_thousand("comprehensions with two for", sum(nested(node) for node in nodes), lines)
    per_thousand(
        "conditional expressions", sum(isinstance(node, ast.IfExp) for node in nodes), lines
    )
    print(f"conditional expressions inside another {sum(inside_another(node) for node in nodes)}")
    print(
        f"lines over {LONG} characters "
        f"{sum(len(line) > LONG for text in texts.values() for line in text.splitlines())}"
    )
    longest = max(texts, key=lambda path: texts[path].count("\n"))
    print(f"longest file {texts[longest].count(chr(10))} lines, {longest.relative_to(root)}")
    length, name = max(functions(trees))
    print(f"longest function {length} lines, {name}")


def per_thousand(what: str, count: int, lines: int) -> None:
    print(f"{what} {count}, {1000 * count / lines:.1f} in 1,000 lines")


def nested(node: ast.AST) -> bool:
    return isinstance(node, COMPREHENSIONS) and len(node.generators) > 1


def inside_another(node: ast.AST) -> bool:
    below = [child for child in ast.walk(node) if child is not node]
    return isinstance(node, ast.IfExp) and any(isinstance(child, ast.IfExp) for child in below)


def functions(trees: dict[Path, ast.Module]) -> Iterator[tuple[int, str]]:
    """The length in lines and the name of every function."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                yield (node.end_lineno or 0) - node.lineno + 1, f"{path.name}:{node.name}"


def layers(root: Path) -> int:
    """How many layers the import contract of the package has."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(len(each["layers"]) for each in contracts if each["type"] == "layers")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
