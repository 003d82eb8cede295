"""The page of a run, rendered from templates that escape every value."""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from slimmer.atomic_files import write_text
from slimmer.reports.finished_runs import find_runs, short_path
from slimmer.reports.page.carried import carried
from slimmer.reports.page.contents import SECTIONS
from slimmer.reports.page.headline import figures, sentence
from slimmer.reports.page.run_files import RunFiles, read_files
from slimmer.runs.directory import Run
from slimmer.runs.open_run import open_run

ON_A_LINE = 24  # characters
STATIC = Path(__file__).parent / "static"


def write_page(run: Run) -> Path:
    """Write report.html of a finished run and return its path.

    Raise RunError for a file of the run that is missing or damaged.
    """
    write_text(run.page, page(read_files(run)))
    return run.page


def write_pages(paths: Sequence[Path]) -> list[Path]:
    """Write report.html of the runs in `paths`, by default of the latest run; return the paths.

    A directory that is not a run stands for all finished runs below it. Raise RunError for a path
    that is not a run or not finished, and as `write_page` does.
    """
    if not paths:
        return [write_page(open_run(None))]
    found, _ = find_runs(paths)
    return [write_page(open_run(Path(short_path(path)))) for path in found]


def page(files: RunFiles) -> str:
    """The HTML of a run's page; sections in which the run has nothing to show are left out."""
    sections = []
    for section in SECTIONS:
        shown = section.view(files)
        if shown is not None:
            sections.append({"section": section, "view": shown})
    return render(
        "page.html",
        title=f"{files.name}, pruned",
        sentence=sentence(files),
        figures=figures(files),
        files=files,
        sections=sections,
        carried=carried(files),
    )


def render(template: str, *, more_script: str | None = None, **values: Any) -> str:
    """A template with these values, in a page with styles and scripts; `more_script` is the name of
    a second script.
    """
    static = {
        "styles": _static("page.css"),
        "scripts": [_static(name) for name in ("page.js", more_script) if name],
    }
    return _environment().get_template(template).render({**static, **values})


def _prose(text: str) -> Markup:
    r"""A sentence, escaped, in which `code` is set as code.

    >>> str(_prose("`a < b` & c"))
    '<code class="keep">a &lt; b</code> &amp; c'
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a single mark is no pair
        return escape(text)
    found = [_code(part) for part in parts[1::2]]
    pieces = zip(map(escape, parts[::2]), [*found, Markup()], strict=True)
    return Markup().join(chain.from_iterable(pieces))


def _code(text: str) -> Markup:
    """Text set as code; short code stays on one line."""
    if len(text) > ON_A_LINE:
        return Markup("<code>{}</code>").format(text)
    return Markup('<code class="keep">{}</code>').format(text)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slimmer.reports.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    return environment


@cache
def _static(name: str) -> str:
    """The styles or a script of pages; they are slimmer's own and are not escaped."""
    return (STATIC / name).read_text(encoding="utf-8")
