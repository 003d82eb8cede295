"""Packages that add to slimmer, installed as far as importlib.metadata sees: a module and its
dist-info.
"""

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"


def install(
    where: Path, patch: pytest.MonkeyPatch, name: str, code: str, points: dict[str, dict[str, str]]
) -> Path:
    """Write the module `name` with `code` and its entry points (group -> name -> value) into
    `where`, on sys.path.
    """
    where.mkdir(exist_ok=True)
    (where / f"{name}.py").write_text(code)
    about = where / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA.format(name=name))
    lines = []
    for group, entries in points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    if str(where) not in sys.path:
        patch.syspath_prepend(where)
    patch.delitem(sys.modules, name, raising=False)
    invalidate_caches()
    return where
