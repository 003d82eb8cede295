"""Output at the widths of terminals: no line is too long, no word or figure is cut, commands stay
whole, and nothing depends on colours. tests/golden/terminal_*.txt has it as text.
"""

import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_docs import parse
from test_report import PROFILE

from slimmer.cli import main
from slimmer.cli.next_command import after_comparison, after_inspect
from slimmer.cli.printing import print_table, say, stdout_console
from slimmer.cli.progress import watching
from slimmer.cli.tables import show_next, show_profile

GOLDEN = Path(__file__).parent / "golden"
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
LONG = "a sentence of words that goes on beyond the edge of every terminal that people use " * 3


def on(width, show, *arguments, terminal=True, **style):
    """What `show` prints on a console of this width."""
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=terminal, highlight=False, markup=False, **style
    )
    show(console, *arguments) if show in (say, print_table) else show(*arguments, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_profile_at_the_width_of_a_terminal_is_the_golden_text(width):
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    text = on(width, show_profile, PROFILE, color_system=None)
    golden = GOLDEN / f"terminal_profile_{width}.txt"
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


@given(
    words=st.lists(st.lists(st.text("abc19.", min_size=1, max_size=30), min_size=4, max_size=4)),
    heads=st.lists(st.text("xyz", min_size=1, max_size=30), min_size=4, max_size=4),
    width=st.sampled_from([80, 120]),
)
def test_no_cell_of_a_table_is_cut_and_no_line_is_too_long(words, heads, width):
    text = on(width, print_table, "title", heads, words, color_system=None)
    assert max(map(len, text.splitlines())) <= width
    shown = text.split()
    for row in (heads, *words):
        assert set(row) <= set(shown)


def test_a_table_that_does_not_fit_goes_on_below_with_its_names():
    rows = [["first", "x" * 50, "y" * 50], ["second", "1", "2"]]
    lines = on(80, print_table, "title", ["name", "one", "two"], rows).splitlines()
    assert [line.split()[0] for line in lines if "first" in line] == ["first", "first"]
    assert sum("y" * 50 in line for line in lines) == 1


def test_on_a_terminal_lines_break_between_words_and_hang():
    lines = on(80, lambda text, console: say(console, text, hang="  "), f"- {LONG}").splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  ") for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"- {LONG}".strip()


@pytest.mark.parametrize("command", [[], ["latency"]])
def test_the_list_of_commands_is_not_cut_at_80_columns(command):
    text = CliRunner().invoke(main, [*command, "--help"], terminal_width=80).stdout
    listed = text.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


def test_an_error_on_a_terminal_breaks_between_words(monkeypatch):
    file = io.StringIO()
    file.isatty = lambda: True
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stderr", file)
    with pytest.raises(SystemExit):
        main(["inspect", "no-such-checkpoint-of-a-network.pth", "--arch", "no_such_arch"])
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("Error: ")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60


def test_in_a_file_lines_stay_whole():
    assert on(80, say, LONG, terminal=False) == LONG + "\n"


def test_the_next_command_is_one_line_that_can_be_copied():
    command = "slimmer profile " + "runs/a-long-name-" * 8
    assert on(80, show_next, command) == f"next: {command}\n"
    assert on(80, show_next, "") == ""


def test_after_a_comparison_the_best_run_is_profiled():
    rows = [
        {"runs": ["runs/a", "runs/b"], "accuracy": {"slim": {"mean": 0.8}}},
        {"runs": ["runs/c d"], "accuracy": {"slim": {"mean": 0.9}}},
        {"runs": ["runs/e"], "accuracy": None},
    ]
    assert after_comparison([{"rows": rows}]) == "slimmer profile 'runs/c d'"
    assert after_comparison([]) == ""
    error = {"name": "MSE", "higher_is_better": False, "percent": False}
    rows = [row | {"metric": error} for row in rows]
    assert after_comparison([{"rows": rows}]) == "slimmer profile runs/a"


def test_after_an_inspection_the_options_are_repeated():
    given_options = {
        "arch": None,
        "entry": "ema",
        "input_size": (1, 16, 16),
        "trace": ("backbone", "head"),
        "keep": ("layer4.*",),
        "rewrite": True,
    }
    command = after_inspect("net.pth", {"flops": {"least_ratio": 0.1}}, given_options)
    words = shlex.split(command)
    assert words[:3] == ["slimmer", "prune", "net.pth"]
    assert parse(words[1:])["keep"] == ("layer4.*",)
    assert parse(words[1:])["trace"] == ("backbone", "head")
    assert parse(words[1:])["settings"] == ("model.entry=ema", "model.input_size=[1, 16, 16]")
    assert after_inspect("net.pth", {"flops": {"least_ratio": 1.0}}, {}) == ""


def test_without_colour_there_is_none_and_with_colour_none_is_needed(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    plain = on(80, show_profile, PROFILE)
    monkeypatch.delenv("NO_COLOR")
    rich = on(80, show_profile, PROFILE)
    assert ESCAPE.sub("", plain) == ESCAPE.sub("", rich)
    codes = {int(code) for found in ESCAPE.findall(rich) for code in found.split(";") if code}
    assert codes <= {0, 1, 2, 3}  # bold, faint and italic, which suit dark and light alike


def test_a_notebook_gets_lines_not_a_bar(monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    file = io.StringIO()
    with watching(console=Console(file=file, force_terminal=True, width=80)) as observe:
        observe({"event": "stage", "text": "tracing the network"})
    assert file.getvalue() == "tracing the network\n"


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == 160
    monkeypatch.setenv("COLUMNS", "100")
    assert stdout_console().width == 100
