"""The documentation's site: its pages are staged with their links, and it builds without a
warning. Both need the extra `docs`.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import which

import pytest
import yaml
from browser import WIDTH, browser, show
from click.testing import CliRunner
from PIL import Image

ROOT = Path(__file__).parents[1]
INSTALLED = all(map(find_spec, ("zensical", "mkdocstrings", "latex2mathml")))
needs_docs = pytest.mark.skipif(not INSTALLED, reason="pip install '.[docs]'")


def script(name, folder="docs"):
    """A script, imported."""
    spec = spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def navigation():
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = []
    for entry in yaml.safe_load(text)["nav"]:
        (found,) = entry.values()
        if isinstance(found, str):
            pages.append(found)
            continue
        for each in found:
            pages += each.values()
    return pages


def test_every_page_of_the_documentation_is_in_the_navigation():
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/*.md")}
    assert len(navigation()) == len(set(navigation()))
    pages |= {f"notebooks/{path.stem}.md" for path in ROOT.glob("docs/notebooks/*.ipynb")}
    project = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"}
    assert set(navigation()) == pages | project


@needs_docs
def test_links_lead_to_the_places_of_the_site(tmp_path):
    made = script("stage_pages")
    made.stage(tmp_path)
    for page in navigation():
        assert (tmp_path / page).is_file()
    assert "](benchmarks/results/budgets.md)" in (tmp_path / "budgets.md").read_text()
    assert "](../../methods.md)" not in (tmp_path / "benchmarks" / "README.md").read_text()
    assert "](../decisions.md)" in (tmp_path / "benchmarks" / "README.md").read_text()


@needs_docs
def test_a_dead_link_is_an_error():
    text = "[gone](no_such_page.md) and `[code](no_such_code.md)`"
    with pytest.raises(FileNotFoundError, match=r"docs/x.md links to no_such_page.md"):
        script("stage_pages").rewritten(text, Path("docs/x.md"))


@needs_docs
def test_formulas_become_mathml_and_code_stays():
    made = script("stage_pages").with_formulas(
        "a $w_g$ and `$HOME`\n\n```math\n\\frac{1}{2}\n```\n"
    )
    assert made.count("<math") == 2
    assert made.count('<div class="formula"><math') == 1  # a box that can scroll on a phone
    assert script("stage_pages").with_formulas("| `[a\\|b]` |") == "| `[a|b]`{.keep} |"
    assert "<mfrac>" in made
    assert "`$HOME`" in made


@needs_docs
def test_examples_in_docstrings_are_shown_as_code():
    shown = script("doctest_blocks").fenced("Half.\n\n>>> 1 / 2\n0.5\n\nMore.")
    assert shown == "Half.\n\n```pycon\n>>> 1 / 2\n0.5\n```\n\nMore."


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly."""
    tmp_path = tmp_path_factory.mktemp("site")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config = config.replace("build/pages", "pages").replace("[.]", f"[{ROOT}]")
    config = config.replace("docs/doctest_blocks.py", str(ROOT / "docs" / "doctest_blocks.py"))
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    script("stage_pages").stage(tmp_path / "pages")
    build = [sys.executable, "-c", "from zensical.main import cli; cli()", "build", "--strict"]
    done = subprocess.run(
        build, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "site"


@needs_docs
@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        found = re.findall(
            r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:[^\" >]*)", page.read_text()
        )
        assert found == [], page


@needs_docs
@pytest.mark.slow
@pytest.mark.parametrize("width", [380, 1280])
def test_no_page_of_the_site_overflows(site, tmp_path, width):
    with browser(tmp_path) as driver:
        for page in navigation():
            file = (site / page.replace("README.md", "index.md")).with_suffix(".html")
            show(driver, file, width=width)
            assert driver.execute_script(WIDTH) <= width, page


@pytest.mark.skipif(which("chromium") is None, reason="chromium is not installed")
def test_the_readmes_picture_is_the_page_of_a_run(tmp_path):
    (tmp_path / "report.html").write_text("<body style='margin: 0; background: #00f'>", "utf-8")
    picture = tmp_path / "pictures" / "report.png"
    words = ["--run", str(tmp_path), "--out", str(picture), "--height", "700"]
    result = CliRunner().invoke(script("readme_picture", "benchmarks").main, words)
    assert result.exit_code == 0, result.output
    with Image.open(picture) as image:
        assert image.size == (1280, 700)
        assert image.convert("RGB").getpixel((640, 350)) == (0, 0, 255)
