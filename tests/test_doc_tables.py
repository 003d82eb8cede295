"""What the documentation lists is what the code has: keys, commands, files and links."""

import os
import re
from pathlib import Path

import click

import slimmer
from slimmer.cli import main
from slimmer.cli.headings import OTHER
from slimmer.recipe import Recipe
from slimmer.recipe.method_entries import AUTO, built_in

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), ROOT / "tests" / "README.md", *ROOT.glob("docs/*.md")]


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def keys():
    """The table of every key of a recipe, and one for each method."""
    rows = ["| key | default | description |", "|---|---|---|"]
    for name, field in Recipe.model_fields.items():
        section = hasattr(field.annotation, "model_fields")
        if name != "method":
            fields = {"": field}
            if section:
                fields = {
                    key: field.annotation.model_fields[key] for key in field.annotation.known_keys()
                }
            rows += _rows(fields, name + "." * section)
    named = {}
    for entry in built_in():
        named.setdefault(entry.options, [AUTO] if entry.name == "taylor" else []).append(entry.name)
    for method, names in named.items():
        rows += [
            "",
            f"### `method.name`: {', '.join(f'`{name}`' for name in names)}",
            "",
            " ".join(method.__doc__.split()),
            "",
        ]
        options = {key: field for key, field in method.model_fields.items() if key != "name"}
        rows += ["| key | default | description |", "|---|---|---|", *_rows(options, "method.")]
    return "\n".join(rows) + "\n"


def _rows(fields, prefix):
    rows = []
    for key, entry in fields.items():
        assert entry.description, f"{prefix}{key} has no description"
        shown = "" if entry.default in (None, ()) else f"`{_shown(entry.default)}`"
        rows.append(f"| `{prefix}{key}` | {shown} | {entry.description} |")
    return rows


def _shown(default):
    if isinstance(default, tuple):
        return f"[{', '.join(map(_shown, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_page_on_recipes_lists_every_key():
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    page = ROOT / "docs" / "recipes.md"
    head, mark, _ = page.read_text(encoding="utf-8").partition("## Every key\n\n")
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        page.write_text(head + mark + keys(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == head + mark + keys()


def test_the_page_on_recipes_names_every_recipe():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert all(f"| `{file.stem}` |" in text for file in ROOT.glob("recipes/*.yaml"))


def test_the_page_on_tests_names_every_file_of_tests():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert [
        file.name for file in (ROOT / "tests").glob("test_*.py") if f"`{file.name}`" not in text
    ] == []


def commands():
    """The page on the command line: every command with its options, by their headings."""
    parts = ["# Command line", "", *_paragraphs(main.help)]
    parent = click.Context(main, **main.context_settings)
    for name, command in main.commands.items():
        parts += _of_command(f"slimmer {name}", command, parent)
    return "\n".join(parts).rstrip() + "\n"


def _of_command(name, command, parent):
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## {name}", "", f"`{name} {usage}`", "", *_paragraphs(command.help)]
    for heading, rows in _options(command, context).items():
        parts += [f"**{heading}**", "", "| option | description |", "|---|---|", *rows, ""]
    for inner, each in getattr(command, "commands", {}).items():
        parts += _of_command(f"{name} {inner}", each, context)
    return parts


def _paragraphs(text):
    return [_marked(" ".join(part.split())) + "\n" for part in text.split("\n\n")]


def _marked(text):
    """The text with options as code, which does not break after their hyphens."""
    parts = re.split(r"(`[^`]*`)", text)
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]*( \d[\d.]*\d| \d)?")
    parts[::2] = [option.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "".join(parts)


def _options(command, context):
    rows = {OTHER: []}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None or not isinstance(param, click.Option):
            continue
        name, text = (part.replace("|", "\\|") for part in record)
        row = f"| `{name}` | {_marked(text)} |"
        rows.setdefault(getattr(param, "heading", OTHER), []).append(row)
    return rows | {OTHER: rows.pop(OTHER)}


def test_the_page_on_the_command_line_lists_every_option():
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    path = ROOT / "docs" / "command-line.md"
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        path.write_text(commands(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == commands()


def test_the_page_on_the_api_lists_every_public_name():
    listed = re.findall(r"^ +- (\w+)$", page("docs/api.md"), re.MULTILINE)
    assert sorted(listed) == sorted(slimmer.__all__)


def test_links_between_pages_lead_somewhere():
    missing, found = [], 0
    for path in PAGES:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
            found += 1
            if "://" not in link and not (path.parent / link).exists():
                missing.append((path.name, link))
    assert found > 50
    assert missing == []


def anchors(path):
    """The anchors of a page's headings, as GitHub and the site make them."""
    code = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    text = code.sub("", path.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_anchors_in_links_are_headings():
    missing, found = [], 0
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", text):
            found += 1
            if anchor not in anchors(path.parent / link if link else path):
                missing.append((path.name, link, anchor))
    assert found > 30
    assert missing == []


def test_the_index_of_decisions_lists_each_once_in_order():
    text = page("docs/decisions.md")
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)]
    listed = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert numbers == listed == list(range(1, len(numbers) + 1))
