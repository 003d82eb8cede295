"""Stage the pages of the documentation's site: `python docs/stage_pages.py build/pages`.

The site has the pages in docs/ at its root, and every file of the repository that a page links to,
at its own path. Links are rewritten to the new places, formulas become MathML, which browsers show
without a script.
"""

import json
import re
import shutil
import sys
from os.path import normpath, relpath
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
DISPLAY = re.compile(r"^```math\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ON_A_LINE = 24  # characters of code
INLINE = re.compile(r"\$([^$\n]+)\$")


def stage(folder: Path) -> list[Path]:
    """Write the site's pages and files into `folder`, which is emptied first; return their paths in
    the repository.

    Raises FileNotFoundError if a page links to a file that does not exist.
    """
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [Path(name) for name in PROJECT]
    for path in sorted(ROOT.glob("docs/**/*")):
        if path.suffix in {".md", ".png", ".svg", ".css", ".ipynb"}:
            waiting.append(path.relative_to(ROOT))
    done: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.append(path)
        target = folder / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix not in {".md", ".ipynb"}:
            shutil.copy(ROOT / path, target)
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = as_page(json.loads(text))
        text, linked = rewritten(text, path)
        target.write_text(with_formulas(text), encoding="utf-8")
        waiting += linked
    return done


def place(path: Path) -> Path:
    """Where a file of the repository stands in the site; a notebook is a page there."""
    placed = path.relative_to("docs") if path.parts[0] == "docs" else path
    return placed.with_suffix(".md") if placed.suffix == ".ipynb" else placed


def as_page(notebook: dict[str, Any]) -> str:
    """The cells of a notebook and what they printed, as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        printed = ["".join(output["text"]) for output in cell.get("outputs", ())]
        if printed:
            parts.append(f"```text\n{''.join(printed)}```")
    return "\n\n".join(parts) + "\n"


def rewritten(text: str, page: Path) -> tuple[str, list[Path]]:
    """A page's text with links between places in the site, and the files that it links to."""
    linked: list[Path] = []

    def moved(match: re.Match[str]) -> str:
        start, link, end = match.groups()
        if "://" in link:
            return match[0]
        path = Path(normpath(page.parent / link))
        if not (ROOT / path).is_file():
            raise FileNotFoundError(f"{page} links to {link}, which is not a file")
        linked.append(path)
        return start + relpath(place(path), place(page).parent) + end

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts), linked


def with_formulas(text: str) -> str:
    """The text with its formulas in MathML."""
    text = DISPLAY.sub(lambda match: _displayed(match[1].strip()), text)
    parts = CODE.split(text)
    parts[1::2] = [_code(part) for part in parts[1::2]]
    parts[::2] = [INLINE.sub(lambda match: convert(match[1]), part) for part in parts[::2]]
    return "".join(parts)


def _code(text: str) -> str:
    """Code in a line without the backslashes that GitHub wants before the pipes in a table, which
    the site would show; short code is marked for docs/site.css, which keeps it on a line.
    """
    if text.startswith("```"):
        return text
    mark = "{.keep}" if len(text) <= ON_A_LINE else ""
    return text.replace("\\|", "|") + mark


def _displayed(formula: str) -> str:
    """A formula on lines of its own, in a box that docs/site.css lets scroll."""
    return f'<div class="formula">{convert(formula, display="block")}</div>\n'


if __name__ == "__main__":
    staged = stage(Path(sys.argv[1]))
    print(f"{len(staged)} pages and files in {sys.argv[1]}")
